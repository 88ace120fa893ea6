"""An older client with a newer service: unknown fields and values are kept and cause no error."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from uniapl_client import JobFailed, JobSpec, RawObject
from uniapl_client.cli import main

from tests.client.conftest import Ask
from tests.client.scripted import Answer, Request, Server, estimate, event, in_turn, job, serving, validation
from tests.client.test_resources import STATISTICS, page

pytestmark = pytest.mark.integration

SPEC = {
    "student": "tiny",
    "dataset_mix": [{"dataset": "ds_1", "filter": {"tags": ["a"]}}],
    "alpha": {"type": "sigmoid", "start": 1},
    "schedule": {"steps": 4, "phases": [{"until": 2}]},
    "discriminator": {"type": "jury"},
}
NEWER = job("archived", spec=SPEC, cost={"usd": 3}, id="job_2")
DATASET = {
    "id": "ds_1", "name": "n", "rows": 1, "references": 1, "rewards": 0, "bytes": 1, "sha256": "x", "created_at": 1.0,
    "licence": "mit",
}  # fmt: skip
CHECKPOINT = {
    "id": "ckpt_1", "job_id": "job_2", "step": 1, "bytes": 1, "manifest_sha256": "x", "created_at": 1.0,
    "files": [{"name": "m", "bytes": 1, "sha256": "x", "kind": "shard"}], "kind": "adapter",
}  # fmt: skip
ROWS = [{"messages": [{"role": "tool", "content": [1]}], "reward": {"type": "jury"}}, {"messages": [], "id": 3}]


def newer_estimate() -> dict[str, Any]:
    found = copy.deepcopy(estimate())
    found |= {"verdict": "fits_when_idle", "tokens_counted_by": "server", "power_w": 3}
    found["roles"][0]["role"] = "preference"
    found["memory"] |= {"device": "tpu", "servers": {"teacher": found["memory"]["total"]}}
    card = {"name": "card", "memory_bytes": 1, "processes": ["teacher"], "mig": True}
    found["hardware"] = [{"cpus": 1, "memory_bytes": 1, "gpus": [card], "slots": 1, "zone": "a"}]
    return found


def answer(request: Request) -> Answer:
    """Of the newer service."""
    found: dict[str, Any] = {
        "/jobs": page(NEWER, job(id="job_1")),
        "/jobs/job_2": Answer(NEWER),
        "/jobs/job_2/cancel": Answer(NEWER),
        "/jobs/job_2/events": page(event(1) | {"type": "audit", "level": "debug", "actor": "key_1"}, event(2)),
        "/jobs/job_2/checkpoints": page(CHECKPOINT),
        "/jobs/job_2/metrics": page({"name": "loss", "step": 1, "value": 1.0, "unit": "nats"}),
        "/jobs/job_2/samples": page(),
        "/jobs/estimate": Answer(newer_estimate()),
        "/jobs/validate": Answer(validation() | {"spec": SPEC}),
        "/datasets": page(DATASET),
        "/datasets/ds_1": Answer(DATASET),
        "/datasets/ds_1/preview": page(*ROWS),
        "/datasets/ds_1/statistics": Answer(STATISTICS | {"languages": {"en": 1}}),
        "/models": page({"id": "tiny", "kind": "teacher", "source": "local", "licence": "mit"}),
    }[request.path]
    if request.method == "POST" and request.path == "/jobs":
        found = Answer(NEWER | {"spec": request.json})
    return found  # type: ignore[no-any-return]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(answer) as running:
        yield running


def test_jobs_are_understood_beside_those_that_are_not_known_whole(ask: Ask, server: Server) -> None:
    newer, known = ask(server.url, lambda client: client.jobs.list())
    assert (newer.id, newer.state, newer.cost) == ("job_2", "archived", {"usd": 3})
    assert isinstance(newer.spec, RawObject)
    assert (newer.spec.student, newer.spec.dataset_mix[0].filter.tags) == ("tiny", ["a"])
    assert (newer.spec.alpha.type, newer.spec.schedule.phases[0].until) == ("sigmoid", 2)
    assert newer.spec.model_dump() == SPEC
    assert isinstance(known.spec, JobSpec)
    assert known.spec.alpha == 0.1
    for use in (lambda client: client.jobs.get("job_2"), lambda client: client.jobs.cancel("job_2")):
        assert ask(server.url, use) == newer
    assert ask(server.url, lambda client: client.jobs.create(newer.spec)).spec == newer.spec


def test_everything_else_is_understood(ask: Ask, server: Server) -> None:
    audit, known = ask(server.url, lambda client: client.jobs.list_events("job_2"))
    assert (audit.type, audit.level, audit.actor, known.type) == ("audit", "debug", "key_1", "message")
    [checkpoint] = ask(server.url, lambda client: client.jobs.checkpoints("job_2"))
    assert (checkpoint.kind, checkpoint.files[0].kind) == ("adapter", "shard")
    assert [point.unit for point in ask(server.url, lambda client: client.jobs.metrics("job_2"))] == ["nats"]
    found = ask(server.url, lambda client: client.jobs.estimate(student="tiny"))
    assert found.model_dump(mode="json", exclude_unset=True) == newer_estimate()
    assert ask(server.url, lambda client: client.jobs.validate(student="tiny")).spec.model_dump() == SPEC
    [listed] = ask(server.url, lambda client: client.datasets.list())
    assert listed == ask(server.url, lambda client: client.datasets.get("ds_1"))
    assert listed.licence == "mit"
    shown = ask(server.url, lambda client: client.datasets.preview("ds_1"))
    assert [row.model_dump() for row in shown] == ROWS
    assert ask(server.url, lambda client: client.datasets.statistics("ds_1")).languages == {"en": 1}
    assert [model.kind for model in ask(server.url, lambda client: client.models())] == ["teacher"]


def test_a_job_that_ended_in_a_state_of_a_newer_release_is_not_waited_for_any_longer(ask: Ask) -> None:
    with serving(in_turn(Answer(job("draining")), Answer(job("archived", finished_at=2.0)))) as server:
        with pytest.raises(JobFailed, match="archived"):
            ask(server.url, lambda client: client.jobs.wait("job_1", poll_s=0.01))
        assert len(server.seen) == 2


def test_a_stream_goes_on_after_an_event_of_a_kind_that_is_not_known(ask: Ask) -> None:
    lines = []
    for number, kind in enumerate(("message", "audit", "state"), 1):
        given = event(number) | {"type": kind, "level": "debug", "actor": "key_1", "data": {"state": "archived"}}
        lines.append(f"id: {number}\nevent: {kind}\ndata: {json.dumps(given)}\n\n")
    body = "".join(lines) + "event: end\ndata: {}\n\n"
    with serving(in_turn(Answer(body.encode(), headers={"content-type": "text/event-stream"}))) as server:
        found = ask(server.url, lambda client: client.jobs.stream("job_1"))
    assert [(each.id, each.level) for each in found] == [(1, "debug"), (3, "debug")]
    assert found[-1].state == "archived"


@pytest.mark.parametrize(
    "command",
    ["jobs", "show job_2", "cancel job_2", "datasets list", "datasets show ds_1", "datasets preview ds_1",
     "datasets statistics ds_1", "metrics job_2", "jobs --json", "show job_2 --json", "datasets preview ds_1 --json"],
)  # fmt: skip
def test_the_commands_show_what_they_know(server: Server, command: str) -> None:
    result = CliRunner(env={"UNIAPL_URL": server.url}).invoke(main, command.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    if command == "jobs":
        assert "sigmoid" in result.output
    if command == "show job_2 --json":
        assert json.loads(result.stdout)["cost"] == {"usd": 3}
