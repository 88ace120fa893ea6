"""Twelve updates by the code of a GPU run (`benchmarks.cuda_on_cpu`), interrupted and resumed in the middle."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.cuda_on_cpu import emulate_cuda
from tests.compiler_warnings import COMPILER_WARNINGS
from tests.conftest import MODELS
from tests.uniapl.packed import objective
from uniapl.batching.batch import Sequence
from uniapl.model.block_wrappers import wrap_blocks
from uniapl.model.layout_check import with_layout
from uniapl.model.policy import Policy, load_policy
from uniapl.run.config import ModelSource
from uniapl.run.manifest import SavedCheckpoint
from uniapl.spec.job import JobSpec
from uniapl.training import checkpoint
from uniapl.training.learner import Learner, Metrics

pytestmark = [pytest.mark.full, *COMPILER_WARNINGS]
STEPS, MIDDLE = 12, 6
NORMS = {f"uniapl/grad_norm_{term}" for term in ("sft", "grpo", "adv")}
VARIANTS = {
    "plain": (False, False),
    "recomputed": (True, False),
    "compiled": (False, True),
    "both": (True, True),
}
"""Values of `gradient_checkpointing` and `compile_blocks`."""


@pytest.fixture(autouse=True)
def emulated() -> Iterator[None]:
    with emulate_cuda():
        yield


def spec_of(variant: str) -> JobSpec:
    recomputed, compiled = VARIANTS[variant]
    return objective(
        resources={"micro_batch_tokens": 256, "gradient_checkpointing": recomputed, "compile_blocks": compiled},
        optimizer={"learning_rate": 1e-3},
        rollout={"temperature": 1.0},
        schedule={"term_norms_every": 10},
    )


def sequences(step: int) -> list[Sequence]:
    """Two groups of a demonstration and rollouts, in more than one pass; lengths differ between steps."""
    draw, found = random.Random(step), []
    for _ in range(2):
        prompt, *answers = (draw.choices(range(300), k=draw.randrange(20, 90)) for _ in range(4))
        found.append(Sequence(prompt, answers[0], demonstration=True))
        for answer in answers[1:]:
            weights = {"advantage": draw.gauss(0, 1), "coef": draw.gauss(0, 1)}
            found.append(Sequence(prompt, answer, old_logprobs=[-10.8] * len(answer), **weights))
    return found


def learner_of(folder: Path, spec: JobSpec) -> tuple[Policy, Learner]:
    """A learner as the trainer prepares it, its layout check included."""
    policy = load_policy(ModelSource(path=str(folder)), torch.device("cpu"))
    wrap_blocks(policy.model, spec.resources)
    policy, obstacle = with_layout(policy)
    assert (policy.layout.kind, obstacle) == ("blocks", None)
    return policy, Learner(policy, spec)


def train(learner: Learner, spec: JobSpec, steps: range) -> list[Metrics]:
    return [learner.update(sequences(step), step, measure_terms=spec.schedule.measures_terms(step)) for step in steps]


def run(variant: str, folder: Path) -> tuple[list[Metrics], SavedCheckpoint]:
    """Metrics of all updates, and the checkpoint in the middle."""
    spec = spec_of(variant)
    policy, learner = learner_of(MODELS / "tiny-random-llama", spec)
    first = train(learner, spec, range(MIDDLE))
    saved = checkpoint.save(folder, policy, learner.optimizer, spec, MIDDLE, {})
    return first + train(learner, spec, range(MIDDLE, STEPS)), saved


def losses(metrics: list[Metrics]) -> list[float]:
    return [each["loss"] for each in metrics]


def test_variants_agree_and_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    found = {variant: run(variant, tmp_path / variant) for variant in VARIANTS}
    plain, _ = found["plain"]
    assert [step for step, each in enumerate(plain) if each.keys() & NORMS] == [0, 10]
    assert all(each[name] > 0 for each in (plain[0], plain[10]) for name in NORMS)
    assert all(each["grad_norm"] > 0 for each in plain)
    for metrics, _ in found.values():
        assert losses(metrics) == pytest.approx(losses(plain), abs=2e-2)
    metrics, saved = found["both"]
    spec = spec_of("both")
    policy, learner = learner_of(saved.path, spec)
    checkpoint.load_optimizer(saved.path, policy, learner.optimizer)
    resumed = train(learner, spec, range(MIDDLE, STEPS))
    assert losses(resumed) == losses(metrics[MIDDLE:])
