"""A cache of the live workers, whose memory every new job is compared with."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Engine

from store import workers
from store.db import reading
from uniapl.spec.estimate import Hardware

MAX_AGE_S = 1.0
"""Age at which a snapshot is replaced; a worker counts as alive for minutes after its last report."""


@dataclass(frozen=True)
class Snapshot:
    """The live workers at one time."""

    hardware: Sequence[Hardware] = ()
    """Hardware of each worker, newest first."""
    fitting: set[str] = field(default_factory=set)
    """Keys of jobs that fit this hardware; `api.admission.estimate` computes them."""


class WorkerCache:
    """One query for all requests of a second."""

    def __init__(self, engine: Engine, lease_s: float) -> None:
        """
        Args:
            engine: the database.
            lease_s: the lease in force.
        """
        self._engine, self._lease_s = engine, lease_s
        self._lock = threading.Lock()
        self._snapshot = Snapshot()
        self._taken_at = -math.inf

    def get(self) -> Snapshot:
        """The current snapshot."""
        with self._lock:  # concurrent requests wait for one query
            if time.monotonic() - self._taken_at >= MAX_AGE_S:
                with reading(self._engine) as session:
                    alive = workers.alive(session, self._lease_s)
                self._snapshot = Snapshot([Hardware.model_validate(row) for row in alive])
                self._taken_at = time.monotonic()
            return self._snapshot
