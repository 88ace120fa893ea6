"""Recovery before a new attempt: kill leftover processes, relay unsent reports, adopt finished checkpoints."""

from __future__ import annotations

import logging
import shutil

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.checkpoints import repository as checkpoints
from store.db import reading, unit_of_work
from store.jobs import claims
from store.jobs.claims import Claim
from store.tables import Attempt, Checkpoint, Job
from uniapl.errors import CheckpointError
from uniapl.run import manifest
from uniapl.run.manifest import SavedCheckpoint
from worker import process
from worker.report_relay import Relay
from worker.slots import WorkerProcess

logger = logging.getLogger(__name__)


def recover_previous_attempts(worker: WorkerProcess, claim: Claim) -> None:
    """Kill what remains of earlier attempts, relay their unsent reports and record their finished checkpoints.

    Raises:
        FenceLost: the job is no longer this holder's.
    """
    with reading(worker.engine) as session:
        unfinished = session.scalars(
            select(Attempt)
            .where(Attempt.job_id == claim.job_id, Attempt.fence < claim.fence, Attempt.relay_closed.is_(False))
            .order_by(Attempt.fence)
        ).all()
    for attempt in unfinished:
        kill_leftover_processes(attempt)
        relay = Relay(worker.engine, claim, worker.artifacts, of_fence=attempt.fence)
        while relay.pump():
            pass
        found = _unreported(worker, claim.job_id, attempt.fence)
        for checkpoint in found:
            worker.artifacts.objects.publish(worker.artifacts.relative(checkpoint.path))
        with unit_of_work(worker.engine) as session:
            claims.update_job(session, claim)
            for checkpoint in found:
                _adopt(worker, claim, attempt.fence, checkpoint, session)
            claims.update_attempt(session, claim.job_id, attempt.fence, relay_closed=True)


def kill_leftover_processes(attempt: Attempt) -> None:
    """Kill the process group of an attempt whose worker died or was cut off, if it ran on this machine."""
    here = attempt.host == process.HOST and attempt.boot_id == process.boot_id()
    if here and attempt.pgid is not None:
        process.kill_group(attempt.pgid, started=attempt.pid_starttime)


def resume_point(worker: WorkerProcess, claim: Claim, session: Session) -> Checkpoint | None:
    """The newest usable checkpoint, recorded as the one that this attempt resumes from."""
    claims.update_job(
        session, claim
    )  # locks the job, so that the checkpoint cannot be deleted before the choice is recorded
    found = None
    for row in checkpoints.of_job(session, claim.job_id):
        if worker.artifacts.objects.checkpoint_files(row.path) is not None:
            found = row
            break
        checkpoints.mark_deleted(session, row)
        text = f"the checkpoint of step {row.step} is unusable: files are missing or incomplete"
        claims.add_event(session, claim, text, level="warning", data={"step": row.step})
    claims.update_attempt(session, claim.job_id, claim.fence, resumed_from=found.id if found else None)
    report_lost(session, claim, found.step if found else 0)
    return found


def report_lost(session: Session, claim: Claim, kept: int) -> None:
    """Set the job back to the step from which it continues; an event states the number of finished steps lost.

    Args:
        session: an open transaction; not committed here.
        claim: on the job.
        kept: step of the newest checkpoint; 0 without one.

    Raises:
        FenceLost: the job is no longer this holder's.
    """
    finished = session.scalars(select(Job.step).where(Job.id == claim.job_id)).one()
    if finished > kept:
        numbers = {"lost_steps": finished - kept, "finished_step": finished, "checkpoint_step": kept}
        text = f"steps lost: {finished - kept} (last finished step {finished}, last checkpoint at step {kept})"
        claims.add_event(session, claim, text, level="warning", data=numbers)
    claims.update_job(session, claim, step=kept)


def newest_step(worker: WorkerProcess, claim: Claim, session: Session) -> int:
    """Step of the job's newest checkpoint, including one that the trainer did not report before it died; or 0."""
    reported = [row.step for row in checkpoints.of_job(session, claim.job_id)[:1]]
    return max([*reported, *manifest.steps_in(worker.artifacts.checkpoints(claim.job_id, claim.fence))], default=0)


def _unreported(worker: WorkerProcess, job_id: str, fence: int) -> list[SavedCheckpoint]:
    """Checkpoints that are complete on disk, but that the trainer did not report before it died."""
    folder = worker.artifacts.checkpoints(job_id, fence)
    with reading(worker.engine) as session:
        known = checkpoints.steps_of_attempt(session, job_id, fence)
    found = []
    for step in manifest.steps_in(folder):
        if step in known:
            continue
        path = manifest.folder_of(folder, step)
        try:
            found.append(manifest.read(path))
        except CheckpointError as error:
            logger.warning("%s: not adopted: %s", job_id, error.message)
            shutil.rmtree(path, ignore_errors=True)
    return found


def _adopt(worker: WorkerProcess, claim: Claim, fence: int, found: SavedCheckpoint, session: Session) -> None:
    checkpoints.commit(
        session,
        claim.job_id,
        fence,
        step=found.step,
        path=worker.artifacts.relative(found.path),
        manifest_sha256=found.manifest_sha256,
        size=found.bytes,
    )
    claims.update_job(session, claim, fruitless_attempts=0)
    text = f"unreported checkpoint at step {found.step} recovered"
    claims.add_event(session, claim, text, data={"step": found.step})
