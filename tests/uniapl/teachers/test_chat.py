"""The teacher's answers, asked of a real HTTP server in this process that can misbehave in every way we know."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.uniapl.conftest import Listening
from uniapl.errors import SpecError, TeacherError
from uniapl.inference import retry
from uniapl.rewards.pool import RewardPool
from uniapl.run.credentials import Access
from uniapl.run.signals import Stopped
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.job import JobSpec
from uniapl.spec.requirements import uses_references
from uniapl.spec.reward import RewardOptions
from uniapl.teachers.cache import AnswerCache
from uniapl.teachers.chat import Chat
from uniapl.teachers.references import fill_references, without_failing_references

KEY = "sk-test-0123456789abcdef"


@dataclass
class Reply:
    """What the server does with one request."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    """Announce a body, send half of it, and close."""
    hang: bool = False
    """Say nothing until the test is over."""
    trickle: bool = False
    """Send a space every 50 ms."""


def completion(text: str | None, *, finish_reason: str = "stop", tokens: int | None = 10) -> Reply:
    """A well-formed answer."""
    body: dict[str, Any] = {"choices": [{"message": {"content": text}, "finish_reason": finish_reason}]}
    return Reply(body=body | ({} if tokens is None else {"usage": {"total_tokens": tokens}}))


class Teacher(ThreadingHTTPServer):
    """Answers "Re: <question>", unless a test says otherwise."""

    daemon_threads = False  # closing waits for every handler, so that no socket is left open
    request_queue_size = 64

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((address, port), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.reply: Callable[[str, int], Reply] = lambda question, _: completion(f"Re: {question}")
        """From the question and the request's number, counted from 1."""
        self.over = threading.Event()
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def questions(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.asked]

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Teacher
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append(body)
            server.headers.append(dict(self.headers))
            server.paths.append(self.path)
            number = len(server.asked)
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            reply = server.reply(body["messages"][-1]["content"], number)
        finally:
            with server.lock:
                server.in_flight -= 1
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        if reply.hang:
            self.server.over.wait(60)
            self.close_connection = True
            return
        content = json.dumps(reply.body).encode() if isinstance(reply.body, dict) else reply.body
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(10**6 if reply.trickle else len(content)))
        self.end_headers()
        if reply.trickle:
            while not self.server.over.wait(0.05):
                self.wfile.write(b" ")
        self.wfile.write(content[: len(content) // 2] if reply.cut else content)
        if reply.cut:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = reply.cut or reply.trickle

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Teacher]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TEST_API_KEY", KEY)
    monkeypatch.setattr(retry, "FIRST_BACKOFF_S", 0.01)
    server = Teacher()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def spec(server: Teacher | None = None, *, teacher: dict[str, Any] | None = None, **fields: Any) -> JobSpec:
    """A job whose teacher is the server, if there is one."""
    given: dict[str, Any] = {"student": "tiny", "dataset_mix": [{"dataset": "ds_1"}], **fields}
    if server is not None:
        options = {"concurrency": 1, "timeout_s": 60, "api_key_env": "TEST_API_KEY", **(teacher or {})}
        given["teacher"] = {"type": "openai", "base_url": server.url, "model": "m", **options}
    return JobSpec.model_validate(given)


def rows(*questions: str) -> list[DatasetRow]:
    """Rows without reference, named after their questions."""
    return [
        DatasetRow.model_validate({"id": f"id-{text}", "messages": [{"role": "user", "content": text}]})
        for text in questions
    ]


def fill(
    spec: JobSpec,
    cache: Path,
    *mix: list[DatasetRow],
    events: list[str] | None = None,
    access: Access | None = None,
) -> list[list[str | None]]:
    """The references after filling, per entry of the mix."""
    told = [] if events is None else events
    filled, _ = fill_references(spec, list(mix), [], cache=cache, on_event=told.append, access=access or Access())
    return [[row.reference for row in rows] for rows in filled]


# What is asked, and what becomes of it


def test_rows_without_reference_get_the_teachers_answer_and_the_others_keep_theirs(
    server: Teacher, tmp_path: Path
) -> None:
    own = rows("b")[0].model_copy(update={"reference": "mine"})
    given = spec(server, teacher={"temperature": 0.5, "max_tokens": 99})
    assert fill(given, tmp_path, [*rows("a"), own, *rows("c")]) == [["Re: a", "mine", "Re: c"]]
    assert server.asked == [
        {"model": "m", "messages": [{"role": "user", "content": text}], "temperature": 0.5, "max_tokens": 99}
        for text in "ac"
    ]
    assert set(server.paths) == {"/v1/chat/completions"}
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}


