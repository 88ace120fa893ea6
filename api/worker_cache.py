"""The workers that are alive, as every POST is measured against them."""

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

LOOK_S = 1.0
"""So long what was seen is good enough: a worker counts as alive for minutes after it was last heard of."""


@dataclass(frozen=True)
class Snapshot:
    """What was seen."""

    hardware: Sequence[Hardware] = ()
    """What each worker runs on, newest first."""
    fitting: set[str] = field(default_factory=set)
    """Jobs that were found to fit since, by whatever text `api.admission.estimate` knows them by."""


class WorkerCache:
    """One look at the database for all requests of a second."""

    def __init__(self, engine: Engine, lease_s: float) -> None:
        """
        Args:
            engine: the database.
            lease_s: the lease in force.
        """
        self._engine, self._lease_s = engine, lease_s
        self._lock = threading.Lock()
        self._seen = Snapshot()
        self._looked_at = -math.inf

    def get(self) -> Snapshot:
        """The newest."""
        with self._lock:  # who comes meanwhile waits for the one look
            if time.monotonic() - self._looked_at >= LOOK_S:
                with reading(self._engine) as session:
                    alive = workers.alive(session, self._lease_s)
                self._seen = Snapshot([Hardware.model_validate(row) for row in alive])
                self._looked_at = time.monotonic()
            return self._seen
