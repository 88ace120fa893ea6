"""What must hold after every fault, read from the database, the disk and the process table.

I1  one terminal state, and nothing after it
I2  nothing is committed under a fence that has passed
I3  every committed checkpoint hashes
I4  metrics without gaps, events without gaps
I5  no job process survives
I6  final weights are those of a run that was never interrupted
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from store.artifacts.paths import Artifacts
from store.db import reading
from store.states import TERMINAL, State
from store.tables import Attempt, Checkpoint, Event, Job, Metric
from tests.e2e.conftest import trainers
from uniapl.errors import CheckpointError
from uniapl.run import manifest
from uniapl.run.reports import REPORT, MetricReport

Weights = Callable[[Job], bytes | None]
"""The bytes of `model.*` that an uninterrupted run of the job ends with; `None` when they are not known."""


@dataclass
class Findings:
    """Of one look."""

    violations: list[str] = field(default_factory=list)
    lost_jobs: list[str] = field(default_factory=list)
    max_lost_steps: int = 0


def check(engine: Engine, folder: Path, accepted: set[str], weights: Weights = lambda job: None) -> Findings:
    """Look at every job; to be called when all should be over.

    Args:
        engine: the database.
        folder: the data folder.
        accepted: ids that the API has answered with 201.
        weights: the expected results.
    """
    found = Findings()
    artifacts = Artifacts(folder)
    with reading(engine) as session:
        jobs = session.scalars(select(Job)).all()
        found.lost_jobs = sorted(accepted - {job.id for job in jobs})
        for job in jobs:
            told = [f"{job.id}: {problem}" for problem in _problems(session, job, artifacts, weights)]
            found.violations += told
            found.max_lost_steps = max(found.max_lost_steps, lost_steps(session, job, artifacts))
    found.violations += [f"I5: trainer {process.pid} still runs" for process in trainers(folder)]
    return found


def _problems(session: Session, job: Job, artifacts: Artifacts, weights: Weights) -> list[str]:
    events = session.scalars(select(Event).where(Event.job_id == job.id).order_by(Event.seq)).all()
    problems = _events(job, events)
    problems += _checkpoints(session, job, artifacts, weights)
    problems += _attempts(session, job)
    if job.state == State.SUCCEEDED:
        losses = session.scalars(
            select(Metric.step).where(Metric.job_id == job.id, Metric.name == "loss").order_by(Metric.step)
        ).all()
        if list(losses) != list(range(1, job.steps + 1)):
            problems.append(f"I4: {len(losses)} losses for {job.steps} steps")
    return problems


def _events(job: Job, events: Sequence[Event]) -> list[str]:
    problems = []
    numbers = [event.seq for event in events]
    if numbers != list(range(1, job.event_seq + 1)):
        problems.append(f"I4: events {numbers[:5]}… up to {job.event_seq} have gaps")
    moves = [event for event in events if event.type == "state"]
    ends = [event for event in moves if event.data["state"] in TERMINAL]
    if job.state in TERMINAL and (len(ends) != 1 or ends[0] is not events[-1]):
        problems.append(f"I1: {len(ends)} ends, the last event is {events[-1].message!r}")
    if moves and moves[-1].data["state"] != job.state:
        problems.append(f"I1: the row says {job.state}, the last move {moves[-1].data['state']}")
    for before, after in pairwise(events):
        if after.fence < before.fence:
            problems.append(f"I2: event {after.seq} came under fence {after.fence}, after fence {before.fence}")
    starts = [event.fence for event in moves if event.data["state"] == State.STARTING]
    if len(set(starts)) != len(starts):
        problems.append(f"I2: a fence was given out twice: {starts}")
    for before, after in pairwise(moves):
        if before.data["state"] in ("starting", "running", "finalizing") and after.data["state"] == "starting":
            problems.append(f"I2: event {after.seq} takes a job that was held")
    return problems


def _attempts(session: Session, job: Job) -> list[str]:
    attempts = session.scalars(select(Attempt).where(Attempt.job_id == job.id).order_by(Attempt.fence)).all()
    return [
        f"I2: attempt {before.fence} was written after attempt {after.fence} had begun"
        for before, after in pairwise(attempts)
        if before.ended_at is None or before.ended_at > after.started_at
    ]


def _checkpoints(session: Session, job: Job, artifacts: Artifacts, weights: Weights) -> list[str]:
    problems = []
    rows = session.scalars(select(Checkpoint).where(Checkpoint.job_id == job.id, Checkpoint.deleted_at.is_(None))).all()
    for row in rows:
        try:
            found = manifest.read(artifacts.root / row.path)
        except CheckpointError as error:
            problems.append(f"I3: {row.path}: {error.message}")
            continue
        if (found.step, found.manifest_sha256, found.bytes) != (row.step, row.manifest_sha256, row.bytes):
            problems.append(f"I3: {row.path} is not what was committed")
        if row.step == job.steps and job.state == State.SUCCEEDED and (expected := weights(job)) is not None:
            (model,) = (artifacts.root / row.path).glob("model.*")
            if model.read_bytes() != expected:
                problems.append(f"I6: {row.path} differs from an uninterrupted run")
    if job.state == State.SUCCEEDED and not any(row.step == job.steps for row in rows):
        problems.append("I3: it succeeded without its last checkpoint")
    return problems


def lost_steps(session: Session, job: Job, artifacts: Artifacts) -> int:
    """Steps that the worst attempt had made beyond the checkpoint from which the next trainer went on."""
    claims = session.scalars(select(Attempt).where(Attempt.job_id == job.id).order_by(Attempt.fence)).all()
    # A claimant that died before it chose a checkpoint started no trainer, and lost no steps.
    attempts = [a for a in claims if a.pgid is not None or artifacts.reports(job.id, a.fence).exists()]
    starts = [0 if a.resumed_from is None else session.get_one(Checkpoint, a.resumed_from).step for a in attempts]
    ends = [_last_step(artifacts.reports(job.id, attempt.fence)) for attempt in attempts]
    return max([end - start for end, start in zip(ends, starts[1:], strict=False)], default=0)


def _last_step(path: Path) -> int:
    """The last step in a trainer's report file, relayed or not."""
    if not path.exists():
        return 0
    steps = [0]
    for line in path.read_bytes().split(b"\n")[:-1]:
        report = REPORT.validate_json(line)
        if isinstance(report, MetricReport):
            steps.append(report.step)
    return max(steps)
