"""The state machine on both databases."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from store.checkpoints import repository as checkpoints
from store.db import make_engine, unit_of_work
from store.errors import Conflict, FenceLost, NotFound
from store.jobs import claims, lifecycle
from store.jobs.claims import Claim
from store.paging import newest_first
from store.states import TERMINAL, State
from store.tables import Attempt, Event, Job
from tests.store.jobs import sweeping
from tests.store.jobs.factories import ERROR, SPEC, claimed, given_back, history, make_job, state, try_claim
from uniapl.run.config import ModelSource
from uniapl.spec.job import SPEC_VERSION
from uniapl.spec.older import IFEVAL_READING

pytestmark = pytest.mark.integration


def test_a_job_goes_from_queued_to_succeeded_and_every_move_leaves_an_event(engine: Engine) -> None:
    job_id = make_job(engine)
    claim = claimed(engine, job_id)
    with unit_of_work(engine) as session:
        lifecycle.begin(session, claim)
        lifecycle.begin(session, claim)  # called twice, recorded once
        claims.add_event(session, claim, "half way")
        assert not checkpoints.has_final(session, job_id)
        with pytest.raises(FenceLost):
            lifecycle.succeed(session, claim)  # the last step has no checkpoint yet
        checkpoints.commit(
            session, job_id, claim.fence, step=SPEC.schedule.steps, path="p", manifest_sha256="x", size=1
        )
        assert checkpoints.has_final(session, job_id)
        lifecycle.succeed(session, claim)
    assert history(engine, job_id) == [
        (1, "job is queued"),
        (2, "job is starting"),
        (3, "job is running"),
        (4, "half way"),
        (5, "job is finalizing"),
        (6, "job is succeeded"),
    ]
    with unit_of_work(engine) as session:
        job = lifecycle.get(session, job_id)
        assert job.finished_at is not None
        assert job.started_at is not None
        assert job.created_at <= job.started_at <= job.finished_at
        assert abs(job.created_at - time.time()) < 60
        assert claim.models == {"tiny": ModelSource(path="/models/tiny")}


def test_a_claimed_job_cannot_be_claimed_again(engine: Engine) -> None:
    job_id = make_job(engine)
    assert try_claim(engine, job_id) is not None
    assert try_claim(engine, job_id, owner="worker_b") is None
    assert try_claim(engine, "job_unknown") is None


def test_of_eight_claimers_exactly_one_gets_each_job(engine: Engine) -> None:
    ids = [make_job(engine) for _ in range(20)]
    granted: list[Claim] = []
    barrier = threading.Barrier(8)

    def work(owner: str) -> None:
        barrier.wait()
        for job_id in ids:
            if (claim := try_claim(engine, job_id, owner=owner)) is not None:
                granted.append(claim)

    threads = [threading.Thread(target=work, args=(f"worker_{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claim.job_id for claim in granted) == sorted(ids)
    assert {claim.fence for claim in granted} == {1}
    with unit_of_work(engine) as session:
        assert session.scalar(select(func.count()).select_from(Attempt)) == len(ids)


def test_a_holder_whose_fence_has_passed_can_write_nothing(engine: Engine) -> None:
    job_id = make_job(engine)
    old = claimed(engine, job_id)
    with unit_of_work(engine) as session:
        lifecycle.preempt(session, old, "stopping")
    new = claimed(engine, job_id)
    assert (new.fence, new.attempt) == (2, 2)

    def attempts_of(claim: Claim) -> list[object]:
        return [
            lambda s: claims.renew(s, claim, 60),
            lambda s: claims.update_job(s, claim, step=99),
            lambda s: claims.add_event(s, claim, "I am still here"),
            lambda s: lifecycle.succeed(s, claim),
            lambda s: lifecycle.preempt(s, claim, "stopping"),
            lambda s: lifecycle.fail(s, claim.job_id, claim.fence, ERROR),
            lambda s: lifecycle.cancelled(s, claim.job_id, claim.fence),
            lambda s: claims.update_job(s, claim),
            lambda s: lifecycle.retry_or_fail(s, claim.job_id, claim.fence, ERROR, 1.0),
        ]

    before = history(engine, job_id)
    for attempt in attempts_of(old):
        with pytest.raises(FenceLost), unit_of_work(engine) as session:
            attempt(session)  # type: ignore[operator]
    with unit_of_work(engine) as session:
        lifecycle.begin(session, old)  # raises nothing, and changes nothing
        job = lifecycle.get(session, job_id)
        assert (job.state, job.fence, job.step) == (State.STARTING, 2, 0)
    assert history(engine, job_id) == before


def test_cancelling_a_waiting_job_ends_it_at_once(engine: Engine) -> None:
    job_id = make_job(engine)
    with unit_of_work(engine) as session:
        assert lifecycle.request_cancel(session, job_id).state == State.CANCELLED
    assert try_claim(engine, job_id) is None
    with unit_of_work(engine) as session:
        assert lifecycle.request_cancel(session, job_id).state == State.CANCELLED  # twice is harmless


def test_cancelling_an_active_job_asks_its_holder(engine: Engine) -> None:
    job_id = make_job(engine)
    claim = claimed(engine, job_id)
    with unit_of_work(engine) as session:
        assert not claims.intents(session, job_id).cancel
        with pytest.raises(FenceLost):
            lifecycle.cancelled(session, job_id, claim.fence)  # no cancellation was requested
        job = lifecycle.request_cancel(session, job_id)
        assert (job.state, job.cancel_requested) == (State.STARTING, True)
        lifecycle.request_cancel(session, job_id)
        assert claims.intents(session, job_id).cancel
        lifecycle.cancelled(session, job_id, claim.fence)
    assert state(engine, job_id) == State.CANCELLED
    assert [m for _, m in history(engine, job_id)].count("cancellation requested") == 1


def test_a_job_given_back_after_its_cancellation_is_cancelled_by_the_sweeper(engine: Engine) -> None:
    job_id = make_job(engine)
    claim = claimed(engine, job_id)
    with unit_of_work(engine) as session:
        lifecycle.request_cancel(session, job_id)
        lifecycle.preempt(session, claim, "stopping")
    assert try_claim(engine, job_id) is None
    with unit_of_work(engine) as session:
        lifecycle.apply_pending_intents(session)
    assert state(engine, job_id) == State.CANCELLED


def test_a_job_that_is_over_cannot_be_cancelled(engine: Engine) -> None:
    job_id = make_job(engine)
    claim = claimed(engine, job_id)
    with unit_of_work(engine) as session:
        lifecycle.fail(session, job_id, claim.fence, ERROR)
    with pytest.raises(Conflict, match="failed"), unit_of_work(engine) as session:
        lifecycle.request_cancel(session, job_id)
    with pytest.raises(NotFound), unit_of_work(engine) as session:
        lifecycle.request_cancel(session, "job_unknown")


def test_three_fruitless_attempts_fail_the_job_and_a_checkpoint_resets_the_count(engine: Engine) -> None:
    job_id = make_job(engine)
    for expected in (State.RETRY_WAIT, State.RETRY_WAIT, State.RETRY_WAIT, State.RETRY_WAIT, State.FAILED):
        claim = claimed(engine, job_id)
        with unit_of_work(engine) as session:
            if claim.attempt == 3:
                claims.update_job(session, claim, fruitless_attempts=0)  # what the relay does for a checkpoint
            assert lifecycle.retry_or_fail(session, job_id, claim.fence, ERROR, 0.0) == expected
            lifecycle.requeue_due(session)
    with unit_of_work(engine) as session:
        job = lifecycle.get(session, job_id)
        assert job.attempt == 5
        assert job.error is not None
        assert job.error["code"] == "no_progress"
        assert "it crashed" in job.error["message"]


def test_a_retry_waits_for_its_time(engine: Engine) -> None:
    job_id = make_job(engine)
    claim = claimed(engine, job_id)
    with unit_of_work(engine) as session:
        lifecycle.retry_or_fail(session, job_id, claim.fence, ERROR, backoff_s=60)
        lifecycle.requeue_due(session)
        assert lifecycle.get(session, job_id).state == State.RETRY_WAIT
    assert try_claim(engine, job_id) is None
    with unit_of_work(engine) as session:
        session.execute(update(Job).values(not_before=Job.not_before - 61))  # as if a minute had passed
        lifecycle.requeue_due(session)
        assert lifecycle.queued(session) == [job_id]


def test_a_sweeper_does_not_wait_for_a_job_that_somebody_has_locked(postgres_of_this_test: str) -> None:
    engine = make_engine(postgres_of_this_test)
    locked, free, given = (claimed(engine, make_job(engine)) for _ in range(3))
    with unit_of_work(engine) as session:
        for claim in (locked, free):
            lifecycle.retry_or_fail(session, claim.job_id, claim.fence, ERROR, 0.0)
        lifecycle.request_cancel(session, given.job_id)
        lifecycle.preempt(session, given, "stopping")
    with unit_of_work(engine) as other, unit_of_work(engine) as session:
        other.execute(select(Job.id).where(Job.id.in_([locked.job_id, given.job_id])).with_for_update())
        session.execute(text("SET LOCAL lock_timeout = '100ms'"))
        sweeping.sweep(session, 0.0)  # two that wait for each other would both be aborted, with all they had swept
    assert [state(engine, claim.job_id) for claim in (locked, free)] == [State.RETRY_WAIT, State.QUEUED]
    with unit_of_work(engine) as session:
        sweeping.sweep(session, 0.0)
    assert [state(engine, claim.job_id) for claim in (locked, given)] == [State.QUEUED, State.CANCELLED]
    engine.dispose()


def test_a_silent_holders_lease_expires_and_a_renewed_one_does_not(engine: Engine) -> None:
    silent, alive = make_job(engine), make_job(engine)
    try_claim(engine, silent, lease_s=-1.0)
    claim = try_claim(engine, alive, lease_s=-1.0)
    assert claim is not None
    claimed(engine, make_job(engine))  # for a minute
    with unit_of_work(engine) as session:
        claims.renew(session, claim, 60)
    with unit_of_work(engine) as session:
        assert [tuple(row) for row in lifecycle.expired(session)] == [(silent, 1)]


def test_a_job_of_an_older_version_keeps_the_meaning_of_its_rewards(engine: Engine) -> None:
    readings = []
    for version in (IFEVAL_READING - 1, IFEVAL_READING):
        job_id = make_job(engine)
        with unit_of_work(engine) as session:
            spec = lifecycle.get(session, job_id).spec
            stored = spec | {"reward": {k: v for k, v in spec["reward"].items() if k != "ifeval"}}
            session.execute(update(Job).where(Job.id == job_id).values(spec_version=version, spec=stored))
        readings.append(claimed(engine, job_id).spec.reward.ifeval)
    assert readings == ["published", "repaired"]


def test_a_worker_leaves_specs_newer_than_itself(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    known, newer = make_job(engine), make_job(engine)
    with unit_of_work(engine) as session:
        session.execute(update(Job).where(Job.id == newer).values(spec_version=SPEC_VERSION + 1, spec={"shape": "new"}))
        assert lifecycle.queued(session) == [known]
    assert try_claim(engine, newer) is None
    with unit_of_work(engine) as session:  # nor does its sweeper do anything to it
        lifecycle.apply_pending_intents(session)
        lifecycle.requeue_due(session)
        assert lifecycle.expired(session) == []
    assert state(engine, newer) == State.QUEUED
    assert history(engine, newer) == [(1, "job is queued")]
    monkeypatch.setattr(lifecycle, "SPEC_VERSION", SPEC_VERSION + 1)  # the worker is upgraded
    with unit_of_work(engine) as session:
        assert lifecycle.queued(session) == [known, newer]


def test_an_old_worker_reaps_what_a_newer_one_held(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = make_job(engine)
    with unit_of_work(engine) as session:
        session.execute(update(Job).where(Job.id == job_id).values(spec_version=SPEC_VERSION + 1))
    with monkeypatch.context() as newer:
        newer.setattr(lifecycle, "SPEC_VERSION", SPEC_VERSION + 1)
        assert try_claim(engine, job_id, lease_s=-1.0) is not None
    with unit_of_work(engine) as session:
        sweeping.reap(session, 0.0)
        lifecycle.requeue_due(session)
    assert state(engine, job_id) == State.QUEUED
    assert try_claim(engine, job_id) is None


def test_the_state_and_its_event_are_one_transaction(engine: Engine) -> None:
    job_id = make_job(engine)
    claim = claimed(engine, job_id)
    session = Session(engine)
    session.begin()
    lifecycle.begin(session, claim)
    session.close()  # the process dies before the commit
    assert state(engine, job_id) == State.STARTING
    with unit_of_work(engine) as session:
        assert session.scalar(select(func.max(Event.seq)).where(Event.job_id == job_id)) == 2


def test_jobs_are_listed_newest_first_page_by_page(engine: Engine) -> None:
    ids = [make_job(engine) for _ in range(5)]
    with unit_of_work(engine) as session:
        first = newest_first(session, Job, after=None, limit=3)
        rest = newest_first(session, Job, after=first[-1].id, limit=3)
    assert {j.id for j in first} | {j.id for j in rest} == set(ids)
    assert len(first) == 3
    times = [j.created_at for j in (*first, *rest)]
    assert times == sorted(times, reverse=True)


def test_pausing_a_waiting_job_stops_it_at_once_and_resuming_queues_it(engine: Engine) -> None:
    job_id = make_job(engine)
    for _ in range(2):  # twice is harmless
        with unit_of_work(engine) as session:
            job = lifecycle.request_pause(session, job_id)
            assert (job.state, job.pause_requested) == (State.PAUSED, True)
    assert try_claim(engine, job_id) is None
    for _ in range(2):
        with unit_of_work(engine) as session:
            job = lifecycle.request_resume(session, job_id)
            assert (job.state, job.pause_requested) == (State.QUEUED, False)
    assert try_claim(engine, job_id) is not None
    assert [m for _, m in history(engine, job_id)] == [
        "job is queued",
        "job is paused",
        "job is queued",
        "job is starting",
    ]


def test_pausing_an_active_job_asks_its_holder_who_gives_it_back_paused(engine: Engine) -> None:
    claim = claimed(engine, make_job(engine))
    with unit_of_work(engine) as session:
        assert lifecycle.request_pause(session, claim.job_id).state == State.STARTING
        assert claims.intents(session, claim.job_id).pause
    assert given_back(engine, claim) == State.PAUSED
    with unit_of_work(engine) as session:
        job = lifecycle.get(session, claim.job_id)
        assert (job.preemptions, job.lease_owner, job.lease_expires_at) == (0, None, None)
        lifecycle.request_cancel(session, claim.job_id)
    assert state(engine, claim.job_id) == State.CANCELLED


def test_a_job_that_should_pause_and_end_is_given_back_to_be_cancelled(engine: Engine) -> None:
    claim = claimed(engine, make_job(engine))
    with unit_of_work(engine) as session:
        lifecycle.request_pause(session, claim.job_id)
        lifecycle.request_cancel(session, claim.job_id)
    assert given_back(engine, claim) == State.QUEUED  # in PAUSED no worker would process it again
    assert try_claim(engine, claim.job_id) is None
    with unit_of_work(engine) as session:
        lifecycle.apply_pending_intents(session)
    assert state(engine, claim.job_id) == State.CANCELLED


def test_a_pause_withdrawn_in_time_leaves_the_job_with_its_holder(engine: Engine) -> None:
    claim = claimed(engine, make_job(engine))
    with unit_of_work(engine) as session:
        lifecycle.request_pause(session, claim.job_id)
        assert lifecycle.request_resume(session, claim.job_id).state == State.STARTING
    assert given_back(engine, claim) == State.QUEUED
    with unit_of_work(engine) as session:
        assert lifecycle.get(session, claim.job_id).preemptions == 1


@pytest.mark.parametrize("cancel", [False, True])
def test_a_lost_job_that_should_pause_is_paused_and_cancelling_outweighs(engine: Engine, cancel: bool) -> None:
    claim = claimed(engine, make_job(engine))
    with unit_of_work(engine) as session:
        lifecycle.request_pause(session, claim.job_id)
        if cancel:
            lifecycle.request_cancel(session, claim.job_id)
        lifecycle.retry_or_fail(session, claim.job_id, claim.fence, ERROR, backoff_s=0.0)
        lifecycle.requeue_due(session)  # whichever of the two a sweeper does first
        lifecycle.apply_pending_intents(session)
    assert state(engine, claim.job_id) == (State.CANCELLED if cancel else State.PAUSED)


@pytest.mark.parametrize("ask", [lifecycle.request_pause, lifecycle.request_resume])
def test_what_is_over_can_be_neither_paused_nor_resumed(engine: Engine, ask: Callable[[Session, str], Job]) -> None:
    job_id = make_job(engine)
    with unit_of_work(engine) as session:
        lifecycle.request_cancel(session, job_id)
    with pytest.raises(Conflict, match="cancelled"), unit_of_work(engine) as session:
        ask(session, job_id)
    with pytest.raises(NotFound), unit_of_work(engine) as session:
        ask(session, "job_unknown")


@pytest.mark.parametrize(
    ("category", "limit", "column"),
    [("resource", lifecycle.USER_LIMIT, "user_failures"), ("user", lifecycle.USER_LIMIT, "user_failures"),
     ("infra", lifecycle.INFRA_LIMIT, "infra_failures"), ("internal", lifecycle.INFRA_LIMIT, "infra_failures")],
)  # fmt: skip
def test_each_kind_of_failure_has_its_own_budget(engine: Engine, category: str, limit: int, column: str) -> None:
    job_id = make_job(engine)
    with unit_of_work(engine) as session:
        session.execute(update(Job).where(Job.id == job_id).values(user_failures=0, preemptions=99))
    for spent in range(1, limit + 1):
        claim = claimed(engine, job_id)
        with unit_of_work(engine) as session:
            claims.update_job(session, claim, fruitless_attempts=0)  # it makes progress each time
            ended = lifecycle.retry_or_fail(session, job_id, claim.fence, {**ERROR, "category": category}, 0.0)
            lifecycle.requeue_due(session)
            assert ended == (State.FAILED if spent == limit else State.RETRY_WAIT)
    with unit_of_work(engine) as session:
        job = lifecycle.get(session, job_id)
        assert job.error is not None
        assert (job.error["code"], f"{limit} attempts failed this way" in job.error["message"]) == (ERROR["code"], True)
        other = "infra_failures" if column == "user_failures" else "user_failures"
        assert getattr(job, other) == 0


def test_a_full_disk_is_waited_for(engine: Engine) -> None:
    job_id = make_job(engine)
    for _ in range(5):
        claim = claimed(engine, job_id)
        with unit_of_work(engine) as session:
            full = {**ERROR, "code": "disk_full", "category": "infra"}
            assert lifecycle.retry_or_fail(session, job_id, claim.fence, full, 0.0) == State.RETRY_WAIT
            lifecycle.requeue_due(session)
    with unit_of_work(engine) as session:
        job = lifecycle.get(session, job_id)
        assert (job.infra_failures, job.fruitless_attempts) == (5, 0)


@pytest.mark.parametrize("end", sorted(TERMINAL))
def test_a_row_that_is_over_refuses_every_change(engine: Engine, end: State) -> None:
    job_id = make_job(engine)
    with unit_of_work(engine) as session:
        session.execute(update(Job).where(Job.id == job_id).values(state=end))
    for change in ({"state": "queued"}, {"step": 3}, {"fence": 9}):
        with pytest.raises(IntegrityError, match="over"), unit_of_work(engine) as session:
            session.execute(update(Job).where(Job.id == job_id).values(**change))
    assert state(engine, job_id) == end


def test_a_claim_stands_above_every_fence_that_was_ever_given_out(engine: Engine) -> None:
    job_id = make_job(engine)
    with unit_of_work(engine) as session:
        claim = lifecycle.claim(session, job_id, owner="w", host="h", boot_id="b", lease_s=60, above=7)
    assert claim is not None
    assert (claim.fence, claim.attempt) == (8, 1)
    given_back(engine, claim)
    with unit_of_work(engine) as session:
        claim = lifecycle.claim(session, job_id, owner="w", host="h", boot_id="b", lease_s=60, above=7)
    assert claim is not None
    assert claim.fence == 9


@pytest.mark.parametrize("rounds", [20, pytest.param(500, marks=pytest.mark.faults)])
@pytest.mark.parametrize("cancel_first", [True, False])
def test_of_a_cancellation_and_a_success_one_wins_and_the_answer_matches(
    engine: Engine, cancel_first: bool, rounds: int
) -> None:
    answers: list[str] = []
    starts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    done = threading.Semaphore(0)

    def cancel() -> None:
        while (job_id := starts.get()) is not None:
            if not cancel_first:
                time.sleep(0.001)
            try:
                with unit_of_work(engine) as session:
                    answers.append(lifecycle.request_cancel(session, job_id).state)
            except Conflict:
                answers.append("over")
            done.release()

    thread = threading.Thread(target=cancel)
    thread.start()
    granted = []
    for _ in range(rounds):
        with unit_of_work(engine) as session:
            job = lifecycle.create(session, SPEC, {})
            claim = lifecycle.claim(session, job.id, owner="w", host="h", boot_id="b", lease_s=60)
            assert claim is not None
            steps = SPEC.schedule.steps
            checkpoints.commit(session, job.id, claim.fence, step=steps, path="p", manifest_sha256="x", size=1)
        granted.append(claim)
        starts.put(claim.job_id)
        if cancel_first:
            time.sleep(0.001)
        with unit_of_work(engine) as session:
            lifecycle.succeed(session, claim)
        done.acquire()
    starts.put(None)
    thread.join()
    assert len(answers) == rounds
    for claim, answer in zip(granted, answers, strict=True):
        told = [message for _, message in history(engine, claim.job_id)]
        assert told[-1] == "job is succeeded"  # the work was done
        assert answer == ("starting" if "cancellation requested" in told else "over")  # asked in time, or refused