def test_a_server_that_asks_for_no_key_gets_none(server: Teacher, tmp_path: Path) -> None:
    fill(spec(server, teacher={"api_key_env": None}), tmp_path, rows("a"))
    assert "Authorization" not in server.headers[0]


def test_a_slash_at_the_end_of_the_address_does_not_matter(server: Teacher, tmp_path: Path) -> None:
    fill(spec(server, teacher={"base_url": server.url + "/"}), tmp_path, rows("a"))
    assert server.paths == ["/v1/chat/completions"]


def test_a_dataset_teacher_asks_nobody(tmp_path: Path) -> None:
    assert fill(spec(), tmp_path, rows("a")) == [[None]]
    assert list(tmp_path.iterdir()) == []


def test_a_question_is_asked_once_however_many_rows_put_it(server: Teacher, tmp_path: Path) -> None:
    given = spec(server, dataset_mix=[{"dataset": "one"}, {"dataset": "two"}], teacher={"concurrency": 4})
    assert fill(given, tmp_path, rows("a", "b", "a"), rows("b")) == [["Re: a", "Re: b", "Re: a"], ["Re: b"]]
    assert sorted(server.questions()) == ["a", "b"]


def test_the_evaluations_rows_are_filled_too(server: Teacher, tmp_path: Path) -> None:
    given = spec(server, evaluation={"dataset": "held"})
    mix, held_out = fill_references(given, [rows("a")], rows("b"), cache=tmp_path, on_event=print, access=Access())
    assert (mix[0][0].reference, held_out[0].reference) == ("Re: a", "Re: b")


def test_reasoning_is_no_part_of_the_answer(server: Teacher, tmp_path: Path) -> None:
    server.reply = lambda *_: completion("<think>Let me see.</think>\n\nFour.")
    assert fill(spec(server), tmp_path, rows("a")) == [["Four."]]


BOTH, SFT, RL = "both", "sft", "rl"


@pytest.mark.parametrize(
    ("fields", "used"),
    [
        # imitation reads sft and both; lambda_adv compares rl and both unless adversarial.rows says otherwise
        ({"alpha": 0.3, "lambda_adv": 0}, {SFT, BOTH}),
        ({"alpha": 0.3, "lambda_adv": 0.1}, {SFT, RL, BOTH}),
        ({"alpha": 0, "lambda_adv": 0}, set()),
        ({"alpha": 0, "lambda_adv": 0.1}, {RL, BOTH}),
        ({"alpha": 0, "lambda_adv": 0.1, "adversarial": {"rows": "sft"}}, {SFT, BOTH}),
        ({"alpha": 0, "lambda_adv": 0, "reward": {"discriminator_weight": 1}}, {RL, BOTH}),
        ({"alpha": {"type": "linear", "start": 0, "end": 0.5, "steps": 9}, "lambda_adv": 0}, {SFT, BOTH}),
    ],
)
def test_only_references_that_some_term_reads_are_asked_for(fields: dict[str, Any], used: set[str]) -> None:
    given = spec(**fields)
    assert {role for role in (SFT, RL, BOTH) if uses_references(given, role)} == used  # type: ignore[arg-type]


