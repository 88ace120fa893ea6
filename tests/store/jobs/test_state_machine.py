"""Random sequences of everything that callers can do to jobs, on both databases, against a model of what must follow.

`UNIAPL_TEST_EXAMPLES=500` tries so many sequences, longer ones and new each time, and shrinks what fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import Session

from store.checkpoints import repository as checkpoints
from store.db import now, reading, unit_of_work
from store.errors import Conflict, FenceLost
from store.jobs import claims, lifecycle
from store.jobs.claims import Claim
from store.states import ACTIVE, DUE, TERMINAL, WAITING, State
from store.tables import Attempt, Base, Checkpoint, Event, Job
from store.tenants import DEFAULT
from tests.store.jobs import sweeping
from tests.store.jobs.factories import SPEC
from uniapl.run.config import ModelSource
from uniapl.spec.job import SPEC_VERSION

pytestmark = pytest.mark.integration

EXAMPLES = int(os.environ.get("UNIAPL_TEST_EXAMPLES", "0"))
PROFILE = settings(
    max_examples=EXAMPLES or 30,
    stateful_step_count=80 if EXAMPLES else 50,
    deadline=None,
    derandomize=not EXAMPLES,
    database=None,
    print_blob=True,
    phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],  # to shrink takes minutes
    suppress_health_check=list(HealthCheck),
)
STEPS = SPEC.schedule.steps
LATER = 3600.0
UNHEARD = 1e6  # a lease that only `let_the_lease_run_out` ends


WEIGHTS = {
    "create": 3, "claim": 4, "begin": 3, "renew": 2, "touch": 1, "say": 1, "checkpoint": 3, "succeed": 1, "fail": 1,
    "preempt": 3, "cancelled": 2, "retry_or_fail": 7, "have_failed_often": 2, "cancel": 2, "pause": 3, "resume": 2,
    "silence": 3, "wait": 3, "heed": 1, "requeue": 2, "reap": 2, "sweep": 3, "every_stale_hold_tries_to_write": 2,
    "wind_up": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """The particulars of an action; each takes what it needs."""

    which: int
    """The job: of those that are not over, mostly."""
    back: int
    """Its hold: the newest, mostly."""
    category: str
    later: bool
    number: int


CHOICES = st.builds(
    Choice,
    st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3]),
    st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2]),
    st.sampled_from(["user", "resource", "infra", "internal", "infra", "internal"]),
    st.booleans(),
    st.integers(0, 9),
)


@dataclass
class Model:
    """What a job's row must say."""

    id: str
    too_new: bool = False
    state: State = State.QUEUED
    fence: int = 0
    attempt: int = 0
    step: int = 0
    owner: str | None = None
    cancel: bool = False
    pause: bool = False
    infra: int = 0
    user: int = 0
    fruitless: int = 0
    preemptions: int = 0
    seq: int = 1
    error: str | None = None
    final: bool = False
    """Whether the last step has a checkpoint."""
    expired: bool = False
    due: bool = True
    """Whether a retry's time has come."""
    checkpoints: set[tuple[int, int]] = field(default_factory=set)

    def holds(self, claim: Claim) -> bool:
        """Whether this hold is the live one."""
        return self.state in ACTIVE and claim.fence == self.fence

    def move(self, to: State) -> None:
        """What every transition does."""
        self.state, self.seq = to, self.seq + 1
        if to not in ACTIVE:
            self.owner, self.expired = None, False

    def end_badly(self, category: str, *, later: bool) -> None:
        """An attempt failed for a reason that may pass."""
        user = category in ("user", "resource")
        spent, fruitless = (self.user if user else self.infra) + 1, self.fruitless + 1
        if spent >= (2 if user else 20):
            self.error = category
            return self.move(State.FAILED)
        if fruitless >= 3:
            self.error = "no_progress"
            return self.move(State.FAILED)
        self.fruitless, self.due = fruitless, not later
        if user:
            self.user = spent
        else:
            self.infra = spent
        self.move(State.RETRY_WAIT)

    def heed(self, among: tuple[State, ...] = DUE) -> None:
        """No worker holds it: its pending intent is applied."""
        if self.cancel and self.state in among:
            self.move(State.CANCELLED)
        elif self.pause and self.state in DUE:
            self.move(State.PAUSED)

    def requeue(self) -> None:
        """A retry's time may have come."""
        if self.state == State.RETRY_WAIT and self.due and not (self.cancel or self.pause):
            self.move(State.QUEUED)

    def reap(self, *, later: bool) -> None:
        """Its holder may have fallen silent."""
        if self.state in ACTIVE and self.expired:
            if self.cancel:
                self.move(State.CANCELLED)
            else:
                self.end_badly("worker_lost", later=later)


