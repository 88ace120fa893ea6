"""The budgets of requests and tokens, and concurrent requests."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.uniapl.teachers.openai_server import Reply, Teacher, completion, fill, rows, spec
from uniapl.errors import TeacherError

pytestmark = pytest.mark.integration


def test_the_budget_of_requests_counts_retries_and_is_never_overshot(server: Teacher, tmp_path: Path) -> None:
    server.reply = lambda question, number: Reply(500) if number % 2 else completion(f"Re: {question}")
    given = spec(server, teacher={"max_requests": 5, "concurrency": 3})
    with pytest.raises(TeacherError, match=r"dataset ds_1, row id-.*teacher\.max_requests=5 is spent") as caught:
        fill(given, tmp_path, rows(*"abcdefgh"))
    assert len(server.asked) == 5
    assert caught.value.param == "teacher.max_requests"


@pytest.mark.parametrize(("tokens", "asked"), [(10, 3), (30, 1), (None, 1)])
def test_the_budget_of_tokens_stops_asking_once_it_is_spent(
    server: Teacher, tmp_path: Path, tokens: int | None, asked: int
) -> None:
    # 10 + 10 < 25 leaves room for a third request; a server that does not count sends more than 25 bytes
    server.reply = lambda question, _: completion(question, tokens=tokens)
    with pytest.raises(TeacherError, match=r"teacher\.max_total_tokens=25 is spent"):
        fill(spec(server, teacher={"max_total_tokens": 25}), tmp_path, rows(*"abcdefgh"))
    assert len(server.asked) == asked


def test_the_budget_of_tokens_is_overshot_by_requests_in_flight_alone(server: Teacher, tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def reply(question: str, _: int) -> Reply:
        together.wait(10)
        return completion(question, tokens=100)

    server.reply = reply
    with pytest.raises(TeacherError, match="max_total_tokens"):
        fill(spec(server, teacher={"max_total_tokens": 100, "concurrency": 4}), tmp_path, rows(*"abcdefgh"))
    assert len(server.asked) == 4
    assert len(list(tmp_path.iterdir())) == 4  # all four were paid for, and kept


def test_requests_run_side_by_side_and_never_more_than_allowed(server: Teacher, tmp_path: Path) -> None:
    together = threading.Barrier(4)  # breaks unless four requests are there at once

    def reply(question: str, _: int) -> Reply:
        together.wait(10)
        time.sleep(0.05)  # time for a fifth to arrive, if there were one
        return completion(question)

    server.reply = reply
    assert fill(spec(server, teacher={"concurrency": 4}), tmp_path, rows(*"abcdefghijkl")) == [list("abcdefghijkl")]
    assert server.most_in_flight == 4


def test_more_than_a_hundred_requests_may_be_in_flight(server: Teacher, tmp_path: Path) -> None:
    together = threading.Barrier(120)

    def reply(question: str, _: int) -> Reply:
        together.wait(20)
        return completion(question)

    server.reply = reply
    names = [str(i) for i in range(120)]
    assert fill(spec(server, teacher={"concurrency": 120, "timeout_s": 20}), tmp_path, rows(*names)) == [names]
