"""The servers of one worker: shared by jobs that ask for the same model, kept warm between them, none left behind."""

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
    """Starts and stops servers; attempts take and give them back."""

    def __init__(self, settings: Settings, artifacts: Artifacts) -> None:
        self._settings = settings
        self._folder = artifacts.sidecars()
        self._kept: list[_Kept] = []
        self._lock = threading.Lock()
        self._start_lock = threading.Lock()

    def take(self, plans: Iterable[Plan]) -> list[Sidecar]:
        """One server per plan, running or starting; those that nobody uses or wants are stopped first.

        To be called without any plan too: the trainer wants the memory of those.
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
            except Exception:  # a full disk, say: nobody would ever give these back
                self._give_back(taken)
                raise
            return taken

    def give_back(self, sidecars: Iterable[Sidecar]) -> None:
        """They may be stopped, or serve the next job."""
        with self._lock:
            self._give_back(list(sidecars))

    def tidy(self) -> None:
        """Stop servers that have had no job for `sidecar_idle_s`, and what dead workers have left."""
        with self._lock:
            self._remove_orphans()
            for kept in list(self._kept):
                if kept.users == 0 and time.monotonic() - kept.idle_since > self._settings.sidecar_idle_s:
                    logger.info("%s has no job; stopping it", kept.sidecar.plan.label)
                    self._stop(kept)

    def stop_all(self) -> None:
        """None is left when this returns."""
        with self._lock:
            for kept in list(self._kept):
                self._stop(kept)

    def _give_back(self, sidecars: Collection[Sidecar]) -> None:
        for kept in list(self._kept):
            if kept.sidecar in sidecars:
                kept.users -= 1
                kept.idle_since = time.monotonic()
                useless = kept.sidecar.state == "failed" or not kept.sidecar.plan.shared
                if kept.users == 0 and useless:
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
        """Kill what workers of this machine that are gone have left, should the kernel not have told it to end."""
        for folder in self._folder.glob("*/"):
            owner = _owner(folder)
            if owner is None or owner["host"] != process.HOST:
                continue
            here = owner["boot_id"] == process.boot_id()
            if here and process.start_time(owner["owner"]) == owner["owner_started"]:
                continue  # its worker lives
            if here and owner["pgid"] is not None:
                process.kill_group(owner["pgid"], started=owner["started"])
            shutil.rmtree(folder, ignore_errors=True)


def _owner(folder: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads((folder / OWNER).read_text())
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None