def test_rows_that_no_term_compares_stay_without_reference(server: Teacher, tmp_path: Path) -> None:
    mix = [{"dataset": "one", "role": "sft"}, {"dataset": "two", "role": "rl"}]
    assert fill(spec(server, dataset_mix=mix, lambda_adv=0), tmp_path, rows("a"), rows("b")) == [["Re: a"], [None]]
    assert server.questions() == ["a"]


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
    assert server.questions()[:3] == ["a"] * 3  # a good answer that was late is asked for again
    assert time.monotonic() - started < 40  # a silent server would hold us for 60


def test_a_server_that_is_not_there_is_tried_again_and_then_named(tmp_path: Path, server: Teacher) -> None:
    with socket.socket() as probe:  # bound but not listening: connections are refused
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
        with pytest.raises(TeacherError, match=r"dataset ds_1, row id-a: .*request 3, the last: ConnectError"):
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
    with pytest.raises(TeacherError, match="asks to wait 3600 s"):
        fill(spec(server), tmp_path, rows("a"))
    assert len(server.asked) == 1


# Failures that do not


def test_after_max_retries_the_row_and_the_servers_words_are_named(server: Teacher, tmp_path: Path) -> None:
    server.reply = lambda *_: Reply(503, {"error": {"message": "overloaded,\ntry later " + "x" * 999}})
    with pytest.raises(TeacherError) as caught:
        fill(spec(server, teacher={"max_retries": 2}), tmp_path, rows("a"))
    assert len(server.asked) == 3
    assert "dataset ds_1, row id-a: the teacher m gave no answer" in caught.value.message
    assert "status 503: overloaded, try later xxx" in caught.value.message
    assert len(caught.value.message) < 400
    assert caught.value.code == "teacher_failed"
    assert caught.value.hint is not None
    assert "in the cache" in caught.value.hint


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
    ("reply", "says"),
    [
        (Reply(body=b"<html>hello</html>"), "no usable chat completion .*<html>hello</html>"),
        (Reply(body=b"[" * 100_000), "no usable chat completion"),
        (Reply(body={"choices": []}), "choices: List should have at least 1 item"),
        (Reply(body={"error": {"message": "provider is down"}}), "choices: Field required.*: provider is down"),
        (Reply(body=b'{"choices": [{"message": {"content": "\\ud800"}}]}'), "no usable chat completion"),
        (completion("a\x00b"), "NUL"),
        (completion(None), "empty answer"),
        (completion(" \n"), "empty answer"),
        (completion("<think>Let me"), "empty answer"),
        (completion("Once upon a", finish_reason="length"), r"finish_reason 'length', teacher.max_tokens=2048"),
        (completion("Once", finish_reason="content_filter"), "content_filter"),
        (completion("x" * (8 * 2**20)), "more than 8388608 bytes"),
    ],
    ids=["html", "deep", "none", "error", "surrogate", "nul", "null", "blank", "thought", "length", "filter", "large"],
)
def test_an_unusable_answer_is_refused_with_the_row(server: Teacher, tmp_path: Path, reply: Reply, says: str) -> None:
    server.reply = lambda *_: reply
    with pytest.raises(TeacherError, match=f"dataset ds_1, row id-a: .*{says}") as caught:
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


# Budgets and concurrency


def test_the_budget_of_requests_counts_retries_and_is_never_overshot(server: Teacher, tmp_path: Path) -> None:
    server.reply = lambda question, number: Reply(500) if number % 2 else completion(f"Re: {question}")
    given = spec(server, teacher={"max_requests": 5, "concurrency": 3})
    with pytest.raises(TeacherError, match=r"teacher.max_requests=5 is spent before dataset ds_1, row id-") as caught:
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


# Servers that do not take every parameter


def refusal(name: str, words: str = "is not supported with this model", **error: Any) -> Reply:
    """As OpenAI refuses a parameter."""
    message = f"Unsupported parameter: '{name}' {words}."
    return Reply(400, {"error": {"message": message, "type": "invalid_request_error", "param": name, **error}})


