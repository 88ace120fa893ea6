"""Who is alive, and how fast earlier steps were, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from store import workers
from store.db import now, reading, unit_of_work
from store.jobs import lifecycle, metrics, step_rates
from store.tables import Job, Worker
from uniapl.run.config import ModelSource
from uniapl.spec.estimate import Hardware, Speed
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.integration

LEASE_S = 10.0
FACTS: dict[str, Any] = {
    "host": "h", "cpus": 2, "memory_bytes": 24 * 10**9, "gpus": [{"name": "G", "memory_bytes": 80 * 10**9}], "slots": 1,
    "version": "0.1.0",
}  # fmt: skip


def report(engine: Engine, worker: str, **changes: Any) -> None:
    with unit_of_work(engine) as session:
        workers.report(session, worker, {**FACTS, **changes}, LEASE_S)


def silent_for(engine: Engine, worker: str, seconds: float) -> None:
    with unit_of_work(engine) as session:
        session.execute(update(Worker).where(Worker.id == worker).values(seen_at=now() - seconds))


def alive(engine: Engine) -> list[str]:
    with reading(engine) as session:
        return [row.id for row in workers.alive(session, LEASE_S)]


def test_a_worker_that_reports_again_is_one_worker_with_its_newest_facts(engine: Engine) -> None:
    report(engine, "worker_a")
    with reading(engine) as session:
        first = session.get_one(Worker, "worker_a")
    assert first.gpus == FACTS["gpus"]
    report(engine, "worker_a", memory_bytes=5)
    with reading(engine) as session:
        (row,) = session.scalars(select(Worker)).all()
    assert (row.memory_bytes, row.started_at) == (5, first.started_at)
    assert row.seen_at > first.seen_at


def test_a_worker_of_an_older_release_has_neither_vllm_nor_speed_nor_libraries(engine: Engine) -> None:
    report(engine, "worker_old")
    speed = {"device": "gpu", "parameters": 10, "update": 52_000.0, "sampling": 9000.0, "memory": 4e12}
    report(engine, "worker_new", vllm="0.33.0", speed=speed, bitsandbytes="0.50.2")
    with reading(engine) as session:
        found = {row.id: Hardware.model_validate(row) for row in workers.alive(session, LEASE_S)}
    assert (found["worker_old"].vllm, found["worker_old"].speed) == (None, None)
    assert (found["worker_new"].vllm, found["worker_new"].speed) == ("0.33.0", Speed.model_validate(speed))
    assert (found["worker_old"].bitsandbytes, found["worker_new"].bitsandbytes) == (None, "0.50.2")


def test_a_worker_silent_for_three_leases_is_not_alive_and_its_row_goes_in_the_end(engine: Engine) -> None:
    for name in ("worker_a", "worker_b", "worker_c"):
        report(engine, name)
    silent_for(engine, "worker_b", 2.5 * LEASE_S)
    silent_for(engine, "worker_c", 3.5 * LEASE_S)
    assert set(alive(engine)) == {"worker_a", "worker_b"}
    report(engine, "worker_c")
    assert set(alive(engine)) == {"worker_a", "worker_b", "worker_c"}
    silent_for(engine, "worker_c", 1001 * LEASE_S)
    silent_for(engine, "worker_b", 999 * LEASE_S)
    report(engine, "worker_a")
    with reading(engine) as session:
        assert set(session.scalars(select(Worker.id))) == {"worker_a", "worker_b"}


def spec(**changes: Any) -> JobSpec:
    return JobSpec.model_validate({"student": "tiny", "dataset_mix": [{"dataset": "ds_1"}], **changes})


def run(engine: Engine, given: JobSpec, *, host: str = "h", step_s: float = 2.0) -> str:
    """A job that made two steps of 100 tokens."""
    with unit_of_work(engine) as session:
        job_id = lifecycle.create(session, given, {"tiny": ModelSource(path="/models/tiny")}).id
    with unit_of_work(engine) as session:
        claim = lifecycle.claim(session, job_id, owner="w", host=host, boot_id="b", lease_s=60)
        assert claim is not None
        points = [
            (name, step, value)
            for step in (1, 2)
            for name, value in (("step_time", step_s), ("num_tokens", 100.0), ("completions/mean_length", 10.0))
        ]
        metrics.put_metrics(session, job_id, claim.fence, points)
        session.execute(update(Job).where(Job.id == job_id).values(step=2))
    return job_id


def rate(engine: Engine, given: JobSpec, *hosts: str) -> step_rates.Rate | None:
    with reading(engine) as session:
        return step_rates.rate(session, given, hosts)


def test_the_rate_is_the_mean_of_jobs_like_it_on_these_hosts(engine: Engine) -> None:
    assert rate(engine, spec(), "h") is None
    run(engine, spec())
    run(engine, spec(), step_s=4.0)
    run(engine, spec(), step_s=1000.0, host="slow")
    assert rate(engine, spec(), "h") == step_rates.Rate(steps=4, token_s=0.03, completion_tokens=10.0)
    assert rate(engine, spec(), "elsewhere") is None
    assert rate(engine, spec()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"student": "other"},
        {"lora": {"rank": 8}},
        {"alpha": 1, "lambda_adv": 0},
        {"lambda_adv": 0},
        {"grpo": {"kl_coef": 0.1}},
        {"grpo": {"updates_per_rollout": 2}},
        {"grpo": {"extra_batches": 2}},
        {"optimizer": {"moments": "8bit"}},
        {"discriminator": {"type": "learned"}},
    ],
)
def test_steps_of_another_kind_say_nothing(engine: Engine, changes: dict[str, Any]) -> None:
    run(engine, spec())
    assert rate(engine, spec(**changes), "h") is None
    assert rate(engine, spec(seed=9, schedule={"steps": 7}), "h") is not None