class Machine(RuleBasedStateMachine):
    """Workers, owners and sweepers, in any order."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.jobs: dict[str, Model] = {}
        self.granted: dict[str, list[Claim]] = {}
        self.touched: set[str] = set()
        """Jobs that the last rule may have changed."""
        self.seen: dict[str, tuple[object, ...]] = {}

    @initialize()
    def first(self) -> None:
        self.create(Choice(0, 0, "", later=False, number=1))

    @rule(action=st.sampled_from([name for name, weight in WEIGHTS.items() for _ in range(weight)]), choice=CHOICES)
    def do(self, action: str, choice: Choice) -> None:
        getattr(self, action)(choice)

    def job(self, choice: Choice) -> Model:
        """The chosen job."""
        by_life = sorted(self.jobs.values(), key=lambda job: job.state in TERMINAL)
        return by_life[choice.which % len(by_life)]

    def earlier_claim(self, choice: Choice) -> Claim:
        """A claim that was granted once; for the newest, all is done that it takes to be granted one now."""
        if choice.back == 0 and self.job(choice).state in TERMINAL:
            self.create(choice)
        job = self.job(choice)
        if choice.back == 0 and job.state not in ACTIVE:
            self.resume(choice)
            self.wait(choice)
            self.requeue(choice)
            self.claim(choice)
        granted = self.granted[job.id] or [
            Claim(job.id, 0, 0, SPEC.model_dump(mode="json"), {}, DEFAULT)
        ]  # or one that never was
        return granted[-1 - choice.back % len(granted)]

    def act(self, action: Callable[[Session], object], *, refused: type[Exception] | None = None) -> None:
        """One transaction, which must be refused, or not."""
        if refused is None:
            with unit_of_work(self.engine) as session:
                action(session)
        else:
            with pytest.raises(refused), unit_of_work(self.engine) as session:
                action(session)

    def write(self, claim: Claim, action: Callable[[Session], object], *, allowed: bool = True) -> Model | None:
        """A holder's transaction: refused, and without effect, unless the hold is live. The model is then returned."""
        job = self.jobs[claim.job_id]
        allowed = allowed and job.holds(claim)
        self.act(action, refused=None if allowed else FenceLost)
        if not allowed:
            return None
        self.touched.add(job.id)
        return job

    # what owners do

    def create(self, choice: Choice) -> None:
        if sum(job.state not in TERMINAL for job in self.jobs.values()) == 3:
            return
        too_new = choice.number == 0
        with unit_of_work(self.engine) as session:
            job_id = lifecycle.create(session, SPEC, {"tiny": ModelSource(path="/models/tiny")}).id
            if too_new:
                session.execute(update(Job).where(Job.id == job_id).values(spec_version=SPEC_VERSION + 1))
        self.jobs[job_id] = Model(job_id, too_new)
        self.granted[job_id] = []
        self.touched.add(job_id)

    def cancel(self, choice: Choice) -> None:
        job = self.jobs[self.earlier_claim(choice).job_id]
        if self.ask(job, lifecycle.request_cancel, refused=job.state in (State.SUCCEEDED, State.FAILED)):
            job.seq += job.state in ACTIVE and not job.cancel
            job.cancel = True
            job.heed(WAITING)

    def pause(self, choice: Choice) -> None:
        job = self.jobs[self.earlier_claim(choice).job_id]
        if self.ask(job, lifecycle.request_pause, refused=job.state in TERMINAL) and not job.pause:
            job.seq += job.state in ACTIVE
            job.pause = True
            job.heed()

    def resume(self, choice: Choice) -> None:
        job = self.job(choice)
        if self.ask(job, lifecycle.request_resume, refused=job.state in TERMINAL) and job.pause:
            job.seq += job.state in ACTIVE
            job.pause = False
            if job.state == State.PAUSED:
                job.move(State.QUEUED)

    def ask(self, job: Model, request: Callable[[Session, str], Job], *, refused: bool) -> bool:
        """Returns whether it can have had an effect."""
        self.touched.add(job.id)
        self.act(lambda session: request(session, job.id), refused=Conflict if refused else None)
        return job.state not in TERMINAL

    # what workers do

    def claim(self, choice: Choice) -> None:
        job, above, owner = self.job(choice), choice.number - 5, f"worker_{choice.number % 3}"
        self.touched.add(job.id)
        with unit_of_work(self.engine) as session:
            claim = lifecycle.claim(
                session, job.id, owner=owner, host="h", boot_id="b", lease_s=UNHEARD, above=max(above, 0)
            )
        free = job.state == State.QUEUED and not (job.cancel or job.pause or job.too_new)
        assert (claim is not None) == free
        if claim is not None:
            assert all(earlier.fence < claim.fence for earlier in self.granted[job.id])
            job.fence, job.attempt, job.owner = max(job.fence, above) + 1, job.attempt + 1, owner
            job.move(State.STARTING)
            assert (claim.fence, claim.attempt) == (job.fence, job.attempt)
            self.granted[job.id].append(claim)

    def begin(self, choice: Choice) -> None:
        claim = self.earlier_claim(choice)
        job = self.jobs[claim.job_id]
        self.act(lambda session: lifecycle.begin(session, claim))
        if job.holds(claim) and job.state == State.STARTING:
            self.touched.add(job.id)
            job.move(State.RUNNING)

    def renew(self, choice: Choice) -> None:
        claim = self.earlier_claim(choice)
        if job := self.write(claim, lambda session: claims.renew(session, claim, UNHEARD)):
            job.expired = False

    def touch(self, choice: Choice) -> None:
        claim = self.earlier_claim(choice)
        if job := self.write(claim, lambda session: claims.update_job(session, claim, step=choice.number)):
            job.step = choice.number

    def say(self, choice: Choice) -> None:
        claim = self.earlier_claim(choice)
        if job := self.write(claim, lambda session: claims.add_event(session, claim, "I am still here")):
            job.seq += 1

    def checkpoint(self, choice: Choice) -> None:
        claim, step = self.earlier_claim(choice), STEPS if choice.later else 1

        def relay(session: Session) -> None:
            claims.update_job(session, claim)
            checkpoints.commit(session, claim.job_id, claim.fence, step=step, path="p", manifest_sha256="x", size=1)
            claims.update_job(session, claim, fruitless_attempts=0)
            claims.add_event(session, claim, f"checkpoint saved at step {step}")

        if job := self.write(claim, relay):
            job.fruitless, job.seq, job.final = 0, job.seq + 1, job.final or step == STEPS
            job.checkpoints.add((step, claim.fence))

    def have_failed_often(self, choice: Choice) -> None:
        claim, infra, user = self.earlier_claim(choice), 10 + choice.number, int(choice.later)
        spent = {"infra_failures": infra, "user_failures": user}
        if job := self.write(claim, lambda session: claims.update_job(session, claim, **spent)):
            job.infra, job.user = infra, user

    def succeed(self, choice: Choice) -> None:
        claim = self.earlier_claim(choice)
        final = self.jobs[claim.job_id].final
        if job := self.write(claim, lambda session: lifecycle.succeed(session, claim), allowed=final):
            job.move(State.FINALIZING)
            job.move(State.SUCCEEDED)

    def fail(self, choice: Choice) -> None:
        claim, error = self.earlier_claim(choice), {"code": "broken", "message": "it cannot work", "category": "user"}
        if job := self.write(claim, lambda session: lifecycle.fail(session, claim.job_id, claim.fence, error)):
            job.error = "broken"
            job.move(State.FAILED)

    def retry_or_fail(self, choice: Choice) -> None:
        claim, backoff_s = self.earlier_claim(choice), LATER * choice.later
        error = {"code": choice.category, "message": "it crashed", "category": choice.category}
        ended: list[State] = []

        def retry(session: Session) -> None:
            ended.append(lifecycle.retry_or_fail(session, claim.job_id, claim.fence, error, backoff_s))

        if job := self.write(claim, retry):
            job.end_badly(choice.category, later=choice.later)
            assert ended == [job.state]
            if job.state == State.RETRY_WAIT:
                with reading(self.engine) as session:
                    wait = session.execute(select(Job.not_before - now()).where(Job.id == job.id)).scalar_one()
                assert wait == pytest.approx(backoff_s * 2 ** (job.fruitless - 1), abs=300)

    def preempt(self, choice: Choice) -> None:
        claim = self.earlier_claim(choice)
        if job := self.write(claim, lambda session: lifecycle.preempt(session, claim, "stopping")):
            if job.pause and not job.cancel:
                job.move(State.PAUSED)
            else:
                job.preemptions += 1
                job.move(State.QUEUED)

    def cancelled(self, choice: Choice) -> None:
        claim = self.earlier_claim(choice)
        asked = self.jobs[claim.job_id].cancel
        end = self.write(claim, lambda session: lifecycle.cancelled(session, claim.job_id, claim.fence), allowed=asked)
        if end is not None:
            end.move(State.CANCELLED)

    def every_stale_hold_tries_to_write(self, choice: Choice) -> None:
        writes: list[Callable[[Session, Claim], object]] = [
            lambda session, claim: claims.renew(session, claim, UNHEARD),
            lambda session, claim: claims.update_job(session, claim, step=STEPS),
            lambda session, claim: claims.add_event(session, claim, "I am still here"),
            lambda session, claim: lifecycle.succeed(session, claim),
            lambda session, claim: lifecycle.preempt(session, claim, "stopping"),
            lambda session, claim: lifecycle.fail(session, claim.job_id, claim.fence, sweeping.LOST),
            lambda session, claim: lifecycle.retry_or_fail(session, claim.job_id, claim.fence, sweeping.LOST, 0.0),
            lambda session, claim: lifecycle.cancelled(session, claim.job_id, claim.fence),
        ]
        job = self.job(choice)
        stale = [claim for claim in self.granted[job.id] if not job.holds(claim)]
        assert len(self.granted[job.id]) - len(stale) == (job.state in ACTIVE)
        for claim in stale:
            with unit_of_work(self.engine) as session:  # one transaction, committed: what is refused changes nothing
                lifecycle.begin(session, claim)  # which raises nothing, and changes nothing
                for write in writes:
                    with pytest.raises(FenceLost):
                        write(session, claim)

    # what passes, and what sweepers make of it

    def silence(self, choice: Choice) -> None:
        job = self.job(choice)
        if job.state in ACTIVE:
            with unit_of_work(self.engine) as session:
                session.execute(update(Job).where(Job.id == job.id).values(lease_expires_at=now() - 1))
            self.touched.add(job.id)
            job.expired = True

    def wait(self, choice: Choice) -> None:
        job = self.job(choice)
        if job.state == State.RETRY_WAIT:
            with unit_of_work(self.engine) as session:
                session.execute(update(Job).where(Job.id == job.id).values(not_before=now() - 1))
            self.touched.add(job.id)
            job.due = True

    def heed(self, _: Choice) -> None:
        self.swept(lifecycle.apply_pending_intents, Model.heed)

    def requeue(self, _: Choice) -> None:
        self.swept(lifecycle.requeue_due, Model.requeue)

    def reap(self, choice: Choice) -> None:
        backoff_s = LATER * choice.later
        self.swept(lambda session: sweeping.reap(session, backoff_s), lambda job: job.reap(later=choice.later))

    def sweep(self, choice: Choice) -> None:
        def all_of_it(job: Model) -> None:
            job.heed()
            job.requeue()
            job.reap(later=choice.later)

        self.swept(lambda session: sweeping.sweep(session, LATER * choice.later), all_of_it)

    def swept(self, action: Callable[[Session], object], expected: Callable[[Model], object]) -> None:
        self.touched.update(self.jobs)
        self.act(action)
        for job in self.jobs.values():
            expected(job)

    def wind_up(self, choice: Choice) -> None:
        """Once every holder has fallen silent and two sweeps have passed, all that was asked for has happened."""
        for number in range(3):
            self.silence(replace(choice, which=number))
        self.sweep(choice)
        self.sweep(choice)
        for job in self.jobs.values():
            assert job.state not in ACTIVE
            if job.cancel:
                assert job.state in TERMINAL
            elif job.pause:
                assert job.state in (State.PAUSED, *TERMINAL)

    # what holds after each of them

    @invariant()
    def compare_the_rows_with_the_model(self) -> None:
        with reading(self.engine) as session:
            rows = {row.id: row for row in session.execute(select(Job.__table__)).all()}
        assert rows.keys() == self.jobs.keys()
        for job in self.jobs.values():
            row = rows[job.id]
            found = Model(
                job.id, job.too_new, State(row.state), row.fence, row.attempt, row.step, row.lease_owner,
                row.cancel_requested_at is not None, row.pause_requested_at is not None, row.infra_failures,
                row.user_failures, row.fruitless_attempts, row.preemptions, row.event_seq,
                row.error and row.error["code"], job.final, job.expired, job.due, job.checkpoints,
            )  # fmt: skip
            assert found == job
            assert (row.lease_expires_at is None) == (job.state not in ACTIVE)
            assert (row.finished_at is None) == (job.state not in TERMINAL)
            if job.state == State.PAUSED:
                assert (row.pause_requested_at is None, row.cancel_requested_at is None) == (False, True)
            if (before := self.seen.get(job.id)) is not None:
                assert row.fence >= before.fence  # type: ignore[attr-defined]
                assert row.attempt >= before.attempt  # type: ignore[attr-defined]
                if job.id not in self.touched or before.state in TERMINAL:  # type: ignore[attr-defined]
                    assert row == before
        self.seen, self.touched = rows, set()  # type: ignore[assignment]

    @invariant()
    def read_the_events(self) -> None:
        with reading(self.engine) as session:
            query = select(Event.job_id, Event.seq, Event.fence, Event.type, Event.data)
            events = session.execute(query.order_by(Event.job_id, Event.seq)).all()
            attempts = session.execute(
                select(Attempt.job_id, func.count(), func.max(Attempt.fence)).group_by(Attempt.job_id)
            ).all()
            stored = session.execute(select(Checkpoint.job_id, Checkpoint.step, Checkpoint.fence)).all()
        for job in self.jobs.values():
            mine = [event for event in events if event.job_id == job.id]
            assert [event.seq for event in mine] == list(range(1, job.seq + 1))
            fences = [event.fence for event in mine]
            assert fences == sorted(fences)
            moves = [event.data["state"] for event in mine if event.type == "state"]
            assert moves[-1] == job.state
            assert moves.count(State.STARTING) == job.attempt
            assert sum(moves.count(state) for state in TERMINAL) == (job.state in TERMINAL)
            assert {(row.step, row.fence) for row in stored if row.job_id == job.id} == job.checkpoints
        of_jobs = {job_id: (count, fence) for job_id, count, fence in attempts}
        assert of_jobs == {job.id: (job.attempt, job.fence) for job in self.jobs.values() if job.attempt}

    def teardown(self) -> None:
        with unit_of_work(self.engine) as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(delete(table))


def test_whatever_workers_owners_and_sweepers_do_the_rows_are_what_the_model_says(engine: Engine) -> None:
    run_machine(lambda: Machine(engine), settings=PROFILE)
