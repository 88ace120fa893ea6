"""Memory of a student in training: bounded packs, gradients by term, shared prompts, checkpoints in its type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import MODELS
from tests.uniapl.held import peak
from tests.uniapl.model.test_policy import rollouts_and_demonstrations, spec
from tests.uniapl.training.test_train_command import DATA
from tests.uniapl.warm_trainer import train
from uniapl.batching.batch import Sequence
from uniapl.batching.packing import PADDING
from uniapl.model import export
from uniapl.model.merge import merged
from uniapl.model.policy import Policy
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.run.exit_status import ExitStatus
from uniapl.training.learner import Learner

pytestmark = pytest.mark.integration
MICRO = 64


def test_a_long_completion_beside_many_short_ones_is_not_padded_against_them(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, shapes = Learner(policy, spec(MICRO)), []
    accumulate = Learner._accumulate

    def seen(self: Learner, packed: Any, *rest: Any) -> None:
        shapes.append(packed.batch.completion_mask.numel())
        accumulate(self, packed, *rest)

    monkeypatch.setattr(Learner, "_accumulate", seen)
    short = [Sequence([3], [5 + i % 50], demonstration=True) for i in range(60)]
    long = Sequence([4], [7] * (MICRO - 1), demonstration=True)
    metrics = learner.update([*short, long], 0, measure_terms=False)
    assert metrics["num_tokens"] == 2 * 60 + MICRO
    assert max(shapes) <= PADDING * MICRO < (60 + 1) * (MICRO - 1)
    assert metrics["perf/forward_tokens"] <= metrics["num_tokens"]  # its prompt is shared


def test_norms_by_term_cost_a_gradient_per_term_and_can_be_off(policy: Policy) -> None:
    weights = sum(p.nbytes for p in policy.model.parameters())
    learner = Learner(policy, spec(MICRO))
    learner.update(rollouts_and_demonstrations(), 0, measure_terms=False)  # allocates the moments
    without = peak(lambda: learner.update(rollouts_and_demonstrations(), 1, measure_terms=False))
    measured = peak(lambda: learner.update(rollouts_and_demonstrations(), 1, measure_terms=True))
    assert 1.9 * weights < measured - without < 3.1 * weights  # one per term; without, the first pack allocates it


def test_prompts_are_stored_once_for_all_completions_of_a_group(policy: Policy) -> None:
    prompt, group_size, config = 1500, 64, policy.model.config
    generator = TransformersGenerator(policy, temperature=1.0, max_new_tokens=4, batch_size=group_size)
    generator.sample([[5, 6]], group_size=2, seed=0)  # compares both ways of storing prompts
    found = peak(lambda: generator.sample([[5] * prompt], group_size=group_size, seed=0))
    copy = prompt * 2 * config.num_key_value_heads * config.head_dim * 4 * config.num_hidden_layers
    logits = group_size * config.vocab_size * 4
    assert found < 4 * logits + 8 * copy < group_size * copy


def run_file(folder: Path, student: Path, resume_from: Path | None = None, **schedule: Any) -> Path:
    folder.mkdir()
    given = {
        "student": str(student),
        "dataset_mix": [{"dataset": str(DATA / "chance.jsonl"), "role": "sft"}],
        "alpha": 1,
        "lambda_adv": 0,
        "optimizer": {"learning_rate": 1e-3},
        "schedule": {"steps": 2, "prompts_per_step": 2, "checkpoint_every": 1, **schedule},
    }
    path = folder / "run.json"
    resume = str(resume_from) if resume_from else None
    path.write_text(json.dumps({"spec": given, "run_dir": str(folder / "run"), "resume_from": resume}))
    return path


def metric_names(folder: Path) -> set[str]:
    lines = (folder / "run" / "reports.jsonl").read_text().splitlines()
    return {name for line in lines for name in json.loads(line).get("values", {})}


def test_a_run_measures_no_norms_by_term_if_they_are_off(tmp_path: Path) -> None:
    for every in (0, 1):
        status, errors = train(run_file(tmp_path / str(every), MODELS / "tiny-random-llama", term_norms_every=every))
        assert status == ExitStatus.DONE, errors
    assert "uniapl/grad_norm_sft" in metric_names(tmp_path / "1")
    names = metric_names(tmp_path / "0")
    assert "grad_norm" in names
    assert not [name for name in names if name.startswith(("uniapl/grad_norm_", "uniapl/cos_"))]


def test_a_run_with_checkpoints_in_the_students_type_is_resumed_to_the_bit(policy: Policy, tmp_path: Path) -> None:
    student = tmp_path / "student"
    export.save(policy.model, merged(policy.model), student, torch.bfloat16)
    policy.tokenizer.save_pretrained(student)
    status, errors = train(run_file(tmp_path / "whole", student, checkpoint_dtype="student"))
    assert status == ExitStatus.DONE, errors
    saved = tmp_path / "whole" / "run" / "checkpoints"
    resumed = run_file(tmp_path / "resumed", student, saved / "step-00000001", checkpoint_dtype="student")
    status, errors = train(resumed)
    assert status == ExitStatus.DONE, errors
    last = Path("run", "checkpoints", "step-00000002")
    types = {str(value.dtype) for value in load_file(tmp_path / "whole" / last / "model.safetensors").values()}
    assert types == {"torch.bfloat16"}
    for name in ("model.safetensors", "master.safetensors", "optimizer.safetensors"):
        assert (tmp_path / "whole" / last / name).read_bytes() == (tmp_path / "resumed" / last / name).read_bytes()
