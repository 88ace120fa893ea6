"""Options without an effect, named with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uniapl.spec.dead_options import dead_options
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.unit

EXAMPLES = Path(__file__).parents[3] / "examples"
GSPO = {"loss": "gspo", "clip_low": 3e-4, "clip_high": 4e-4}
IMITATION = {"alpha": 1, "lambda_adv": 0, "dataset_mix": [{"dataset": "d", "role": "sft"}]}


def spec(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], **fields})


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"grpo": {"clip_high": 0.28}}, ["grpo.clip_high"]),
        ({"grpo": GSPO}, ["grpo.loss", "grpo.clip_low", "grpo.clip_high"]),
        ({"adversarial": {"clip_low": 0.1}}, ["adversarial.clip_low"]),
        ({"lambda_adv": 0, "discriminator": {"type": "learned"}}, ["discriminator"]),
        ({"lambda_adv": 0, "adversarial": {"coef": "raw", "think": "keep"}}, ["adversarial.coef", "adversarial.think"]),
        (IMITATION | {"grpo": {"group_size": 4}}, ["grpo.group_size"]),
        (IMITATION | {"grpo": {"truncated": "mask"}}, ["grpo.truncated"]),
        (IMITATION | {"reward": {"overlong_tokens": 9}}, ["reward.overlong_tokens"]),
        ({"reward": {"overlong_penalty": 2.0}}, ["reward.overlong_penalty"]),
        (IMITATION | {"rollout": {"temperature": 0.7}}, ["rollout.temperature"]),
        (IMITATION | {"rollout": {"backend": {"type": "vllm"}}}, ["rollout.backend"]),
        ({"rollout": {"backend": {"type": "vllm"}, "batch_size": 99}}, ["rollout.batch_size"]),
        ({"rollout": {"backend": {"type": "transformers"}, "sync_s": 9}}, ["rollout.sync_s"]),
        ({"adversarial": {"single_baseline": "ema"}}, ["adversarial.single_baseline"]),
        ({"schedule": {"eval_every": 7}}, ["schedule.eval_every"]),
        ({"schedule": {"steps": 3}, "optimizer": {"warmup_steps": 3}}, ["optimizer.learning_rate"]),
    ],
)
def test_a_dead_option_is_named(fields: dict[str, Any], options: list[str]) -> None:
    found = dead_options(spec(**fields))
    assert [sentence.split()[0] for sentence in found] == options
    stored = JobSpec.model_validate_json(spec(**fields).model_dump_json())
    assert dead_options(stored) == found  # resolved specs have every field


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: str(path.stem))
def test_the_examples_have_none(path: Path) -> None:
    given = json.loads(path.read_text())
    found = dead_options(JobSpec.model_validate(given.get("spec", given)))
    shared_by_arms = ["evaluation.score"] if path.stem == "ablation" else []
    assert [sentence.split()[0] for sentence in found] == shared_by_arms


@pytest.mark.parametrize(
    "fields",
    [
        {},
        IMITATION,
        {"grpo": {"clip_high": 0.28, "updates_per_rollout": 2}},
        {"grpo": GSPO | {"updates_per_rollout": 4}, "adversarial": {"clip_low": 0.1}},
        {"alpha": 1, "grpo": {"group_size": 4, "updates_per_rollout": 2}},
        {"lambda_adv": 0, "reward": {"discriminator_weight": 0.1}, "adversarial": {"think": "keep"}},
        IMITATION | {"rollout": {"temperature": 0.7}, "evaluation": {"dataset": "e"}, "schedule": {"eval_every": 7}},
        {"grpo": {"group_size": 1}, "alpha": 1, "adversarial": {"single_baseline": "ema"}},
    ],
)
def test_an_option_that_acts_is_not_named(fields: dict[str, Any]) -> None:
    assert dead_options(spec(**fields)) == []
