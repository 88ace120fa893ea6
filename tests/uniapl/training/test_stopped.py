"""SIGTERM within a step: the last finished step is saved at once, and the unfinished one leaves no trace."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODELS, ROOT
from tests.uniapl.conftest import Listening
from tests.uniapl.killed import reports, trained
from tests.uniapl.training.test_train_command import DATA
from uniapl.rewards.pool import RewardPool
from uniapl.run import manifest
from uniapl.run.config import RunConfig
from uniapl.run.credentials import Credentials
from uniapl.run.reporter import Reporter
from uniapl.run.reports import CheckpointReport, EventReport
from uniapl.run.signals import Signals
from uniapl.training.setup import prepare

pytestmark = pytest.mark.integration

STEPS = 4
SPEC: dict[str, Any] = {
    "student": str(MODELS / "tiny-random-llama"),
    "dataset_mix": [{"dataset": str(DATA / "chance.jsonl")}],
    "alpha": 0.3,
    "lambda_adv": 0.01,
    "grpo": {"group_size": 2},
    "rollout": {"max_new_tokens": 6},
    "discriminator": {"type": "learned", "warmup_steps": 1, "learning_rate": 1e-3, "batch_size": 2},
    "optimizer": {"learning_rate": 1e-3},
    "schedule": {"steps": STEPS, "prompts_per_step": 2, "checkpoint_every": 1000, "eval_every": 3},
    "evaluation": {"dataset": str(DATA / "heldout.jsonl"), "rows": 3, "profile_completions": 1, "at_start": False},
    "resources": {"micro_batch_tokens": 64},
    "reward": {"processes": 1},
    "seed": 5,
}
PLACES = [  # what the trainer is at, the function that it calls again and again there, and the last finished step
    ("tokens of a rollout", "uniapl.rollout.transformers:sample_tokens", 1),
    ("scores", "uniapl.discriminators.learned:LearnedDiscriminator._logits", 1),
    ("rewards", "uniapl.rewards.pool:RewardPool._collect", 2),
    ("micro-batches", "uniapl.training.learner:completion_logprobs", 2),
    ("an evaluation", "uniapl.training.evaluation:completion_logprobs", 3),
    ("the last evaluation", "uniapl.training.evaluation:completion_logprobs", STEPS),
]


class Strike:
    """Sends this process SIGTERM at the second call of a function after a step, and counts the calls after that."""

    def __init__(self, patch: pytest.MonkeyPatch, where: str, after: int, *, begun: int = 0, at: int = 2) -> None:
        module, _, name = where.partition(":")
        owner: Any = importlib.import_module(module)
        for part in name.split(".")[:-1]:
            owner = getattr(owner, part)
        self._call: Callable[..., Any] = getattr(owner, name.split(".")[-1])
        self._after, self._at = after, at
        self._step, self._calls = begun, 0
        patch.setattr(owner, name.split(".")[-1], lambda *given, **options: self._struck(*given, **options))
        write = Reporter.metrics

        def counted(reporter: Reporter, step: int, values: dict[str, float]) -> None:
            self._step = step
            write(reporter, step, values)

        patch.setattr(Reporter, "metrics", counted)

    @property
    def later(self) -> int:
        return self._calls - self._at

    def _struck(self, *given: Any, **options: Any) -> Any:
        self._calls += self._step == self._after
        if self._calls == self._at:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._call(*given, **options)


def attempt(folder: Path, signals: Signals, resume_from: Path | None = None, **changes: Any) -> bool:
    """Train in this process; whether the run came to its end."""
    fields = {"spec": {**SPEC, **changes}, "run_dir": str(folder), "resume_from": resume_from and str(resume_from)}
    run = RunConfig.model_validate_json(json.dumps(fields))
    with Reporter(folder / "reports.jsonl") as reporter, RewardPool(run.spec.reward) as rewards:
        return prepare(run, reporter, signals, rewards, Credentials()).train()


def newest(folder: Path) -> Path:
    return manifest.folder_of(folder / "checkpoints", manifest.steps_in(folder / "checkpoints")[-1])


def hashes(folder: Path) -> dict[str, str]:
    found = json.loads((newest(folder) / manifest.MANIFEST).read_text())["files"]
    return {name: file["sha256"] for name, file in found.items()}


def test_wherever_it_is_stopped_the_last_finished_step_is_saved_and_nothing_else(
    tmp_path: Path, listening: Listening
) -> None:
    assert attempt(tmp_path / "unbroken", listening())
    found: Path | None = None
    for place, where, step in PLACES:
        folder = tmp_path / place
        with pytest.MonkeyPatch.context() as patch:
            strike = Strike(patch, where, step, begun=manifest.verify(found) if found else 0)
            assert not attempt(folder, listening(), found), place
        assert strike.later == 0, f"{place}: {strike.later} further calls"
        assert [r.step for r in trained(folder)][-1:] in ([step], []), place
        if found is None or manifest.verify(found) < step:
            found = newest(folder)
        else:  # nothing was finished since the checkpoint that it began from
            assert not (folder / "checkpoints").exists(), place
        assert manifest.verify(found) == step, place
    assert attempt(tmp_path / "last", listening(), found)
    assert hashes(tmp_path / "last") == hashes(tmp_path / "unbroken")


def test_a_running_baseline_and_an_adapted_lambda_are_those_of_the_last_finished_step(
    tmp_path: Path, listening: Listening
) -> None:
    changes: dict[str, Any] = {
        "alpha": 1,
        "grpo": {"group_size": 1},
        "adversarial": {"single_baseline": "ema", "constraint": {"score": 0.9, "rate": 0.05}},
        "discriminator": {"type": "embedding", "model": str(MODELS / "all-minilm-l6-v2")},
        "evaluation": None,
    }
    assert attempt(tmp_path / "unbroken", listening(), **changes)
    with pytest.MonkeyPatch.context() as patch:
        Strike(patch, "uniapl.training.learner:completion_logprobs", 2)
        assert not attempt(tmp_path / "first", listening(), **changes)
    assert manifest.verify(newest(tmp_path / "first")) == 2
    assert attempt(tmp_path / "second", listening(), newest(tmp_path / "first"), **changes)
    assert hashes(tmp_path / "second") == hashes(tmp_path / "unbroken")
    found = [r.values["uniapl/lambda_adv"] for r in trained(tmp_path / "unbroken")]
    assert found[0] == 0.01
    assert len(set(found)) == STEPS
    resumed = [r.values["uniapl/lambda_adv"] for r in trained(tmp_path / "second")]
    assert resumed == found[2:]


@pytest.mark.parametrize(
    "where", ["torch.optim:AdamW.step", "uniapl.run.manifest:_sync_all"], ids=["the update", "a checkpoint"]
)
def test_what_changes_the_policy_or_the_disk_is_finished(
    where: str, tmp_path: Path, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    Strike(monkeypatch, where, 2, at=1)
    schedule = SPEC["schedule"] | {"checkpoint_every": 2}
    imitation: dict[str, Any] = {"alpha": 1, "lambda_adv": 0, "evaluation": None, "schedule": schedule}
    assert not attempt(tmp_path, listening(), **imitation)
    last = 3 if "AdamW" in where else 2
    assert [r.step for r in trained(tmp_path)][-1] == last
    assert [r.step for r in reports(tmp_path) if isinstance(r, CheckpointReport)] == sorted({2, last})
    assert manifest.verify(newest(tmp_path)) == last
    event = [r for r in reports(tmp_path) if isinstance(r, EventReport)][-1]
    assert f"step {last}" in event.message


LOADING = """
import importlib, os, runpy, signal, sys, time

def stopped(*_, **__):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(15)
    os._exit(3)

class Importing:
    def find_spec(self, name, *_):
        if name == "transformers":
            stopped()

if sys.argv[1] == "imports":
    sys.meta_path.insert(0, Importing())
else:
    import uniapl.training.setup
    uniapl.training.setup.load_policy = stopped
sys.argv = ["uniapl", *sys.argv[2:]]
runpy.run_module("uniapl", run_name="__main__", alter_sys=True)
"""
"""`python -m uniapl` that gets SIGTERM while it loads."""


@pytest.mark.parametrize("when", ["imports", "student"])
def test_a_trainer_that_loads_ends_at_once_and_can_be_started_again(when: str, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    run.write_text(json.dumps({"spec": SPEC, "run_dir": str(tmp_path), "resume_from": None}))
    command = [sys.executable, "-c", LOADING, when, "train", str(run)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 75, ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "checkpoints").exists()
