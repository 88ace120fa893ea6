"""A discriminator that the library has never seen: the protocol is all that the collector and the trainer rely on."""

from __future__ import annotations

import json
from collections.abc import Sequence as Seq
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.uniapl.training.test_rollout_collector import Scripted, row
from uniapl.discriminators.base import Comparison, Discriminator, FrozenDiscriminator
from uniapl.model.policy import Policy
from uniapl.rewards.pool import RewardPool
from uniapl.run.config import RunConfig
from uniapl.run.reporter import Reporter
from uniapl.run.signals import Signals
from uniapl.training import checkpoint
from uniapl.training.health import HealthMonitor
from uniapl.training.learner import Learner
from uniapl.training.rollout_collector import RolloutCollector
from uniapl.training.trainer import Trainer

pytestmark = pytest.mark.integration


class Length:
    """Scores the number of characters, times a factor that doubles with each update."""

    default_scale, remote = 1.0, False

    def __init__(self) -> None:
        self.version, self.learned_from = 0, list[str]()

    @property
    def ready(self) -> bool:
        return self.version >= 1

    def score(self, comparisons: Seq[Comparison]) -> Tensor:
        return torch.tensor([len(c.output) * 2.0**self.version for c in comparisons])

    def learn(self, comparisons: Seq[Comparison]) -> dict[str, float]:
        self.version += 1
        self.learned_from = [c.output for c in comparisons]
        return {"disc/loss": 0.25}

    def save(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "version.json").write_text(json.dumps(self.version))

    def load(self, folder: Path) -> None:
        self.version = json.loads((folder / "version.json").read_text())


class FrozenLength(FrozenDiscriminator):
    """The same, never trained."""

    default_scale = 1.0

    def score(self, comparisons: Seq[Comparison]) -> Tensor:
        return torch.tensor([float(len(c.output)) for c in comparisons])


class Sampler(Scripted):
    """Answers "a" and "bbb" to every prompt."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy, ["a", "bbb"], [False, False])

    def sync(self, version: int) -> None:
        """The answers do not depend on weights."""


def train(
    folder: Path, policy: Policy, discriminator: Discriminator, *, steps: int, resume_from: Path | None = None
) -> list[dict[str, float]]:
    """Run to `steps` in `folder`; the metrics of the steps."""
    spec = {"student": "s", "dataset_mix": [{"dataset": "d"}], "alpha": 1, "lambda_adv": 0.1, "grpo": {"group_size": 2}}
    spec |= {"schedule": {"steps": steps, "prompts_per_step": 1}}
    run = RunConfig.model_validate({"spec": spec, "run_dir": str(folder)})
    learner, done = Learner(policy, run.spec), 0 if resume_from is None else int(resume_from.name.split("-")[1])
    save = partial(checkpoint.save, folder / checkpoint.FOLDER, policy, learner.optimizer, run.spec)
    with Reporter(folder / "reports.jsonl") as reporter, RewardPool(run.spec.reward) as pool:
        collector = RolloutCollector(run.spec, policy, Sampler(policy), pool, discriminator)
        trainer = Trainer(
            run, reporter, Signals(), learner, collector, HealthMonitor(run.spec.health), save, None, [[row()]], done
        )
        if resume_from is not None:
            trainer.resume(resume_from)
        assert trainer.train()
    reports = map(json.loads, (folder / "reports.jsonl").read_text().splitlines())
    return [report["values"] for report in reports if report["kind"] == "metric"]


def test_a_new_discriminator_trains_a_policy_and_resumes(policy: Policy, tmp_path: Path) -> None:
    first, resumed = Length(), Length()
    [warming] = train(tmp_path / "1", policy, first, steps=1)
    assert first.learned_from == ["a", "bbb"]
    assert (warming["disc/version"], warming["disc/loss"], warming["disc/score_student"]) == (0, 0.25, 2.0)
    assert "disc/coef_abs_mean" not in warming  # not ready: no score is used
    saved = tmp_path / "1" / checkpoint.FOLDER / "step-00000001"
    assert (saved / "discriminator" / "version.json").exists()
    [ready] = train(tmp_path / "2", policy, resumed, steps=2, resume_from=saved)
    assert (ready["disc/version"], ready["disc/score_student"]) == (1, 4.0)
    assert ready["disc/coef_abs_mean"] == 4.0  # leave-one-out of 2 and 6
    assert resumed.version == 2


def test_a_frozen_one_has_no_state_and_is_always_ready(policy: Policy, tmp_path: Path) -> None:
    [metrics] = train(tmp_path, policy, FrozenLength(), steps=1)
    assert metrics["disc/coef_abs_mean"] == 2.0
    assert not {"disc/version", "disc/loss"} & metrics.keys()
    saved = tmp_path / checkpoint.FOLDER / "step-00000001"
    assert saved.is_dir()
    assert not (saved / "discriminator").exists()