def reasoning(server: Teacher) -> Callable[[str, int], Reply]:
    """Answers as the GPT-5 and o-series do: no `max_tokens`, no temperature but 1."""

    def reply(question: str, number: int) -> Reply:
        asked = server.asked[number - 1]
        if "max_tokens" in asked:
            return refusal("max_tokens", "is not supported. Use 'max_completion_tokens' instead")
        if asked.get("temperature", 1) != 1:
            message = "Unsupported value: 'temperature' does not support 0.0 with this model. Only 1 is supported."
            return Reply(400, {"error": {"message": message, "param": "temperature", "code": "unsupported_value"}})
        return completion(f"Re: {question}")

    return reply


def test_a_reasoning_model_is_asked_with_what_it_takes_and_refuses_once(server: Teacher, tmp_path: Path) -> None:
    server.reply = reasoning(server)
    events: list[str] = []
    given = spec(server, teacher={"max_tokens": 99, "max_retries": 0})
    assert fill(given, tmp_path, rows(*"abc"), events=events) == [["Re: a", "Re: b", "Re: c"]]
    assert server.questions() == list("aaabc")
    assert server.asked[-1] == {
        "model": "m",
        "messages": [{"role": "user", "content": "c"}],
        "max_completion_tokens": 99,
    }
    assert events[1:3] == [
        "the teacher m refuses max_tokens=99; max_completion_tokens=99 is sent instead",
        "the teacher m refuses temperature=0.0; it is left out, and the server's default applies",
    ]
    assert fill(spec(server, teacher={"max_tokens": 99}), tmp_path, rows(*"abc")) == [["Re: a", "Re: b", "Re: c"]]
    assert len(server.asked) == 5  # the answers are found by the spec's parameters, whatever was sent


def test_first_requests_that_are_all_refused_go_on_together(server: Teacher, tmp_path: Path) -> None:
    together, answer = threading.Barrier(4), reasoning(server)

    def reply(question: str, number: int) -> Reply:
        if number <= 4:
            together.wait(10)
        return answer(question, number)

    server.reply = reply
    events: list[str] = []
    given = spec(server, teacher={"concurrency": 4, "max_retries": 0})
    assert fill(given, tmp_path, rows(*"abcdefgh"), events=events) == [[f"Re: {name}" for name in "abcdefgh"]]
    assert sum("refuses" in event for event in events) == 2
    assert len(server.asked) <= 8 + 2 * 4


REFUSALS: dict[str, bytes | dict[str, Any]] = {
    "azure": {
        "error": {
            "message": "Unrecognized request argument supplied: temperature",
            "type": "invalid_request_error",
            "param": None,
        }
    },
    "litellm": {
        "error": {
            "message": "litellm.UnsupportedParamsError: openai does not support parameters: ['temperature'], for o3",
            "param": None,
            "code": "400",
        }
    },
    "a string": {"error": "Unsupported parameter: 'temperature' is not supported with this model."},
    "detail": {"detail": "temperature is not supported by this model"},
    "fields": {
        "detail": [{"type": "extra_forbidden", "loc": ["body", "temperature"], "msg": "Extra inputs are not permitted"}]
    },
    "openrouter": {
        "error": {
            "message": "Provider returned error",
            "code": 400,
            "metadata": {"raw": json.dumps({"error": {"message": "`temperature` is deprecated for this model."}})},
        }
    },
    "one value": {"error": {"message": "invalid temperature: only 1 is allowed for this model", "type": "x"}},
    "plain": b"property 'temperature' is unsupported",
}


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("body", REFUSALS.values(), ids=REFUSALS)
def test_a_refused_parameter_is_recognised_however_the_server_words_it(
    server: Teacher, tmp_path: Path, body: bytes | dict[str, Any], status: int
) -> None:
    def reply(question: str, number: int) -> Reply:
        return Reply(status, body) if "temperature" in server.asked[number - 1] else completion(question)

    server.reply = reply
    assert fill(spec(server), tmp_path, rows("a", "b")) == [["a", "b"]]
    assert [set(asked) - {"model", "messages"} for asked in server.asked] == [
        {"temperature", "max_tokens"},
        {"max_tokens"},
        {"max_tokens"},
    ]


