"""Twenty updates of a small model on fixed sequences: the loss curve is the one recorded.

Whatever changes it changes the method. The rollouts stay those of the first policy, so ratios leave 1 and clips act.
Recorded with torch 2.13 on a CPU; to record it anew, print `curve(…)`, and say in the commit why it had to change.
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
RELATIVE_CURVE = [
    9.6825,
    9.397678,
    8.990233,
    8.532207,
    8.000601,
    7.4076,
    6.756732,
    6.060033,
    5.337215,
    4.620439,
    3.957765,
    3.260439,
    2.639282,
    2.071629,
    1.551561,
    1.113952,
    0.756538,
    0.475503,
    0.273552,
    0.155921,
]
"""With the default aggregate."""


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


def curve(policy: Policy, aggregate: str, lambda_adv: float) -> list[float]:
    spec = JobSpec.model_validate(
        {
            "student": "tiny",
            "dataset_mix": [{"dataset": "d"}],
            "alpha": {"type": "cosine", "start": 0.9, "end": 0.05, "steps": 20},
            "lambda_adv": lambda_adv,
            "grpo": {"clip_high": 0.28, "kl_coef": 0.05},
            "adversarial": {"aggregate": aggregate},
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
@pytest.mark.parametrize(
    ("aggregate", "lambda_adv", "recorded"), [("seq_sum", 0.02, CURVE), ("relative", 2e-3, RELATIVE_CURVE)]
)
def test_the_loss_curve_is_the_one_recorded(
    policy: Policy, kind: Any, aggregate: str, lambda_adv: float, recorded: list[float]
) -> None:
    found = curve(replace(policy, layout=Layout(kind)), aggregate, lambda_adv)
    assert found == pytest.approx(recorded, rel=1e-4, abs=1e-5)
