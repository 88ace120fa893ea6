"""Place in the queue, reason for waiting, and estimated time of a job, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from store import tenants
from store.db import now, reading, unit_of_work
from store.jobs import forecast, lifecycle, metrics
from store.jobs.forecast import JobForecast
from store.tables import Job
from tests.store.jobs.factories import ERROR, claimed, make_job
from tests.store.test_workers import FACTS, LEASE_S, report, run, silent_for, spec
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.integration


def looked(engine: Engine, *job_ids: str, tenant: str | None = tenants.DEFAULT) -> list[JobForecast]:
    with reading(engine, tenant) as session:
        rows = [lifecycle.get(session, job_id) for job_id in job_ids]
        asked = {row.id: (row, JobSpec.model_validate(row.spec)) for row in rows}
        found = forecast.forecast_jobs(session, asked, LEASE_S)
    return [found[job_id] for job_id in job_ids]


def queued(engine: Engine, given: JobSpec, tenant: str = tenants.DEFAULT) -> str:
    with unit_of_work(engine, tenant) as session:
        return lifecycle.create(session, given, {"tiny": ModelSource(path="/models/tiny")}).id


def reason(engine: Engine, job_id: str) -> str | None:
    return looked(engine, job_id)[0].queue_reason


def in_order_of_creation(engine: Engine, job_ids: list[str]) -> list[str]:
    """Jobs that are created within one tick of the clock are ordered by their ids."""
    with reading(engine) as session:
        return sorted(job_ids, key=lambda job_id: (lifecycle.get(session, job_id).created_at, job_id))


def test_jobs_of_one_instant_have_the_places_in_which_workers_take_them(engine: Engine) -> None:
    made = [make_job(engine) for _ in range(6)]
    with unit_of_work(engine) as session:
        session.execute(update(Job).values(created_at=1.0))
        taken = list(lifecycle.queued(session))
    report(engine, "worker_a", slots=9)
    assert taken == sorted(made)
    assert [each.queue_position for each in looked(engine, *taken)] == [1, 2, 3, 4, 5, 6]


def test_the_queue_is_in_the_order_in_which_workers_take_jobs(engine: Engine) -> None:
    made = in_order_of_creation(engine, [make_job(engine) for _ in range(4)])
    report(engine, "worker_a", slots=9)
    found = looked(engine, *made)
    assert [each.queue_position for each in found] == [1, 2, 3, 4]
    assert [each.queue_reason for each in found] == [
        "a worker is about to claim it",
        "1 job ahead",
        "2 jobs ahead",
        "3 jobs ahead",
    ]
    with reading(engine) as session:
        assert list(lifecycle.queued(session)) == made
    claimed(engine, made[1])
    with unit_of_work(engine) as session:
        lifecycle.request_pause(session, made[2])
    assert [each.queue_position for each in looked(engine, *made)] == [1, None, None, 2]
    assert looked(engine, made[3])[0].queue_position == 2
    assert looked(engine, made[1], made[2]) == [JobForecast(), JobForecast()]


def test_a_job_that_is_to_be_cancelled_has_no_place(engine: Engine) -> None:
    first, second = make_job(engine), make_job(engine)
    claim = claimed(engine, first)
    with unit_of_work(engine) as session:
        lifecycle.request_cancel(session, first)
        lifecycle.preempt(session, claim, "the worker drains")  # queued, until a sweeper applies the pending intent
    assert looked(engine, first, second) == [JobForecast(), JobForecast(1, "no worker is connected")]


def test_jobs_of_other_tenants_count_and_are_not_seen(engine: Engine) -> None:
    report(engine, "worker_a")
    queued(engine, spec(), "other")
    mine = make_job(engine)
    assert looked(engine, mine)[0].queue_position == 2
    assert reason(engine, mine) == "1 job ahead"


def test_a_job_waits_for_a_worker_that_lives_and_has_a_slot(engine: Engine) -> None:
    first, second = make_job(engine), make_job(engine)
    assert reason(engine, second) == "no worker is connected"
    report(engine, "worker_a", slots=1)
    silent_for(engine, "worker_a", 3.5 * LEASE_S)
    assert reason(engine, first) == "no worker is connected"
    report(engine, "worker_a", slots=1)
    assert reason(engine, first) == "a worker is about to claim it"
    claimed(engine, first)
    assert reason(engine, second) == "every worker is busy"
    report(engine, "worker_b", slots=1)
    assert reason(engine, second) == "a worker is about to claim it"


def test_a_worker_that_has_a_job_but_tells_nothing_of_itself_is_busy_and_not_absent(engine: Engine) -> None:
    first, second = make_job(engine), make_job(engine)
    claimed(engine, first)
    assert reason(engine, second) == "every worker is busy"


def test_a_retry_waits_for_its_time(engine: Engine) -> None:
    job_id = make_job(engine)
    report(engine, "worker_a")
    claim = claimed(engine, job_id)
    with unit_of_work(engine) as session:
        lifecycle.retry_or_fail(session, job_id, claim.fence, ERROR, backoff_s=100)
    [found] = looked(engine, job_id)
    assert found.queue_position is None
    assert found.queue_reason in {f"the last attempt failed; retrying in at least {s} s" for s in range(90, 101)}
    with unit_of_work(engine) as session:
        session.execute(update(Job).values(not_before=now() - 5))
    assert reason(engine, job_id) == "the last attempt failed; retrying in at least 0 s"


def test_the_time_left_is_the_median_of_the_last_steps_times_those_to_be_made(engine: Engine) -> None:
    job_id = make_job(engine)
    claim = claimed(engine, job_id)
    assert looked(engine, job_id)[0].eta_s is None
    # Of 30 steps the first ten took 100 s; of the last twenty, eleven took 2 s and nine 50 s: the median is 2 s.
    times = [100.0] * 10 + [2.0] * 11 + [50.0] * 9
    points = [("step_time", step, seconds) for step, seconds in enumerate(times, 1)] + [("loss", 30, 7.0)]
    with unit_of_work(engine) as session:
        metrics.put_metrics(session, job_id, claim.fence, points)
        session.execute(update(Job).values(step=30, steps=100))
    assert looked(engine, job_id)[0].eta_s == 70 * 2.0
    with unit_of_work(engine) as session:
        lifecycle.request_cancel(session, job_id)
        lifecycle.cancelled(session, job_id, claim.fence)
    assert looked(engine, job_id) == [JobForecast()]


def test_before_the_first_step_earlier_jobs_that_do_the_same_work_tell_the_time(engine: Engine) -> None:
    report(engine, "worker_a")
    waiting = queued(engine, spec(seed=5, name="again", schedule={"steps": 10}))
    assert looked(engine, waiting)[0].eta_s is None
    run(engine, spec(), step_s=2.0)
    run(engine, spec(), step_s=4.0)
    run(engine, spec(), step_s=1000.0, host="slow")
    assert looked(engine, waiting)[0].eta_s == 10 * 3.0
    silent_for(engine, "worker_a", 3.5 * LEASE_S)
    assert looked(engine, waiting)[0].eta_s is None
    report(engine, "worker_a", host="slow")
    assert looked(engine, waiting)[0].eta_s == 10 * 1000.0


@pytest.mark.parametrize(
    "changes",
    [
        {"student": "other"},
        {"dataset_mix": [{"dataset": "ds_2"}]},
        {"lora": {"rank": 8}},
        {"alpha": 0},
        {"lambda_adv": 0},
        {"grpo": {"kl_coef": 0.1}},
        {"grpo": {"group_size": 4}},
        {"rollout": {"max_new_tokens": 7}},
        {"schedule": {"prompts_per_step": 7}},
        {"resources": {"micro_batch_tokens": 77}},
    ],
)
def test_steps_that_do_other_work_tell_nothing(engine: Engine, changes: dict[str, Any]) -> None:
    report(engine, "worker_a")
    run(engine, spec())
    assert looked(engine, queued(engine, spec()))[0].eta_s == 200 * 2.0
    assert looked(engine, queued(engine, spec(**changes)))[0].eta_s is None


def test_the_speed_of_another_tenants_jobs_is_not_told(engine: Engine) -> None:
    report(engine, "worker_a")
    run(engine, spec())
    stranger = queued(engine, spec(), "other")
    assert looked(engine, stranger, tenant="other")[0].eta_s is None


def test_any_number_of_jobs_takes_the_same_few_queries(engine: Engine) -> None:
    report(engine, "worker_a", **{**FACTS, "slots": 2})
    made = [run(engine, spec()), *(queued(engine, spec(seed=seed)) for seed in range(30))]

    def queries(*job_ids: str) -> int:
        with reading(engine, tenants.DEFAULT) as session:
            rows = [lifecycle.get(session, job_id) for job_id in job_ids]
            asked = {row.id: (row, JobSpec.model_validate(row.spec)) for row in rows}
            seen: list[str] = []
            count = lambda *given: seen.append(given[2])  # noqa: E731
            event.listen(engine, "before_cursor_execute", count)
            found = forecast.forecast_jobs(session, asked, LEASE_S)
            event.remove(engine, "before_cursor_execute", count)
        assert all(each.eta_s is not None for each in found.values())
        return len(seen)

    assert queries(*made[:2]) == queries(*made) == 6