@pytest.mark.parametrize(
    "error",
    [
        {"message": "max_tokens is too large: 2048. This model supports at most 1024.", "param": "max_tokens"},
        {"message": "This model's maximum context length is 99 tokens; 2048 are max_tokens.", "code": "too_long"},
        {"message": "Unsupported value: 'messages[0].role' does not support 'system'.", "param": "messages[0].role"},
        {"message": "Unsupported parameter: 'min_max_tokens'."},
        {"message": "unknown model; temperature and max_tokens are fine", "param": "model"},
    ],
    ids=["too large", "too long", "role", "another's name", "model"],
)
def test_a_refusal_of_something_else_ends_the_run_at_once(
    server: Teacher, tmp_path: Path, error: dict[str, Any]
) -> None:
    server.reply = lambda *_: Reply(400, {"error": error})
    with pytest.raises(TeacherError, match="status 400"):
        fill(spec(server), tmp_path, rows("a"))
    assert len(server.asked) == 1


def test_a_server_that_refuses_whatever_is_sent_is_given_up(server: Teacher, tmp_path: Path) -> None:
    def reply(_: str, number: int) -> Reply:
        sent = [name for name in server.asked[number - 1] if name not in ("model", "messages")]
        return refusal(sent[0]) if sent else refusal("model")

    server.reply = reply
    with pytest.raises(TeacherError, match="'max_completion_tokens' is not supported"):
        fill(spec(server), tmp_path, rows("a"))
    assert len(server.asked) == 3  # with both, without temperature, with the limit's other name


def test_refused_requests_count_in_the_budget(server: Teacher, tmp_path: Path) -> None:
    server.reply = reasoning(server)
    with pytest.raises(TeacherError, match=r"teacher\.max_requests=2 is spent"):
        fill(spec(server, teacher={"max_requests": 2}), tmp_path, rows("a"))
    assert len(server.asked) == 2


@pytest.mark.parametrize("text", [None, "", "<think>Let me see"])
def test_reasoning_that_takes_all_tokens_is_named(server: Teacher, tmp_path: Path, text: str | None) -> None:
    server.reply = lambda *_: completion(text, finish_reason="length")
    with pytest.raises(TeacherError, match=r"used all of teacher\.max_tokens=2048 before its answer began") as caught:
        fill(spec(server), tmp_path, rows("a"))
    assert caught.value.param == "teacher.max_tokens"
    assert "reasoning" in (caught.value.hint or "")


# The cache


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
        "the teacher m is asked for 3 answers; 3 are in the cache",
        "3 answers came, for 3 requests and 30 tokens",
    ]


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


# The key


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_key_is_named_by_its_variable(
    server: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("TEST_API_KEY")
    if value is not None:
        monkeypatch.setenv("TEST_API_KEY", value)
    with pytest.raises(SpecError, match="TEST_API_KEY is not set") as caught:
        fill(spec(server), tmp_path, rows("a"))
    assert caught.value.param == "teacher.api_key_env"
    assert server.asked == []


def test_a_key_that_no_header_can_hold_is_not_shown(
    server: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_API_KEY", f"{KEY}\nX-Evil: 1")
    with pytest.raises(SpecError) as caught:
        fill(spec(server), tmp_path, rows("a"))
    assert caught.value.param == "teacher.api_key_env"
    assert KEY not in caught.value.message
    assert server.asked == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}),
        Reply(400, f"{'x' * 170}Bearer {KEY}".encode()),  # shortened in the middle of the key
        Reply(500, f"GET / Authorization: Bearer {KEY}".encode()),
        Reply(200, f"not JSON {KEY}".encode()),
        completion("", finish_reason=KEY),
        completion(f"My key is {KEY}."),
    ],
    ids=["401", "cut", "500", "malformed", "reason", "answer"],
)
def test_the_key_is_in_no_message_log_or_file(
    server: Teacher, tmp_path: Path, caplog: pytest.LogCaptureFixture, reply: Reply
) -> None:
    caplog.set_level(logging.DEBUG)
    server.reply = lambda question, _: reply if question == "b" else completion("yes")
    events: list[str] = []
    with pytest.raises(TeacherError) as caught:
        fill(spec(server, teacher={"max_retries": 1}), tmp_path, rows("a", "b"), events=events)
    error = caught.value
    files = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "yes" in files
    for told in (error.message, error.hint or "", repr(error), files, *events):
        assert KEY[:8] not in told
    assert KEY[:8] not in caplog.text


