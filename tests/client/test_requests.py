"""One request: what it carries, when it is sent again, and how it fails."""

from __future__ import annotations

import pickle
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from uniapl_client import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    VersionError,
)
from uniapl_client._version import check, client_version

from tests.client.conftest import Ask
from tests.client.scripted import CUT, Answer, Request, in_turn, job, problem, serving

pytestmark = pytest.mark.integration

GOOD = Answer(job())


def test_a_request_says_who_asks_and_with_what_key(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(in_turn(GOOD)) as server:
        ask(server.url, lambda client: client.jobs.get("job_1"), api_key="given")
        monkeypatch.setenv("UNIAPL_API_KEY", "from outside")
        ask(server.url, lambda client: client.jobs.get("job_1"))
    assert [r.headers["authorization"] for r in server.seen] == ["Bearer given", "Bearer from outside"]
    assert {r.headers["user-agent"] for r in server.seen} == {f"uniapl-client/{client_version()}"}


@pytest.mark.parametrize("first", [problem(503), CUT], ids=["503", "cut"])
def test_a_post_carries_one_idempotency_key_through_all_its_attempts(ask: Ask, first: Answer) -> None:
    with serving(in_turn(problem(503), first, GOOD)) as server:
        assert ask(server.url, lambda client: client.jobs.create(student="tiny")).id == "job_1"
        ask(server.url, lambda client: client.jobs.create(student="tiny"))
        ask(server.url, lambda client: client.jobs.create(student="tiny", idempotency_key="mine"))
    keys = [request.headers["idempotency-key"] for request in server.seen]
    assert len(keys) == 5
    assert len(set(keys[:3])) == 1
    assert len(set(keys[2:])) == 3
    assert keys[4] == "mine"


@pytest.mark.parametrize(
    ("status", "word", "again"),
    [(status, None, True) for status in (408, 429, 502, 503, 504)]
    + [(status, None, False) for status in (400, 401, 403, 404, 409, 422, 500)]
    + [(409, "true", True), (503, "false", False)],
)
def test_what_may_pass_is_tried_again(ask: Ask, status: int, word: str | None, again: bool) -> None:
    headers = {"x_should_retry": word} if word else {}
    with serving(in_turn(problem(status, **headers), GOOD)) as server:
        if again:
            assert ask(server.url, lambda client: client.jobs.cancel("job_1")).id == "job_1"
        else:
            with pytest.raises(APIStatusError) as caught:
                ask(server.url, lambda client: client.jobs.cancel("job_1"))
            assert caught.value.status == status
    assert len(server.seen) == (2 if again else 1)


def in_a_moment() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)  # has no fractions of a second


@pytest.mark.parametrize(
    ("header", "value"), [("retry_after", "1"), ("retry_after_ms", "600"), ("retry_after", "date")]
)
def test_the_service_may_name_the_pause(ask: Ask, header: str, value: str) -> None:
    started = time.monotonic()  # before the date is named
    with serving(in_turn(problem(429, **{header: in_a_moment() if value == "date" else value}), GOOD)) as server:
        ask(server.url, lambda client: client.jobs.get("job_1"))
    assert 0.55 < time.monotonic() - started < 30


def test_a_pause_longer_than_the_deadline_is_not_begun(ask: Ask) -> None:
    with serving(in_turn(problem(429, "rate_limited", retry_after="90"))) as server:
        with pytest.raises(RateLimitError) as caught:
            ask(server.url, lambda client: client.jobs.get("job_1"))
        assert caught.value.retry_after_s == 90
    assert len(server.seen) == 1


def test_retries_end_with_their_number_and_with_the_deadline(ask: Ask) -> None:
    with serving(in_turn(problem(503))) as server:
        with pytest.raises(ServerError):
            ask(server.url, lambda client: client.jobs.get("job_1"), max_retries=3)
        assert len(server.seen) == 4
        started = time.monotonic()
        with pytest.raises(ServerError):
            ask(server.url, lambda client: client.jobs.get("job_1"), max_retries=10**6, deadline_s=0.5)
        assert time.monotonic() - started < 30


def test_pauses_grow_and_are_drawn_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    from uniapl_client._retry import Attempts, Patience

    monkeypatch.setattr("uniapl_client._retry.BASE_S", 0.5)
    attempts = [Attempts(Patience(8, 60)) for _ in range(200)]
    drawn = [[a.pause_s(None, known=True) or 0.0 for a in attempts] for _ in range(8)]
    for n, pauses in enumerate(drawn):
        limit = min(8.0, 0.5 * 2**n)
        assert limit * 0.9 < max(pauses) <= limit
        assert min(pauses) < limit * 0.1


