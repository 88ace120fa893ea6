"""Twenty updates of a small model on fixed sequences: the loss curve is the one recorded.

Whatever changes it changes the method. The rollouts stay those of the first policy, so ratios leave 1 and clips act.
Recorded with torch 2.13 on a CPU; to record it anew, print `curve(policy)`, and say in the commit why it had to change.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.uniapl.packed import one_pack
from uniapl.batching.batch import Sequence
from uniapl.batching.packing import Layout
from uniapl.model.logprobs import completion_logprobs
from uniapl.model.policy import Policy, Reference
from uniapl.spec.job import JobSpec
from uniapl.training.learner import Learner

pytestmark = pytest.mark.integration

CURVE = [
    9.658308,
    9.361585,
    8.949675,
    8.493121,
    7.961892,
    7.369681,
    6.723906,
    6.027164,
    5.308304,
    4.597272,
    3.900589,
    3.237862,
    2.599961,
    2.049657,
    1.522398,
    1.075103,
    0.723028,
    0.431064,
    0.247371,
    0.112564,
]


def fixed_sequences(policy: Policy) -> list[Sequence]:
    draw = random.Random(0)

    def ids(length: int) -> list[int]:
        return [draw.randrange(1000) for _ in range(length)]

    sequences = [Sequence(ids(5), ids(4 + i), demonstration=True) for i in range(3)]
    for i in range(8):
        bare = Sequence(ids(3 + i % 3), ids(3 + i), old_logprobs=[0.0] * (3 + i))
        with torch.no_grad():
            logprobs, _ = completion_logprobs(policy.model, one_pack([bare]), temperature=0.8)
        sequences.append(
            Sequence(
                bare.prompt_ids,
                bare.completion_ids,
                advantage=draw.gauss(0, 1),
                coef=draw.gauss(0, 3),
                old_logprobs=logprobs[0].tolist(),
            )
        )
    return sequences


def curve(policy: Policy) -> list[float]:
    spec = JobSpec.model_validate(
        {
            "student": "tiny",
            "dataset_mix": [{"dataset": "d"}],
            "alpha": {"type": "cosine", "start": 0.9, "end": 0.05, "steps": 20},
            "lambda_adv": 0.02,
            "grpo": {"clip_high": 0.28, "kl_coef": 0.05},
            "rollout": {"temperature": 0.8, "max_ratio": 1e6},  # the first policy's rollouts serve for all steps
            "optimizer": {"learning_rate": 2e-3, "warmup_steps": 3},
            "resources": {"micro_batch_tokens": 40},
        }
    )
    start = {name: value.clone() for name, value in policy.model.state_dict().items()}
    frozen = type(policy.model)(policy.model.config).eval()
    frozen.load_state_dict(start)
    learner = Learner(policy, spec, Reference(frozen, adapted=False))
    sequences = fixed_sequences(policy)
    return [learner.update(sequences, step, measure_terms=step % 7 == 0)["loss"] for step in range(20)]


@pytest.mark.parametrize("kind", ["plain", "trees"])
def test_the_loss_curve_is_the_one_recorded(policy: Policy, kind: Any) -> None:
    assert curve(replace(policy, layout=Layout(kind))) == pytest.approx(CURVE, rel=1e-4, abs=1e-5)