@pytest.mark.parametrize(
    "teacher",
    [
        {"base_url": "https://user:secret@host/v1"},
        {"base_url": "https://host/v1?key=secret"},
        {"base_url": "ftp://host/v1"},
        {"base_url": "https:///v1"},
        {"api_key_env": "UNIAPL_DATABASE_URL"},
        {"api_key_env": "AWS_SECRET_ACCESS_KEY"},
    ],
)
def test_a_spec_can_hold_no_secret_and_send_none_but_api_keys(server: Teacher, teacher: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="String should match pattern"):
        spec(server, teacher=teacher)


@pytest.mark.parametrize("address", ["http://host:port/v1", "http://xn--/v1"])
def test_what_is_no_address_is_refused(server: Teacher, tmp_path: Path, address: str) -> None:
    with pytest.raises(SpecError) as caught:
        fill(spec(server, teacher={"base_url": address}), tmp_path, rows("a"))
    assert caught.value.param == "teacher.base_url"


# Answers that fail their own row


def test_references_that_fail_their_rows_reward_are_taken_away_and_the_rows_stay() -> None:
    def row(name: str, reference: str | None, *kinds: str) -> DatasetRow:
        reward = {"type": "ifeval", "instruction_id_list": list(kinds), "kwargs": [{}] * len(kinds)} if kinds else None
        turns = [{"role": "user", "content": "Hi"}]
        return DatasetRow.model_validate({"id": name, "messages": turns, "reference": reference, "reward": reward})

    lower, comma = "change_case:english_lowercase", "punctuation:no_comma"
    given = [
        row("passes", "hello there, friend of mine", lower),
        row("half", "hello there, friend of mine", lower, comma),
        row("fails", "HELLO THERE", lower),
        row("no reward", "HELLO, THERE"),
        row("no reference", None, lower),
    ]
    with RewardPool(RewardOptions()) as rewards:
        kept, dropped = without_failing_references(given, rewards)
    assert dropped == ["half", "fails"]
    assert [r.reference for r in kept] == ["hello there, friend of mine", None, None, "HELLO, THERE", None]
    assert [(r.id, r.reward) for r in kept] == [(r.id, r.reward) for r in given]


def test_a_row_without_id_that_fails_is_named_by_its_place() -> None:
    reward = {"type": "ifeval", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    bad = {"messages": [{"role": "user", "content": "Hi"}], "reference": "a, b", "reward": reward}
    good = {**bad, "reference": "a b"}
    with RewardPool(RewardOptions()) as rewards:
        _, dropped = without_failing_references([DatasetRow.model_validate(row) for row in (good, bad)], rewards)
    assert dropped == ["row-1"]


@pytest.mark.parametrize("answers", [True, False], ids=["an answer under way", "a wait for another try"])
def test_a_stop_keeps_what_is_paid_for_and_asks_nothing_else(
    answers: bool, server: Teacher, tmp_path: Path, listening: Listening
) -> None:
    def reply(question: str, n: int) -> Reply:
        if n == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)  # longer than a look for a stop
            return completion(f"Re: {question}") if answers else Reply(503, headers={"Retry-After": "20"})
        return completion(f"Re: {question}")

    server.reply = reply
    given = spec(server, teacher={"concurrency": 1})
    listening()
    with pytest.raises(Stopped):
        fill(given, tmp_path, rows("a", "b", "c"))
    assert server.questions() == ["a", "b"]
    listening()
    assert fill(given, tmp_path, rows("a", "b", "c")) == [["Re: a", "Re: b", "Re: c"]]
    assert server.questions()[2:] == (["c"] if answers else ["b", "c"])
