"""Tails an attempt's `reports.jsonl` into the database.

The file is the attempt's own record; a database outage costs nothing, since the tail goes on where it stood, and a
replay changes nothing, since every batch is written together with the number of its last report.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from store import checkpoints, jobs, metrics
from store.artifacts import Artifacts
from store.db import unit_of_work
from store.jobs import Hold
from store.tables import Attempt
from uniapl.spec.report import (
    REPORT,
    CheckpointReport,
    ErrorReport,
    EventReport,
    MetricReport,
    PhaseReport,
    Report,
    SampleReport,
)

BATCH_BYTES = 1 << 20
logger = logging.getLogger(__name__)


class Relay:
    """Moves reports of one attempt, in order, each exactly once in effect."""

    def __init__(self, engine: Engine, hold: Hold, path: Path, artifacts: Artifacts) -> None:
        self._engine = engine
        self._hold = hold
        self._path = path
        self._artifacts = artifacts
        self._offset = 0
        self.error: ErrorReport | None = None
        """The trainer's last word, when it ended badly."""

    def pump(self) -> bool:
        """Relay what the file has gained, at most `BATCH_BYTES` of it.

        Returns:
            Whether there was anything.

        Raises:
            FenceLost: the job is no longer this holder's; nothing was written.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read(BATCH_BYTES)
                if b"\n" not in chunk:
                    chunk += file.readline()  # one report may be longer than a batch
        except FileNotFoundError:
            return False
        whole = chunk[: chunk.rfind(b"\n") + 1]  # a line without its newline is still being written
        if not whole:
            return False
        reports = [report for line in whole[:-1].split(b"\n") if (report := _parse(line)) is not None]
        if reports:
            with unit_of_work(self._engine) as session:
                self._write(session, reports)
        self._offset += len(whole)
        return True

    def _write(self, session: Session, reports: list[Report]) -> None:
        hold = self._hold
        jobs.touch(session, hold)  # takes the row lock, and proves the hold before anything is written
        attempt = session.get_one(Attempt, (hold.job_id, hold.fence))
        for report in reports:
            if report.seq > attempt.relayed_seq:
                self._apply(session, report)
        session.execute(
            update(Attempt)
            .where(Attempt.job_id == hold.job_id, Attempt.fence == hold.fence)
            .values(relayed_seq=max(attempt.relayed_seq, reports[-1].seq))
        )

    def _apply(self, session: Session, report: Report) -> None:
        hold, artifacts = self._hold, self._artifacts
        match report:
            case MetricReport():
                points = [(name, report.step, value) for name, value in report.values.items()]
                metrics.put_metrics(session, hold.job_id, hold.fence, points)
                jobs.touch(session, hold, step=report.step)
            case SampleReport():
                fields = report.model_dump(exclude={"seq", "ts", "kind"})
                metrics.put_sample(session, hold.job_id, hold.fence, **fields)
            case CheckpointReport():
                checkpoints.commit(
                    session,
                    hold.job_id,
                    hold.fence,
                    step=report.step,
                    path=artifacts.relative(Path(report.path)),
                    manifest_sha256=report.manifest_sha256,
                    size=report.bytes,
                )
                jobs.touch(session, hold, fruitless_attempts=0)
                jobs.say(session, hold, f"checkpoint after step {report.step}", data={"step": report.step})
            case PhaseReport():
                jobs.touch(session, hold, phase=report.phase)
                if report.phase == "training":
                    jobs.begin(session, hold)
            case EventReport():
                jobs.say(session, hold, report.message, level=report.level, data=report.data)
            case ErrorReport():
                self.error = report


def _parse(line: bytes) -> Report | None:
    try:
        return REPORT.validate_json(line)
    except ValidationError:
        logger.warning("skipping an unreadable report: %.200r", line)
        return None