def test_a_service_that_is_not_there_is_soon_given_up_and_named(ask: Ask) -> None:
    started = time.monotonic()
    with pytest.raises(APIConnectionError, match=r"http://127\.0\.0\.1:9") as caught:
        ask("http://127.0.0.1:9", lambda client: client.models())
    assert isinstance(caught.value, ConnectionError)
    assert time.monotonic() - started < 30


def test_an_address_that_is_none_is_named(ask: Ask) -> None:
    with pytest.raises(APIConnectionError, match="is not a valid address"):
        ask("localhost:8000", lambda client: client.models())


def test_a_service_that_was_there_is_waited_for(ask: Ask) -> None:
    with serving(in_turn(problem(503), *[CUT] * 6, GOOD)) as server:  # more than a wrong address gets
        assert ask(server.url, lambda client: client.jobs.get("job_1")).id == "job_1"


def test_an_answer_that_does_not_come_is_a_timeout(ask: Ask) -> None:
    over = threading.Event()

    def slow(_: Request) -> Answer:
        over.wait(60)
        return GOOD

    with serving(slow) as server:
        with pytest.raises(TimeoutError) as caught:
            ask(server.url, lambda client: client.jobs.get("job_1"), timeout_s=0.1, max_retries=0)
        over.set()
    assert isinstance(caught.value, APITimeoutError)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, InvalidRequestError),
        (418, APIStatusError),
        (422, InvalidRequestError),
        (429, RateLimitError),
        (500, ServerError),
        (503, ServerError),
    ],
)
def test_errors_are_typed_and_say_what_the_service_said(ask: Ask, status: int, kind: type[APIStatusError]) -> None:
    answer = problem(status, "bad_thing", param="alpha", x_request_id="req_1")
    with serving(in_turn(answer)) as server, pytest.raises(APIStatusError) as caught:
        ask(server.url, lambda client: client.jobs.get("job_1"), max_retries=0)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.param, error.request_id) == (status, "bad_thing", "alpha", "req_1")
    assert str(error) == "bad_thing happened (bad_thing, request req_1)"
    assert error.errors == [{"param": "alpha"}]
    assert isinstance(error, PermissionError) == (status == 403)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), str(again), again.status) == (kind, str(error), status)


def test_an_answer_that_is_not_ours_is_still_an_error_with_its_status(ask: Ask) -> None:
    with (
        serving(in_turn(Answer(b"<html>Bad gateway</html>", 502))) as server,
        pytest.raises(ServerError, match="HTTP 502: <html>") as caught,
    ):
        ask(server.url, lambda client: client.jobs.get("job_1"), max_retries=0)
    assert (caught.value.status_code, caught.value.code) == (502, "unknown")


@pytest.mark.parametrize("body", [b"<html>Welcome to the hotel</html>", b'{"id": 3}'])
def test_a_good_answer_from_something_else_is_an_error(ask: Ask, body: bytes) -> None:
    with serving(in_turn(Answer(body))) as server, pytest.raises(APIResponseValidationError, match="a UniAPL service"):
        ask(server.url, lambda client: client.jobs.get("job_1"))


@pytest.mark.parametrize("status", [200, 404])
def test_a_service_of_another_version_is_refused_at_its_first_answer(ask: Ask, status: int) -> None:
    answer = Answer(job(), status, {"x-uniapl-version": "0.99.1"})
    with serving(in_turn(answer)) as server, pytest.raises(VersionError) as caught:
        ask(server.url, lambda client: client.jobs.get("job_1"))
    assert (caught.value.server_version, caught.value.client_version) == ("0.99.1", client_version())
    assert 'pip install "uniapl-client==0.99.*"' in str(caught.value)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("server", "client", "fits"),
    [
        ("0.1.0", "0.1.7", True),
        ("0.1.0rc1", "0.1.0", True),
        ("0.2.0", "0.1.9", False),
        ("1.0.0", "0.1.0", False),
        ("1.2.0", "1.9.3", True),
        ("2.0.0", "1.9.3", False),
        ("unreleased", "0.1.0", True),
    ],
)
def test_versions_fit_within_a_major_and_before_one_within_a_minor(server: str, client: str, fits: bool) -> None:
    if fits:
        check(server, client)
    else:
        with pytest.raises(VersionError, match=f"{server}.*{client}"):
            check(server, client)


def test_a_service_that_names_no_version_is_accepted_and_ours_too(ask: Ask) -> None:
    ours = Answer(job(), headers={"x-uniapl-version": client_version()})
    with serving(in_turn(Answer(job()), ours)) as server:
        for _ in range(2):
            assert ask(server.url, lambda client: client.jobs.get("job_1")).id == "job_1"
