"""Lease of one attempt, renewed by a background thread."""

from __future__ import annotations

import logging
import threading
import time
from contextvars import copy_context
from types import TracebackType
from typing import Self

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from store.db import unit_of_work
from store.errors import FenceLost
from store.jobs import claims
from store.jobs.claims import Claim
from worker import metrics

MARGIN = 1 / 6
"""Final fraction of the lease in which the holder no longer relies on it: 15 of 90 seconds."""
logger = logging.getLogger(__name__)


class Lease:
    """A context manager that renews the lease.

    The trainer keeps running when renewals fail: all writes carry the fence, so if another worker claims the job
    meanwhile, only time is lost.
    """

    def __init__(self, engine: Engine, claim: Claim, *, lease_s: float, heartbeat_s: float) -> None:
        self._engine, self._claim = engine, claim
        self._lease_s, self._heartbeat_s = lease_s, heartbeat_s
        self._renewed = time.monotonic()
        self._done = threading.Event()
        self.lost = threading.Event()
        """Set once another worker has claimed the job."""
        beat = copy_context()  # its log messages carry the job's ids
        self._thread = threading.Thread(
            target=beat.run, args=(self._beat,), name=f"heartbeat-{claim.job_id}", daemon=True
        )

    @property
    def certain(self) -> bool:
        """Whether no other worker can have claimed the job; reports are relayed only then."""
        return time.monotonic() - self._renewed < self._lease_s * (1 - MARGIN)

    def check(self) -> None:
        """Raise `FenceLost` once another worker has claimed the job."""
        if self.lost.is_set():
            raise FenceLost(self._claim.job_id, self._claim.fence)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._done.wait(self._heartbeat_s):
            sent = time.monotonic()  # the lease counts from before the request, whose reply may be slow
            try:
                with unit_of_work(self._engine) as session:
                    claims.renew(session, self._claim, self._lease_s)
                self._renewed = sent
                metrics.renewals.labels("renewed").inc()
            except FenceLost:
                metrics.renewals.labels("lost").inc()
                self.lost.set()
                return
            except SQLAlchemyError as error:
                metrics.renewals.labels("failed").inc()
                logger.warning("%s: could not renew the lease: %s", self._claim.job_id, error)
