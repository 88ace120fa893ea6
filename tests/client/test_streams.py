"""Event streams and logs over interrupted connections."""

from __future__ import annotations

import json
from contextlib import aclosing, closing
from typing import Any

import anyio
import pytest
from uniapl_client import (
    APIConnectionError,
    APIResponseValidationError,
    AsyncClient,
    Client,
    NotFoundError,
    Reported,
    StateChanged,
    StreamReset,
)

from tests.client.conftest import Ask
from tests.client.scripted import CUT, Answer, Request, event, in_turn, job, problem, serving

pytestmark = pytest.mark.integration

END = "event: end\ndata: {}\n\n"
HEARTBEAT = ": still here\n\n"


def sse(*events: dict[str, Any], end: str = "", cut_after: int | None = None) -> Answer:
    lines = [f"id: {e['id']}\nevent: {e['type']}\ndata: {json.dumps(e, ensure_ascii=False)}\n\n" for e in events]
    return stream(HEARTBEAT + "".join(lines) + end, cut_after)


def stream(body: str, cut_after: int | None = None) -> Answer:
    return Answer(body.encode(), headers={"content-type": "text/event-stream"}, cut_after=cut_after)


def test_a_broken_event_stream_is_taken_up_where_it_broke(ask: Ask) -> None:
    whole = len(sse(event(1), event(2)).body)
    answers = (
        sse(event(1), event(2), event(3), cut_after=whole + 40),
        CUT,
        problem(503),
        sse(end='id: 4\nevent: state\ndata: {"id"'),  # closed in the middle of an event, and in order
        sse(event(3), event(4, state="succeeded"), end=END),
    )
    with serving(in_turn(*answers)) as server:
        found = ask(server.url, lambda client: client.jobs.stream("job_1"))
        assert [r.headers["last-event-id"] for r in server.seen] == ["0", "2", "2", "2", "2"]
    assert [e.id for e in found] == [1, 2, 3, 4]
    assert [type(e) for e in found] == [Reported, Reported, Reported, StateChanged]
    assert found[3].state == "succeeded"


def test_a_cursor_that_is_gone_is_told_and_the_stream_goes_on_behind_it(ask: Ask) -> None:
    reset = 'event: reset\ndata: {"after": 40, "reason": "older events have been deleted"}\n\n'
    answers = (sse(end=reset), sse(event(41), end=END)) * 2
    with serving(in_turn(*answers)) as server:
        found = ask(server.url, lambda client: client.jobs.stream("job_1", after=7))
        assert [r.headers["last-event-id"] for r in server.seen] == ["7", "40"]
        only_events = ask(server.url, lambda client: client.jobs.events("job_1"))
    assert found[0] == StreamReset(after=40, reason="older events have been deleted")
    assert [e.id for e in found[1:]] == [e.id for e in only_events] == [41]


def test_a_reset_and_what_follows_it_may_come_in_one_connection(ask: Ask) -> None:
    reset = 'event: reset\ndata: {"after": 40, "reason": "gone"}\n\n'
    body = reset + sse(event(41), end=END).body.decode()
    with serving(in_turn(stream(body))) as server:
        found = ask(server.url, lambda client: client.jobs.stream("job_1"))
    assert [e.type for e in found] == ["reset", "message"]


def test_texts_may_hold_what_python_takes_for_line_ends(ask: Ask) -> None:
    text = "a\u2028b\x85c\x0bd"
    with serving(in_turn(sse(event(1, text), end=END))) as server:
        (found,) = ask(server.url, lambda client: client.jobs.stream("job_1"))
    assert found.message == text


def test_kinds_of_events_that_are_not_known_are_passed_over(ask: Ask) -> None:
    strange = "event: fanfare\ndata: tusch\n\n" + sse(event(1), end=END).body.decode().replace("\n", "\r\n")
    with serving(in_turn(stream(strange))) as server:
        assert [e.id for e in ask(server.url, lambda client: client.jobs.stream("job_1"))] == [1]


def test_an_event_that_is_nonsense_is_an_error(ask: Ask) -> None:
    with (
        serving(in_turn(stream("event: state\ndata: {}\n\n"))) as server,
        pytest.raises(APIResponseValidationError, match="'state'"),
    ):
        ask(server.url, lambda client: client.jobs.stream("job_1"))


def test_heartbeats_between_events_are_no_events(ask: Ask) -> None:
    body = sse(event(1), end=HEARTBEAT).body.decode() + sse(event(2), end=HEARTBEAT + END).body.decode()
    with serving(in_turn(stream(body))) as server:
        assert [e.id for e in ask(server.url, lambda client: client.jobs.stream("job_1"))] == [1, 2]


