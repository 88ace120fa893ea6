"""A trainer that starts at once and whose result is a pure function of seed and step, for faults by the hundred.

It keeps the real one's contract with the real one's own code (reports, manifests, signals, exit statuses), and runs the
real one where the spec names any other student. A spec's name can ask for a fault: `hang@3`, `nan@3`, `oom@3`, `fork`,
`flood`, `deaf` (SIGTERM is ignored), `slow-save`, `fill-disk@3`.
"""

from __future__ import annotations

import argparse
import errno
import faulthandler
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from uniapl.errors import CheckpointError, DivergedError, UniaplError
from uniapl.run import manifest
from uniapl.run.config import RunConfig
from uniapl.run.exit_status import ExitStatus
from uniapl.run.reporter import Reporter
from uniapl.run.signals import Signals, die_with_parent

STUDENT = "counting-student"
WEIGHTS = 1 << 16


def weights_after(step: int, seed: int) -> bytes:
    """What an uninterrupted run has after `step` updates."""
    state = hashlib.sha256(f"student {seed}".encode()).digest()
    for k in range(1, step + 1):
        state = _update(state, k)
    return _weights(state)


def _update(state: bytes, step: int) -> bytes:
    return hashlib.sha256(state + step.to_bytes(8, "big")).digest()


def _weights(state: bytes) -> bytes:
    return hashlib.shake_256(state).digest(WEIGHTS)


class CountingTrainer:
    """The loop of `uniapl.training.trainer`, without a model."""

    def __init__(self, run: RunConfig, reporter: Reporter, signals: Signals) -> None:
        self._run, self._reporter, self._signals = run, reporter, signals
        name, _, step = (run.spec.name or "").partition("@")
        self._fault, self._fault_step = name, int(step or 0)
        self._folder = Path(run.run_dir) / "checkpoints"
        self._step_s = float(os.environ.get("UNIAPL_TEST_STEP_S", "0.05"))
        self.done = 0
        self._state = hashlib.sha256(f"student {run.spec.seed}".encode()).digest()
        if run.resume_from is not None:
            self._resume(Path(run.resume_from))

    def _resume(self, path: Path) -> None:
        self.done = manifest.verify(path)
        self._state = bytes.fromhex(json.loads((path / "state.json").read_text())["state"])
        if (path / "model.bin").read_bytes() != _weights(self._state):
            raise CheckpointError(f"checkpoint {path.name}: weights and state disagree")
        self._reporter.event(f"resumed after step {self.done}", step=self.done)

    def train(self) -> bool:
        schedule = self._run.spec.schedule
        self._reporter.phase("loading_student")
        self._reporter.phase("training")
        while self.done < schedule.steps:
            began = time.monotonic()
            self._misbehave()
            time.sleep(self._step_s)
            self._state = _update(self._state, self.done + 1)
            self.done += 1
            values = {"loss": 1 / self.done, "draw": self._state[0] / 255, "step_s": time.monotonic() - began}
            self._reporter.metrics(self.done, values)
            last = self.done == schedule.steps
            stop = self._signals.stop and not last
            if last or stop or self._signals.take_checkpoint() or self.done % schedule.checkpoint_every == 0:
                self._save()
            if stop:
                return False
        return True

    def _save(self) -> None:
        def write(folder: Path) -> None:
            (folder / "model.bin").write_bytes(_weights(self._state))
            if self._fault == "slow-save":
                time.sleep(1.0)
            (folder / "state.json").write_text(json.dumps({"state": self._state.hex()}))
            if self._fault == "fill-disk" and self.done >= self._fault_step:
                (folder / "optimizer.bin").write_bytes(bytes(1 << 26))

        self._reporter.phase("saving")
        saved = manifest.publish(self._folder, self.done, write, {"seed": self._run.spec.seed})
        self._reporter.checkpoint(saved.step, saved.path, saved.manifest_sha256, saved.bytes)
        self._reporter.phase("training")

    def _misbehave(self) -> None:
        if self._fault == "flood":
            for i in range(50):
                self._reporter.metrics(self.done, {f"m{i}-{j}": float(j) for j in range(50)})
        if self.done + 1 != self._fault_step:
            return
        if self._fault == "hang":
            while True:
                time.sleep(60)
        if self._fault == "nan":
            raise DivergedError("the loss is not finite")
        if self._fault == "oom":
            raise MemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--parent-pid", type=int)
    arguments = parser.parse_args()
    run = RunConfig.model_validate_json(arguments.run.read_text())
    if run.spec.student != STUDENT:
        os.execv(sys.executable, [sys.executable, "-m", "uniapl", "train", *sys.argv[1:]])
    die_with_parent(arguments.parent_pid)
    signals = Signals()
    signals.install()
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    if run.spec.name == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if run.spec.name == "fork":  # a grandchild in the group that no PDEATHSIG reaches
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "-m uniapl train", run.run_dir])
    with Reporter(Path(run.run_dir) / "reports.jsonl") as reporter:
        try:
            finished = CountingTrainer(run, reporter, signals).train()
        except UniaplError as error:
            reporter.error(error)
            return ExitStatus.DIVERGED if isinstance(error, DivergedError) else ExitStatus.USER_ERROR
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return ExitStatus.DISK_FULL
    return ExitStatus.DONE if finished else ExitStatus.REQUEUE


if __name__ == "__main__":
    sys.exit(main())
