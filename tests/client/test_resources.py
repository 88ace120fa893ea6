"""Requests and responses of jobs and datasets."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from uniapl_client import JobFailed, JobTimeout

from tests.client.conftest import Ask
from tests.client.scripted import Answer, Request, estimate, event, in_turn, job, serving, validation

pytestmark = pytest.mark.integration

ERROR = {
    "code": "out_of_memory",
    "message": "the policy does not fit",
    "category": "resource",
    "hint": None,
    "param": "resources.micro_batch_tokens",
    "log_tail": "",
}


ROW = {"messages": [{"role": "user", "content": "hello"}]}
STATISTICS = {
    "rows": 1,
    "references": 0,
    "rewards": 0,
    "sampled_rows": 1,
    "reward_types": {},
    "tags": {"greeting": 1},
    "prompt": None,
    "reference": None,
}


def page(*items: Any, more: bool = False) -> Answer:
    return Answer({"object": "list", "data": list(items), "has_more": more})


def test_lists_go_from_page_to_page_and_no_further_than_they_are_read(ask: Ask) -> None:
    pages = (page(job(id="job_3"), job(id="job_2"), more=True), page(job(id="job_1")))
    with serving(in_turn(*pages)) as server:
        assert [j.id for j in ask(server.url, lambda c: c.jobs.list())] == ["job_3", "job_2", "job_1"]
        assert [r.query for r in server.seen] == [{}, {"after": "job_2"}]


def following(*states: dict[str, Any]) -> Any:
    """A script of a job that passes through the states, with one more event in each."""
    left, events = list(states), []

    def script(request: Request) -> Answer:
        if request.path.endswith("/events"):
            return page(*[e for e in events if e["id"] > int(request.query["after"])])
        events.append(event(len(events) + 1))
        return Answer(left.pop(0) if len(left) > 1 else left[0])

    return script


def test_create_and_wait_tells_every_event_once(ask: Ask) -> None:
    reported: list[int] = []
    states = (job("queued"), job("running"), job("succeeded"))
    with serving(following(*states)) as server:
        done = ask(
            server.url,
            lambda c: c.jobs.create_and_wait(
                student="tiny", dataset_mix=[], on_event=lambda e: reported.append(e.id), idempotency_key="mine"
            ),
        )
        assert (server.seen[0].method, server.seen[0].headers["idempotency-key"]) == ("POST", "mine")
    assert done.state == "succeeded"
    assert reported == [1, 2, 3]


@pytest.mark.parametrize(
    ("last", "code"), [(job("failed", error=ERROR), "out_of_memory"), (job("cancelled"), "job_cancelled")]
)
def test_a_job_that_did_not_succeed_raises_its_error(ask: Ask, last: dict[str, Any], code: str) -> None:
    with serving(in_turn(Answer(last))) as server, pytest.raises(JobFailed) as caught:
        ask(server.url, lambda c: c.jobs.create_and_wait(student="tiny"))
    assert (caught.value.job.state, caught.value.code) == (last["state"], code)
    assert pickle.loads(pickle.dumps(caught.value)).job == caught.value.job  # noqa: S301


def test_a_job_that_takes_too_long_is_named_in_the_timeout(ask: Ask) -> None:
    with serving(in_turn(Answer(job()))) as server, pytest.raises(TimeoutError, match="job_1 is running") as caught:
        ask(server.url, lambda c: c.jobs.wait("job_1", timeout_s=0.05, poll_s=0.02))
    assert isinstance(caught.value, JobTimeout)
    assert caught.value.job.id == "job_1"


def test_metrics_are_asked_for_by_name_step_and_number(ask: Ask) -> None:
    points = [{"name": "loss", "step": step, "value": 1.0} for step in (4, 5)]
    with serving(in_turn(page(points[0], more=True), page(points[1]))) as server:
        found = ask(
            server.url, lambda c: c.jobs.metrics("job_1", names=["loss", "reward"], since_step=3, max_points=50)
        )
        assert [r.query for r in server.seen] == [
            {"names": "loss,reward", "max_points": "50", "since_step": step} for step in ("3", "4")
        ]
    assert [p.step for p in found] == [4, 5]


def test_a_spec_can_be_validated_and_estimated(ask: Ask) -> None:
    problem = {"param": "alpha", "code": "out_of_range", "message": "too much", "hint": "less"}
    answers = (Answer(validation(problem)), Answer(estimate()))
    with serving(in_turn(*answers)) as server:
        checked = ask(server.url, lambda c: c.jobs.validate(student="tiny"))
        estimated = ask(server.url, lambda c: c.jobs.estimate(student="tiny"))
        assert [(r.method, r.path) for r in server.seen] == [("POST", "/jobs/validate"), ("POST", "/jobs/estimate")]
    assert (checked.valid, checked.problems[0].param) == (False, "alpha")
    assert (estimated.verdict, estimated.memory.parts["weights"].high, estimated.time.step_s) == (
        "fits",
        3 * 10**9,
        2.5,
    )


def test_secrets_are_written_listed_and_deleted(ask: Ask) -> None:
    secret = {"name": "big", "updated_at": 1.0}
    bodies, answers = [], iter((Answer(secret), page(secret), Answer(status=204)))

    def script(request: Request) -> Answer:
        bodies.append(request.body)
        return next(answers)

    with serving(script) as server:
        assert ask(server.url, lambda c: c.secrets.put("big", "s3cr3t-value")).name == "big"
        assert [found.name for found in ask(server.url, lambda c: c.secrets.list())] == ["big"]
        assert ask(server.url, lambda c: c.secrets.delete("big")) is None
    assert [(r.method, r.path) for r in server.seen] == [
        ("PUT", "/secrets/big"),
        ("GET", "/secrets"),
        ("DELETE", "/secrets/big"),
    ]
    assert json.loads(bodies[0]) == {"value": "s3cr3t-value"}


def test_a_dataset_can_be_looked_into_and_deleted(ask: Ask) -> None:
    answers = (page(ROW), Answer(STATISTICS), Answer(status=204))
    with serving(in_turn(*answers)) as server:
        [row] = ask(server.url, lambda c: c.datasets.preview("ds_1", rows=3))
        assert (row.messages[0].content, row.reference) == ("hello", None)
        assert ask(server.url, lambda c: c.datasets.statistics("ds_1", student="tiny")).sampled_rows == 1
        assert ask(server.url, lambda c: c.datasets.delete("ds_1")) is None
    asked = [(r.method, r.path, r.query) for r in server.seen]
    assert asked == [
        ("GET", "/datasets/ds_1/preview", {"rows": "3"}),
        ("GET", "/datasets/ds_1/statistics", {"student": "tiny"}),
        ("DELETE", "/datasets/ds_1", {}),
    ]
