"""The default weight of L_ADV: the same share of exploration at any length, with any discriminator and loss."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from uniapl.batching.batch import Counts, Sequence, collate
from uniapl.objective.adversarial import coefficients
from uniapl.objective.losses import Terms, unified_terms
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.integration

CPU = torch.device("cpu")
EXAMPLES = Path(__file__).parents[3] / "examples"
LOSSES = {
    "dapo": {},
    "grpo": {"loss": "grpo"},
    "dr_grpo": {"loss": "dr_grpo", "scale_rewards": False},
    "gspo": {"loss": "gspo", "clip_low": 3e-4, "clip_high": 4e-4},
}


def spec_of(lambda_adv: float = 1e-3, **blocks: Any) -> JobSpec:
    fields = {"student": "s", "dataset_mix": [{"dataset": "d"}], "alpha": 0, "lambda_adv": lambda_adv}
    return JobSpec.model_validate(fields | blocks)


def rollouts(lengths: list[int], spec: JobSpec, spread: float = 1.0) -> list[Sequence]:
    """A group with advantages of unit spread, and coefficients from scores of the given spread."""
    draw = random.Random(len(lengths))
    scores = torch.tensor([[spread * draw.gauss(0, 1) - 7 * spread for _ in lengths]])
    coefs = coefficients(scores, scale=1.0, options=spec.adversarial)[0].tolist()
    return [
        Sequence([1], [1] * n, advantage=(-1.0) ** i, coef=coef, old_logprobs=[-1.0] * n)
        for i, (n, coef) in enumerate(zip(lengths, coefs, strict=True))
    ]


def token_gradients(spec: JobSpec, sequences: list[Sequence]) -> tuple[Tensor, Tensor]:  # (B, C) each
    """Gradients of L_GRPO and lambda · L_ADV with respect to the tokens' log-probabilities.

    The score functions of sampled tokens are uncorrelated, so norms of these compare as those of the parameters do.
    """
    batch = collate(sequences, pad_id=0, device=CPU)
    logprobs = torch.full(batch.completion_ids.shape, -1.0, requires_grad=True)
    terms: Terms = unified_terms(logprobs, batch, Counts.of(sequences), spec)
    (explored,) = torch.autograd.grad(terms.grpo, logprobs, retain_graph=True)
    (compared,) = torch.autograd.grad(terms.adv, logprobs)
    return explored, spec.weights_at(0).lambda_adv * compared


def share(spec: JobSpec, sequences: list[Sequence]) -> float:
    explored, compared = token_gradients(spec, sequences)
    return (compared.norm() / explored.norm()).item()


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("spread", [0.01, 1.0, 5.0])
def test_the_default_keeps_its_share_at_any_length_and_spread(loss: str, spread: float) -> None:
    spec = spec_of(grpo=LOSSES[loss])
    shares = [share(spec, rollouts([length] * 8, spec, spread)) for length in (16, 64, 256, 1024)]
    assert shares == pytest.approx([0.1] * 4, rel=0.02)


def test_the_share_is_that_of_the_step_where_lengths_differ() -> None:
    spec = spec_of(lambda_adv=1e-2)
    assert share(spec, rollouts([3, 900, 40, 41, 7, 300, 12, 80], spec)) == pytest.approx(1, rel=0.01)


def test_the_literal_reading_grows_with_length() -> None:
    spec = spec_of(adversarial={"aggregate": "seq_sum"})
    short, long = (share(spec, rollouts([length] * 8, spec)) for length in (16, 1024))
    assert long / short == pytest.approx(64, rel=1e-3)


def test_the_default_has_the_direction_of_the_score_function() -> None:
    spec, literal = spec_of(), spec_of(adversarial={"aggregate": "seq_sum"})
    sequences = rollouts([3, 900, 40, 41, 7, 300, 12, 80], spec)
    ours, exact = (token_gradients(s, sequences)[1].flatten() for s in (spec, literal))
    assert_close(torch.nn.functional.cosine_similarity(ours, exact, dim=0), torch.tensor(1.0))


def test_equal_scores_and_rounding_noise_give_no_push() -> None:
    spec = spec_of()
    equal = [replace(s, coef=0.0) for s in rollouts([8] * 4, spec)]
    assert token_gradients(spec, equal)[1].abs().max() == 0
    noise = [replace(s, coef=1e-6 * (-1.0) ** i) for i, s in enumerate(equal)]
    assert share(spec, noise) < 0.1 * 0.02


def test_the_ablation_on_the_teachers_answer_keeps_its_adaptive_weight() -> None:
    options = {"target": "teacher_response", "coef": "sigmoid", "surrogate": "reinforce"}
    far, near = (
        token_gradients(spec_of(adversarial=options), [Sequence([1], [1] * 5, coef=weight)])[1].norm().item()
        for weight in (0.8, 0.2)
    )
    assert far / near == pytest.approx(4)


def test_a_stored_spec_keeps_its_meaning() -> None:
    """Stored specs contain every option of their release; those before `relative` name `seq_sum`."""
    stored = spec_of().model_dump(mode="json")
    stored["adversarial"] = {k: v for k, v in stored["adversarial"].items() if k != "constraint"}
    stored["adversarial"]["aggregate"] = "seq_sum"
    spec = JobSpec.model_validate(stored)
    assert (spec.adversarial.aggregate, spec.lambda_adv, spec.adversarial.coef) == ("seq_sum", 1e-3, "loo")
    assert share(spec, rollouts([100] * 8, spec)) == pytest.approx(0.1, rel=0.5)


def test_the_literal_guess_at_the_paper_stays_what_it_is() -> None:
    given = json.loads((EXAMPLES / "paper_guess.json").read_text())
    options = {"coef": "raw", "surrogate": "reinforce", "coef_clip": None, "aggregate": "seq_sum"}
    assert (given["lambda_adv"], given["adversarial"]) == (0.001, options)
