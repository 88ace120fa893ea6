"""Pool of a worker's model servers: shared by jobs with the same model, kept between jobs, stopped with the worker."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store.artifacts.paths import Artifacts
from store.settings import Settings
from store.tables import new_id
from worker import process
from worker.vllm.command import Plan
from worker.vllm.server import OWNER, Sidecar

logger = logging.getLogger(__name__)


@dataclass
class _Kept:
    sidecar: Sidecar
    users: int = 0
    idle_since: float = field(default_factory=time.monotonic)


class SidecarPool:
    """Starts and stops servers; attempts acquire and release them."""

    def __init__(self, settings: Settings, artifacts: Artifacts) -> None:
        self._settings = settings
        self._folder = artifacts.sidecars()
        self._kept: list[_Kept] = []
        self._lock = threading.Lock()
        self._start_lock = threading.Lock()

    def take(self, plans: Iterable[Plan]) -> list[Sidecar]:
        """One server per plan, running or starting; unused servers with other plans are stopped first.

        Call it without plans too, so that the trainer gets the memory of unused servers.
        """
        wanted = list(plans)
        with self._lock:
            self._remove_orphans()
            for kept in list(self._kept):
                if kept.users == 0 and kept.sidecar.plan not in wanted:
                    self._stop(kept)
            taken: list[Sidecar] = []
            try:
                for plan in wanted:
                    taken.append(self._take(plan))
            except Exception:  # such as a full disk: the caller cannot release these
                self._give_back(taken)
                raise
            return taken

    def give_back(self, sidecars: Iterable[Sidecar]) -> None:
        """Release servers; each is stopped or kept for the next job."""
        with self._lock:
            self._give_back(list(sidecars))

    def tidy(self) -> None:
        """Stop servers that have been idle for `sidecar_idle_s`, and kill servers that dead workers left."""
        with self._lock:
            self._remove_orphans()
            for kept in list(self._kept):
                if kept.users == 0 and time.monotonic() - kept.idle_since > self._settings.sidecar_idle_s:
                    logger.info("the %s is idle; stopping it", kept.sidecar.plan.label)
                    self._stop(kept)

    def stop_all(self) -> None:
        """Stop every server, and wait for it."""
        with self._lock:
            for kept in list(self._kept):
                self._stop(kept)

    def _give_back(self, sidecars: Collection[Sidecar]) -> None:
        for kept in list(self._kept):
            if kept.sidecar in sidecars:
                kept.users -= 1
                kept.idle_since = time.monotonic()
                disposable = kept.sidecar.state == "failed" or not kept.sidecar.plan.shared
                if kept.users == 0 and disposable:
                    self._stop(kept)

    def _take(self, plan: Plan) -> Sidecar:
        for kept in self._kept:
            if plan.shared and kept.sidecar.plan == plan and kept.sidecar.state != "failed":
                if kept.users == 0:
                    kept.sidecar.restarts = 0
                kept.users += 1
                return kept.sidecar
        sidecar = Sidecar(plan, self._settings, self._folder / new_id("sidecar"), self._start_lock)
        sidecar.start()
        self._kept.append(_Kept(sidecar, users=1))
        return sidecar

    def _stop(self, kept: _Kept) -> None:
        self._kept.remove(kept)
        kept.sidecar.stop()

    def _remove_orphans(self) -> None:
        """Kill servers of dead workers of this machine, in case the kernel's death signal did not reach them."""
        for folder in self._folder.glob("*/"):
            owner = _owner(folder)
            if owner is None or owner["host"] != process.HOST:
                continue
            here = owner["boot_id"] == process.boot_id()
            if here and process.start_time(owner["owner"]) == owner["owner_started"]:
                continue  # its worker is alive
            if here and owner["pgid"] is not None:
                process.kill_group(owner["pgid"], started=owner["started"])
            shutil.rmtree(folder, ignore_errors=True)


def _owner(folder: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads((folder / OWNER).read_text())
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None
