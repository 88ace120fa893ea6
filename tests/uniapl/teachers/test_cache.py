"""The cache of answers, across failures, runs and damaged files."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.uniapl.teachers.openai_server import Reply, Teacher, completion, fill, rows, spec
from uniapl.errors import TeacherError
from uniapl.spec.dataset import Message
from uniapl.spec.teacher import OpenAITeacher
from uniapl.teachers.cache import AnswerCache, question_key
from uniapl.teachers.chat import Chat

pytestmark = pytest.mark.integration


def test_what_came_before_a_failure_is_not_asked_again(server: Teacher, tmp_path: Path) -> None:
    server.reply = lambda question, _: Reply(400) if question == "d" else completion(f"Re: {question}")
    with pytest.raises(TeacherError, match="row id-d"):
        fill(spec(server), tmp_path, rows(*"abcdef"))
    assert server.questions() == list("abcd")
    server.reply = lambda question, _: completion(f"Re: {question}")
    events: list[str] = []
    assert fill(spec(server), tmp_path, rows(*"abcdef"), events=events) == [[f"Re: {q}" for q in "abcdef"]]
    assert server.questions() == [*"abcd", *"def"]
    assert events == [
        "requesting 3 answers from teacher m; 3 are cached",
        "received 3 answers with 3 requests and 30 tokens",
    ]


def test_answers_of_earlier_releases_are_found_again() -> None:
    """The key depends on roles and texts, not on the fields that a turn may also have."""
    teacher = OpenAITeacher(base_url="http://here/v1/", model="m", temperature=0.5, max_tokens=9)
    turn = {"role": "user", "content": "Hi"}
    asked = {"base_url": "http://here/v1", "model": "m", "temperature": 0.5, "max_tokens": 9, "messages": [turn]}
    canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    assert question_key(teacher, [Message.model_validate(turn)]) == hashlib.sha256(canonical.encode()).hexdigest()


def test_a_failure_lets_requests_in_flight_finish_and_begins_no_other(
    server: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, stopped = Chat.stop, threading.Event()

    def stop_and_tell(chat: Chat) -> None:
        stop(chat)
        stopped.set()

    monkeypatch.setattr(Chat, "stop", stop_and_tell)

    def reply(question: str, _: int) -> Reply:
        if question == "b":
            return Reply(400)
        stopped.wait(30)  # the refusal arrives first
        return completion(question)

    server.reply = reply
    with pytest.raises(TeacherError, match="row id-b"):
        fill(spec(server, teacher={"concurrency": 2}), tmp_path, rows(*"abcd"))
    assert sorted(server.questions()) == ["a", "b"]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failure_ends_the_waits_of_the_others(server: Teacher, tmp_path: Path) -> None:
    waiting = threading.Event()

    def reply(question: str, _: int) -> Reply:
        if question == "a":
            waiting.set()
            return Reply(429, headers={"Retry-After": "60"})
        waiting.wait(10)
        time.sleep(0.3)
        return Reply(400)

    server.reply = reply
    started = time.monotonic()
    with pytest.raises(TeacherError, match="row id-b"):
        fill(spec(server, teacher={"concurrency": 2}), tmp_path, rows("a", "b"))
    assert time.monotonic() - started < 50


def test_a_repeat_asks_nothing_and_needs_no_key(
    server: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fill(spec(server), tmp_path, rows("a", "b"))
    monkeypatch.delenv("TEST_API_KEY")
    assert fill(spec(server, teacher={"base_url": server.url + "/"}), tmp_path, rows("a", "b")) == first
    assert len(server.asked) == 2


@pytest.mark.parametrize("change", [{"model": "other"}, {"temperature": 0.1}, {"max_tokens": 5}])
def test_another_question_is_another_answer(server: Teacher, tmp_path: Path, change: dict[str, Any]) -> None:
    fill(spec(server), tmp_path, rows("a"))
    fill(spec(server, teacher=change), tmp_path, rows("a"))
    assert len(server.asked) == 2


@pytest.mark.parametrize("harm", ["torn", "empty", "altered", "binary", "other"])
def test_a_harmed_cache_file_is_asked_again_and_mended(server: Teacher, tmp_path: Path, harm: str) -> None:
    fill(spec(server), tmp_path, rows("a"))
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    harmed = {
        "torn": whole[: len(whole) // 2],
        "empty": b"",
        "altered": whole.replace(b"Re: a", b"Re: b"),
        "binary": b"\xff\x00" + whole,
        "other": b"[1]",
    }
    file.write_bytes(harmed[harm])
    assert fill(spec(server), tmp_path, rows("a")) == [["Re: a"]]
    assert len(server.asked) == 2
    assert file.read_bytes() == whole


def test_readers_never_see_half_an_answer_while_two_runs_write(tmp_path: Path) -> None:
    texts = {name: name * 200_000 for name in ("a", "b")}
    cache = AnswerCache(tmp_path)
    cache.put("key", texts["a"])

    def write(name: str) -> None:
        for _ in range(30):
            AnswerCache(tmp_path).put("key", texts[name])

    with ThreadPoolExecutor(2) as runs:
        writing = [runs.submit(write, name) for name in texts]
        while not all(done.done() for done in writing):
            assert cache.get("key") in texts.values()
        for done in writing:
            done.result()
    assert [path.name for path in tmp_path.iterdir()] == ["key.json"]


def test_two_runs_may_fill_at_once(server: Teacher, tmp_path: Path) -> None:
    server.reply = lambda question, number: completion(f"{question} {number}")
    given = spec(server, teacher={"concurrency": 4})
    with ThreadPoolExecutor(2) as runs:
        for done in [runs.submit(fill, given, tmp_path, rows(*"abcdefgh")) for _ in range(2)]:
            assert None not in done.result()[0]
    asked = len(server.asked)
    assert None not in fill(given, tmp_path, rows(*"abcdefgh"))[0]
    assert len(server.asked) == asked