def test_a_connection_that_delivered_heartbeats_alone_counts_as_no_failed_attempt(ask: Ask) -> None:
    answers = [*[sse(cut_after=len(HEARTBEAT) + 1)] * 5, sse(event(1), end=END)]
    with serving(in_turn(*answers)) as server:
        found = ask(server.url, lambda client: client.jobs.stream("job_1"), max_retries=2)
    assert [e.id for e in found] == [1]


def test_an_answer_of_another_content_type_is_given_up(ask: Ask) -> None:
    with serving(in_turn(Answer(b"<html>Sign in</html>", headers={"content-type": "text/html"}))) as server:
        with pytest.raises(APIConnectionError, match="text/html"):
            ask(server.url, lambda client: client.jobs.stream("job_1"), max_retries=2)
        assert len(server.seen) == 3


def test_a_stream_that_stays_away_is_given_up(ask: Ask) -> None:
    with serving(in_turn(sse(event(1)), CUT)) as server:
        with pytest.raises(APIConnectionError):
            ask(server.url, lambda client: client.jobs.stream("job_1"), max_retries=3)
        assert len(server.seen) == 4
    with serving(in_turn(problem(404, "job_not_found"))) as server, pytest.raises(NotFoundError):
        ask(server.url, lambda client: client.jobs.stream("job_1"))


def test_a_stream_may_be_left_and_the_client_used_again() -> None:
    def script(request: Request) -> Answer:
        return sse(event(1), event(2), end=END) if request.path.endswith("events") else Answer(job())

    async def leave(url: str) -> None:
        async with AsyncClient(url) as client:
            async with aclosing(client.jobs.events("job_1")) as events:
                async for _ in events:
                    break
            assert (await client.jobs.get("job_1")).id == "job_1"

    with serving(script) as server:
        anyio.run(leave, server.url)
        with Client(server.url) as client:
            with closing(client.jobs.events("job_1")) as events:
                next(events)
            assert client.jobs.get("job_1").id == "job_1"


LOGS = {1: b"first attempt\nended badly\n", 2: b"second attempt\n"}


def log_script(states: list[tuple[int, str, int]]) -> Any:
    """Logs of two attempts; each request of the job returns the next of (attempt, state, bytes of its log written)."""
    now = {"look": -1}

    def script(request: Request) -> Answer:
        if not request.path.endswith("/logs"):
            now["look"] = min(now["look"] + 1, len(states) - 1)
            attempt, state, _ = states[now["look"]]
            return Answer(job(state, attempt=attempt))
        newest, _, written = states[max(now["look"], 0)]
        attempt = int(request.query.get("attempt", newest))
        content = LOGS[attempt] if attempt < newest else LOGS[attempt][:written]
        return ranged(content, request.headers["range"]) if written else problem(404, "log_not_found")

    return script


def ranged(content: bytes, header: str | None) -> Answer:
    """The response of a server that supports range requests."""
    if header is None:
        return Answer(content)
    first, last = header.removeprefix("bytes=").split("-")
    start = int(first) if first else max(0, len(content) - int(last))
    if start >= len(content):
        return problem(416, "range_not_satisfiable")
    stop = int(last) + 1 if first and last else len(content)
    return Answer(content[start:stop], 206)


def test_a_log_comes_whole_or_in_part(ask: Ask) -> None:
    with serving(log_script([(2, "running", 99)])) as server:

        def get(**what: int) -> bytes:
            return bytes(ask(server.url, lambda client: client.jobs.logs("job_1", **what)))

        assert get() == LOGS[2]
        assert get(attempt=1) == LOGS[1]
        assert get(start=7) == LOGS[2][7:]
        assert get(start=2, end=5) == LOGS[2][2:5]
        assert get(end=5) == LOGS[2][:5]
        assert get(start=-4) == LOGS[2][-4:]
        assert get(start=1000) == b""


def test_a_log_is_followed_through_every_attempt_until_the_job_is_over(ask: Ask) -> None:
    states = [(0, "queued", 0), (1, "running", 0), (1, "running", 5), (1, "running", 5), (2, "running", 3)]
    with serving(log_script([*states, (2, "succeeded", 99)])) as server:
        pieces = ask(server.url, lambda client: client.jobs.follow_logs("job_1", poll_s=0.01))
    assert b"".join(pieces) == LOGS[1] + LOGS[2]
    assert pieces[0] == LOGS[1][:5]


def test_one_attempt_of_a_log_can_be_followed_from_a_byte_on(ask: Ask) -> None:
    with serving(log_script([(2, "running", 2), (2, "failed", 99)])) as server:
        pieces = ask(server.url, lambda client: client.jobs.follow_logs("job_1", attempt=1, start=6, poll_s=0.01))
    assert b"".join(pieces) == LOGS[1][6:]
