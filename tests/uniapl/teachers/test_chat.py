"""Replies that are no answer: retried failures, permanent failures, unusable content."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.uniapl.teachers.openai_server import Reply, Teacher, completion, fill, rows, spec
from uniapl.errors import TeacherError

pytestmark = pytest.mark.integration

# Failures that pass


@pytest.mark.parametrize(
    "failure",
    [
        Reply(429),
        Reply(500, b"oops"),
        Reply(503),
        Reply(529),
        Reply(200, b'{"choices": []}', cut=True),
        Reply(hang=True),
        Reply(trickle=True),
    ],
    ids=["429", "500", "503", "529", "cut", "hang", "trickle"],
)
def test_a_passing_failure_is_tried_again(server: Teacher, tmp_path: Path, failure: Reply) -> None:
    server.reply = lambda question, number: failure if number <= 2 else completion(f"Re: {question}")
    started = time.monotonic()
    assert fill(spec(server, teacher={"timeout_s": 2}), tmp_path, rows("a")) == [["Re: a"]]
    assert server.questions()[:3] == ["a"] * 3  # a late valid answer is requested again
    assert time.monotonic() - started < 40  # a silent server would hold us for 60


def test_a_server_that_is_not_there_is_tried_again_and_then_named(tmp_path: Path, server: Teacher) -> None:
    with socket.socket() as probe:  # bound but not listening: connections are refused
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
        with pytest.raises(TeacherError, match=r"dataset ds_1, row id-a: .*after 3 requests; the last: ConnectError"):
            fill(spec(server, teacher={"base_url": nowhere, "max_retries": 2}), tmp_path, rows("a"))


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(server: Teacher, tmp_path: Path, form: str) -> None:
    started = time.monotonic()
    # a date has whole seconds: two from now is more than one from now
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    header = {"Retry-After": "1" if form == "seconds" else until}
    server.reply = lambda _, number: Reply(429, headers=header) if number == 1 else completion("yes")
    assert fill(spec(server), tmp_path, rows("a")) == [["yes"]]
    assert 0.9 < time.monotonic() - started < 10


def test_a_pause_of_an_hour_ends_the_job_and_is_told(server: Teacher, tmp_path: Path) -> None:
    server.reply = lambda *_: Reply(429, headers={"Retry-After": "3600"})
    with pytest.raises(TeacherError, match="requires a wait of 3600 s"):
        fill(spec(server), tmp_path, rows("a"))
    assert len(server.asked) == 1


# Failures that do not


def test_after_max_retries_the_row_and_the_servers_words_are_named(server: Teacher, tmp_path: Path) -> None:
    server.reply = lambda *_: Reply(503, {"error": {"message": "overloaded,\ntry later " + "x" * 999}})
    with pytest.raises(TeacherError) as caught:
        fill(spec(server, teacher={"max_retries": 2}), tmp_path, rows("a"))
    assert len(server.asked) == 3
    assert "dataset ds_1, row id-a: no answer from teacher m after 3 requests" in caught.value.message
    assert "status 503: overloaded, try later xxx" in caught.value.message
    assert len(caught.value.message) < 400
    assert caught.value.code == "teacher_failed"
    assert caught.value.hint is not None
    assert "cached" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "param"),
    [(400, "teacher"), (401, "teacher.api_key_env"), (404, "teacher.base_url"), (422, "teacher")],
)
def test_the_callers_mistake_fails_at_once(server: Teacher, tmp_path: Path, status: int, param: str) -> None:
    server.reply = lambda *_: Reply(status, {"error": {"message": "no such thing"}})
    with pytest.raises(TeacherError, match=f"row id-a: .*status {status}: no such thing") as caught:
        fill(spec(server), tmp_path, rows("a"))
    assert (len(server.asked), caught.value.param) == (1, param)
    assert caught.value.hint


def test_a_redirect_is_not_followed(server: Teacher, tmp_path: Path) -> None:
    server.reply = lambda *_: Reply(307, headers={"Location": f"{server.url}/elsewhere"})
    with pytest.raises(TeacherError, match="status 307") as caught:
        fill(spec(server), tmp_path, rows("a"))
    assert server.paths == ["/v1/chat/completions"]
    assert caught.value.param == "teacher.base_url"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(body=b"<html>hello</html>"), "an invalid chat completion .*<html>hello</html>"),
        (Reply(body=b"[" * 100_000), "an invalid chat completion"),
        (Reply(body={"choices": []}), "choices: List should have at least 1 item"),
        (Reply(body={"error": {"message": "provider is down"}}), "choices: Field required.*: provider is down"),
        (Reply(body=b'{"choices": [{"message": {"content": "\\ud800"}}]}'), "an invalid chat completion"),
        (completion("a\x00b"), "NUL"),
        (completion(None), "empty answer"),
        (completion(" \n"), "empty answer"),
        (completion("<think>Let me"), "empty answer"),
        (completion("Once upon a", finish_reason="length"), r"finish_reason 'length', teacher.max_tokens=2048"),
        (completion("Once", finish_reason="content_filter"), "content_filter"),
        (completion("x" * (8 * 2**20)), "exceeds 8388608 bytes"),
    ],
    ids=["html", "deep", "none", "error", "surrogate", "nul", "null", "blank", "thought", "length", "filter", "large"],
)
def test_an_unusable_answer_is_refused_with_the_row(
    server: Teacher, tmp_path: Path, reply: Reply, expected: str
) -> None:
    server.reply = lambda *_: reply
    with pytest.raises(TeacherError, match=f"dataset ds_1, row id-a: .*{expected}") as caught:
        fill(spec(server), tmp_path, rows("a"))
    assert len(server.asked) == 1
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []
    assert "\x00" not in caught.value.message


def test_a_row_without_id_is_named_by_its_place(server: Teacher, tmp_path: Path) -> None:
    server.reply = lambda question, _: completion("" if question == "b" else "yes")
    nameless = [row.model_copy(update={"id": None}) for row in rows("a", "b")]
    with pytest.raises(TeacherError, match="row row-1: "):
        fill(spec(server), tmp_path, nameless)
