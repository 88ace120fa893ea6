"""Measurement of this machine's speed: once, by a child process, while no job needs the machine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from store.settings import Settings
from uniapl.run import gpus
from uniapl.spec.estimate import Speed
from worker import hardware, process
from worker.vllm.devices import visible

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parent.parent
FOLDER = "speed"
"""In the data folder: a result for each kind of machine."""
DEADLINE_S = 180.0
"""Longest duration of a measurement, which takes about 20 s on an idle machine."""
COMMAND = (sys.executable, "-m", "uniapl.training.self_measurement")


class SelfMeasurement:
    """The measurement of this machine, and its result. Not thread-safe: `WorkerProcess` calls it under its lock."""

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND, deadline_s: float = DEADLINE_S) -> None:
        self._settings = settings
        self._command = command
        self._deadline_s = deadline_s
        self._file = result_file(settings)
        self._speed = read(self._file)
        self._wanted = settings.measure_speed and self._speed is None and _torch() is not None
        self._child: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._started = 0.0

    @property
    def speed(self) -> dict[str, Any] | None:
        """The column of `store.tables.Worker`; `None` until the machine is measured."""
        return None if self._speed is None else self._speed.model_dump(mode="json")

    @property
    def running(self) -> bool:
        """Whether a child process measures."""
        return self._child is not None

    def proceed(self) -> None:
        """Start the measurement, or take its result; called while the machine is idle.

        A measurement that fails or exceeds its deadline is not repeated by this worker.
        """
        if not self._wanted:
            return
        if self._child is None:
            self._start()
        elif self._child.poll() is not None:
            self._finish(f"ended with status {self._child.returncode}")
        elif time.monotonic() - self._started > self._deadline_s:
            self._finish(f"took longer than {self._deadline_s:.0f} s")

    def stop(self) -> None:
        """End a running measurement and wait for its exit, so that its memory is free; `proceed` starts another one."""
        if self._child is not None:
            process.kill_group(self._child.pid)
            self._child.poll()
            self._child = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _start(self) -> None:
        """Start the child, unless another worker of this data folder measures: each would slow the other."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._file.parent / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return
        self._lock, self._started = lock, time.monotonic()
        if (found := read(self._file)) is not None:  # by another worker of the same kind of machine
            self._speed, self._wanted = found, False
            self.stop()
            return
        command = [*self._command, "--out", str(self._file.absolute()), "--parent-pid", str(os.getpid())]
        environment = {**os.environ, **visible(self._settings, "trainer")}
        self._child = process.start(command, log=self._log, environment=environment, folder=ROOT)

    def _finish(self, failure: str) -> None:
        self.stop()
        self._wanted = False
        self._speed = read(self._file)
        if self._speed is None:
            logger.warning("the measurement of this machine's speed %s: see %s", failure, self._log)

    @property
    def _log(self) -> Path:
        return self._file.with_suffix(".log")


def result_file(settings: Settings) -> Path:
    """The file of the result for this hardware, its driver, torch and this version of the service."""
    facts = hardware.facts(settings)
    kind = [facts["cpus"], _processor(), facts["gpus"], gpus.driver().version, _torch(), facts["version"]]
    digest = hashlib.sha256(json.dumps(kind).encode()).hexdigest()[:16]
    return settings.data_dir / FOLDER / f"{digest}.json"


def read(file: Path) -> Speed | None:
    """The result in a file; `None` without one."""
    try:
        return Speed.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def _torch() -> str | None:
    try:
        return version("torch")
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Name of the processor's model; empty where the kernel does not report it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
