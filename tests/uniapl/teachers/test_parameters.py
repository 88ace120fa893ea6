"""Servers that do not support every parameter."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.uniapl.teachers.openai_server import Reply, Teacher, completion, fill, rows, spec
from uniapl.errors import TeacherError

pytestmark = pytest.mark.integration


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
        "teacher m rejects max_tokens=99; max_completion_tokens=99 is sent instead",
        "teacher m rejects temperature=0.0; it is omitted, and the server's default applies",
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
    assert sum("rejects" in event for event in events) == 2
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
    "the supported ones follow": {
        "error": {"message": "temperature is not supported; use only: model, messages, max_tokens", "code": "bad"}
    },
    "in a list": b'[{"error": {"code": 400, "message": "Unknown name \\"temperature\\": Cannot find field."}}]',
    "strictly positive": {"error": "Input validation error: `temperature` must be strictly positive"},
    "an open interval": {"error": {"code": "1210", "message": "temperature must be in the range (0.0, 1.0]"}},
    "must be 1": {"error": {"message": "temperature: must be set to 1 when thinking is enabled.", "param": None}},
    "not a valid one": {"message": "temperature is not a valid parameter for this model"},
    "in Chinese": {"error": {"message": "该模型不支持参数temperature，请删除", "param": None}},
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
        {"message": "max_tokens must be greater than 0 and at most 1024", "param": None},
        {"message": "max_tokens must be 1 to 1024", "param": None},
        {"message": "temperature: must be at most 2", "param": "temperature"},
    ],
    ids=["too large", "too long", "role", "another's name", "model", "range", "another range", "too hot"],
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
    with pytest.raises(TeacherError, match=r"reached teacher\.max_tokens=2048 before the answer began") as caught:
        fill(spec(server), tmp_path, rows("a"))
    assert caught.value.param == "teacher.max_tokens"
    assert "reasoning" in (caught.value.hint or "")
