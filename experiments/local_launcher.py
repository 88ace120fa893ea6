"""Local launcher: trains runs one after the other on this machine, and resumes where it was stopped.

out/<arm>/seed-<n>/
    fingerprint     hash of the run's inputs; a different one empties the folder
    run.json        the trainer's input
    reports.jsonl, checkpoints/, log.txt
    result.json     written last, so its presence means that the run is finished
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from experiments.experiment import Run
from experiments.results import Failure, RunResult, last_error, metrics_at, parse, read_reports
from uniapl.errors import CheckpointError
from uniapl.run import atomic, manifest
from uniapl.run.config import ModelSource, RunConfig
from uniapl.run.registry import RegisteredModel, sources
from uniapl.run.reports import MetricReport
from uniapl.spec.job import JobSpec

POLL_S = 0.5


class Stopped(Exception):
    """Stopped on request; finished runs are kept."""


class Launcher(Protocol):
    """Trains runs."""

    def launch(self, runs: Sequence[Run]) -> Iterator[RunResult | Failure]:
        """The result of each run, in order; finished runs are not trained again.

        Raises:
            Stopped: on request, before the last run finished.
        """
        ...


class LocalLauncher:
    """Runs `python -m uniapl train` as one subprocess per run."""

    def __init__(
        self,
        out: Path,
        *,
        registry: Mapping[str, RegisteredModel],
        datasets: Mapping[str, str],
        keep_checkpoints: bool,
        log: Callable[[str], None],
    ) -> None:
        """
        Args:
            out: folder of the experiment.
            registry: the model registry.
            datasets: dataset id to file, for ids that are not paths.
            keep_checkpoints: keep the checkpoints of finished runs.
            log: receives one line per step, and at the start and end of each run.
        """
        self._out, self._registry, self._datasets = out, registry, datasets
        self._keep, self._log = keep_checkpoints, log
        self._stop = False
        self._process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """Stop the running trainer after a checkpoint; a second call kills it."""
        process, again = self._process, self._stop
        self._stop = True
        if process is not None:
            process.kill() if again else process.terminate()

    def launch(self, runs: Sequence[Run]) -> Iterator[RunResult | Failure]:
        """See `Launcher.launch`."""
        configs = [self._config(run) for run in runs]  # all before the first run, so that unknown names fail early
        for number, (run, config) in enumerate(zip(runs, configs, strict=True), start=1):
            if self._stop:
                raise Stopped
            label = f"[{number}/{len(runs)}] {run.arm}, seed {run.spec.seed}"
            mark = fingerprint(config)
            finished = _finished(Path(config.run_dir), mark)
            if finished is None:
                yield self._train(run.arm, config, mark, label)
            else:
                self._log(f"{label}: already finished")
                yield finished

    def _config(self, run: Run) -> RunConfig:
        return RunConfig(
            spec=run.spec,
            run_dir=str(self._out / run.arm / f"seed-{run.spec.seed}"),
            datasets={name: path for name, path in self._datasets.items() if name in _dataset_names(run.spec)},
            models=sources(run.spec, self._registry),
        )

    def _train(self, arm: str, config: RunConfig, mark: str, label: str) -> RunResult | Failure:
        folder, started = Path(config.run_dir), time.monotonic()
        config = _prepared(folder, config, mark)
        status = self._wait(folder, config, label)
        reports, seed = read_reports(folder), config.spec.seed
        if status != 0:
            if self._stop:
                raise Stopped
            message = last_error(reports) or f"the trainer exited with status {status}; see {folder / 'log.txt'}"
            self._log(f"{label}: FAILED: {message}")
            return Failure(arm, seed, message)
        result = RunResult(
            arm=arm,
            seed=seed,
            fingerprint=mark,
            seconds=time.monotonic() - started,
            before=metrics_at(reports, 0),
            after=metrics_at(reports, config.spec.schedule.steps),
        )
        atomic.write(folder / "result.json", result.model_dump_json(indent=2).encode())
        if not self._keep:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        self._log(f"{label}: done in {result.seconds / 60:.1f} minutes")
        return result

    def _wait(self, folder: Path, config: RunConfig, label: str) -> int:
        """Run the trainer; returns its exit status."""
        command = [sys.executable, "-m", "uniapl", "train", str(folder / "run.json"), "--parent-pid", str(os.getpid())]
        resumed = f", resumed from {Path(config.resume_from).name}" if config.resume_from else ""
        self._log(f"{label}: training{resumed}")
        path = folder / "reports.jsonl"
        path.touch()
        with (folder / "log.txt").open("ab") as log, path.open(encoding="utf-8") as reports:
            reports.seek(0, os.SEEK_END)  # skip the reports of earlier attempts
            # A separate session: Ctrl-C at the terminal reaches the trainer only through `stop`.
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=_environment(config), start_new_session=True
            )
            if self._stop:  # the signal arrived during the start
                self._process.terminate()
            announced = False
            while (status := self._process.poll()) is None:
                time.sleep(POLL_S)
                if self._stop and not announced:
                    announced = True
                    self._log(f"{label}: saving the last finished step and stopping; interrupt again to stop at once")
                if (step := _last_step(reports)) is not None:
                    self._log(f"{label}: step {step} of {config.spec.schedule.steps}")
            self._process = None
        return status


def _last_step(lines: Iterable[str]) -> int | None:
    """The step of the newest metrics among unread reports."""
    steps = [report.step for report in parse(lines) if isinstance(report, MetricReport)]
    return steps[-1] if steps else None


def _prepared(folder: Path, config: RunConfig, mark: str) -> RunConfig:
    """Prepare the folder: emptied if it belongs to another run or has no complete checkpoint to resume from."""
    path = folder / "fingerprint"
    same = path.exists() and path.read_text() == mark
    newest = _newest_whole(folder / "checkpoints") if same else None
    if newest is None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        atomic.write(path, mark.encode())
    config = config.model_copy(update={"resume_from": str(newest) if newest else None})
    atomic.write(folder / "run.json", config.model_dump_json(indent=2).encode())
    return config


def _newest_whole(checkpoints: Path) -> Path | None:
    """The newest checkpoint that matches its manifest; torn ones of later steps are deleted.

    The trainer refuses a folder with later checkpoints than the one it resumes from.
    """
    for step in reversed(manifest.steps_in(checkpoints)):
        path = manifest.folder_of(checkpoints, step)
        try:
            manifest.verify(path)
        except CheckpointError:
            shutil.rmtree(path)
        else:
            return path
    return None


def _finished(folder: Path, mark: str) -> RunResult | None:
    path = folder / "result.json"
    if not path.exists():
        return None
    result = RunResult.model_validate_json(path.read_bytes())
    return result if result.fingerprint == mark else None


def _dataset_names(spec: JobSpec) -> list[str]:
    held_out = [spec.evaluation.dataset] if spec.evaluation else []
    return [entry.dataset for entry in spec.dataset_mix] + held_out


def fingerprint(config: RunConfig) -> str:
    """Hash of a run's inputs: spec, sources of models, contents of datasets."""
    contents = {}
    for name in _dataset_names(config.spec):
        path = config.dataset_path(name)
        contents[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    parts = config.model_dump(mode="json", include={"spec", "models"}) | {"datasets": contents}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _environment(config: RunConfig) -> dict[str, str]:
    """The trainer's environment, offline where every model is a local folder."""

    def is_local(source: ModelSource) -> bool:
        return source.path is not None

    offline = {"HF_HUB_OFFLINE": "1"} if all(map(is_local, config.models.values())) else {}
    return dict(os.environ) | offline
