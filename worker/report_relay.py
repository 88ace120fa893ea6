"""Relay of an attempt's `reports.jsonl` into the database.

The file is the attempt's record. After a database outage the relay continues at its offset; a replay changes nothing,
since each batch is written in one transaction with the number of its last report. If the worker dies, the next attempt
relays the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store.artifacts.paths import Artifacts
from store.checkpoints import repository as checkpoints
from store.checkpoints import retention
from store.db import unit_of_work
from store.jobs import claims, lifecycle, metrics
from store.jobs.claims import Claim
from store.tables import Attempt, Checkpoint
from uniapl.run.reports import (
    REPORT,
    CheckpointReport,
    ErrorReport,
    EventReport,
    MetricReport,
    PhaseReport,
    Report,
    SampleReport,
)
from worker import metrics as measured

BATCH_BYTES = 1 << 20
logger = logging.getLogger(__name__)


class _DatabaseRestored(Exception):
    """The database has lost reports that were relayed: a backup was restored."""


class Relay:
    """Writes the reports of one attempt to the database, in order and effectively once."""

    def __init__(self, engine: Engine, claim: Claim, artifacts: Artifacts, *, of_fence: int | None = None) -> None:
        """
        Args:
            engine: the database.
            claim: under which is written.
            artifacts: where the reports are.
            of_fence: the attempt whose reports these are, if it is not the holder's own.
        """
        self._engine = engine
        self._claim = claim
        self._artifacts = artifacts
        self._fence = of_fence or claim.fence
        self._own = self._fence == claim.fence
        self._path = artifacts.reports(claim.job_id, self._fence)
        self._offset = self._relayed = self._published = 0
        self.error: ErrorReport | None = None
        """The trainer's error report, if it wrote one."""

    def pump(self) -> bool:
        """Relay what was appended to the file since the last call, at most `BATCH_BYTES`.

        Returns:
            Whether anything was appended.

        Raises:
            FenceLost: another worker claimed the job; nothing was written.
            StorageUnavailable: a checkpoint could not be published; the next call retries.
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
        expired: Sequence[Checkpoint] = []
        self._publish(reports)
        if reports:
            try:
                with unit_of_work(self._engine) as session:
                    expired = self._write(session, reports)
            except _DatabaseRestored:
                logger.warning(
                    "%s: the database was restored from a backup; relaying all reports again", self._claim.job_id
                )
                self._offset = self._relayed = 0
                return True
            self._measure(reports)
            self._relayed = reports[-1].seq
        self._offset += len(whole)
        self._remove(expired)
        return True

    def _publish(self, reports: Sequence[Report]) -> None:
        """Publish new checkpoints, and the log so far, before their rows become visible."""
        for report in reports:
            if isinstance(report, CheckpointReport) and report.seq > self._published:
                self._artifacts.objects.publish(self._artifacts.relative(Path(report.path)))
                self.publish_log()
                self._published = report.seq

    def publish_log(self) -> None:
        """Publish the log as written so far."""
        log = self._artifacts.log(self._claim.job_id, self._fence)
        if log.exists():
            self._artifacts.objects.publish(self._artifacts.relative(log))

    def _measure(self, reports: Sequence[Report]) -> None:
        """Record the own trainer's metrics for Prometheus, each once."""
        for report in reports:
            if self._own and isinstance(report, MetricReport) and report.seq > self._relayed:
                measured.observe(report.values)

    def _remove(self, expired: Sequence[Checkpoint]) -> None:
        """Remove expired checkpoints, after the commit; after a crash, cleanup removes them."""
        for checkpoint in expired:
            self._artifacts.objects.remove(checkpoint.path)

    @property
    def behind(self) -> bool:
        """Whether a whole batch waits: a smaller rest waits for the next call, since a flood would otherwise
        be written in hundreds of small transactions a second."""
        return self._path.exists() and self._path.stat().st_size - self._offset > BATCH_BYTES

    def _write(self, session: Session, reports: Sequence[Report]) -> Sequence[Checkpoint]:
        """Write reports; returns the checkpoints that retention expires."""
        claim = self._claim
        claims.update_job(session, claim)  # takes the row lock and checks the fence before anything is written
        attempt = session.get_one(Attempt, (claim.job_id, self._fence), populate_existing=True)
        if attempt.relayed_seq < self._relayed:
            raise _DatabaseRestored
        last = reports[-1].seq
        if last <= attempt.relayed_seq:  # already written by a commit whose reply was lost
            return []
        fresh = [report for report in reports if report.seq > attempt.relayed_seq]
        for report in fresh:
            self._apply(session, report)
        claims.update_attempt(session, claim.job_id, self._fence, relayed_seq=last)
        if any(isinstance(report, CheckpointReport) for report in fresh):
            return retention.expire(session, claim.job_id, claim.spec.schedule.keep_checkpoints)
        return []

    def _apply(self, session: Session, report: Report) -> None:
        claim, artifacts = self._claim, self._artifacts
        match report:
            case MetricReport():
                points = [(name, report.step, value) for name, value in report.values.items()]
                metrics.put_metrics(session, claim.job_id, claim.fence, points)
                claims.update_job(session, claim, step=report.step)
            case SampleReport():
                fields = report.model_dump(exclude={"seq", "ts", "kind"})
                metrics.put_sample(session, claim.job_id, claim.fence, **fields)
            case CheckpointReport():
                checkpoints.commit(
                    session,
                    claim.job_id,
                    self._fence,
                    step=report.step,
                    path=artifacts.relative(Path(report.path)),
                    manifest_sha256=report.manifest_sha256,
                    size=report.bytes,
                )
                claims.update_job(session, claim, fruitless_attempts=0)
                claims.add_event(session, claim, f"checkpoint saved at step {report.step}", data={"step": report.step})
            case EventReport():
                claims.add_event(session, claim, report.message, level=report.level, data=report.data)
            case PhaseReport() if self._own:
                claims.update_job(session, claim, phase=report.phase)
                if report.phase == "training":
                    lifecycle.begin(session, claim)
            case ErrorReport() if self._own:
                self.error = report


def _parse(line: bytes) -> Report | None:
    try:
        return REPORT.validate_json(line)
    except ValidationError:
        logger.warning("skipping an unreadable report: %.200r", line)
        return None
