"""Signs of the loss terms: a scripted bandit learns under each term alone and under all together."""

from __future__ import annotations

import pytest
import torch

from uniapl.batching.batch import Counts, Sequence, collate
from uniapl.objective.advantages import group_advantages
from uniapl.objective.adversarial import coefficients
from uniapl.objective.losses import unified_terms
from uniapl.spec.job import JobSpec, MixEntry
from uniapl.spec.objective import Adversarial

pytestmark = pytest.mark.integration

ARMS, GROUP, PROMPTS = 5, 8, 4
REWARDED, CLOSEST, TAUGHT = 1, 2, 3


LITERAL, RELATIVE = Adversarial(aggregate="seq_sum"), Adversarial()


def learn(
    alpha: float, lambda_adv: float, *, demonstrations: bool = True, adversarial: Adversarial = LITERAL
) -> list[float]:
    """Probabilities of the arms after training; rewards, scores and references each favour an arm of their own."""
    torch.manual_seed(0)
    mix = [MixEntry(dataset="d")]
    spec = JobSpec(student="bandit", dataset_mix=mix, alpha=alpha, lambda_adv=lambda_adv, adversarial=adversarial)
    logits = torch.zeros(ARMS, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(60):
        distribution = torch.log_softmax(logits, dim=0)
        arms = torch.multinomial(distribution.exp().detach(), PROMPTS * GROUP, replacement=True).view(PROMPTS, GROUP)
        advantages = group_advantages((arms == REWARDED).float(), scale=True)
        coef = coefficients((arms == CLOSEST).float() * 2 - 9, scale=1.0, options=adversarial)
        sequences = [Sequence([0], [TAUGHT], demonstration=True) for _ in range(PROMPTS * demonstrations)]
        for p in range(PROMPTS):
            for g in range(GROUP):
                arm = int(arms[p, g])
                old = [distribution[arm].item()]
                sequences.append(Sequence([0], [arm], False, float(advantages[p, g]), float(coef[p, g]), old))
        batch = collate(sequences, pad_id=0, device=torch.device("cpu"))
        terms = unified_terms(distribution[batch.completion_ids], batch, Counts.of(sequences), spec)
        optimizer.zero_grad()
        torch.stack(list(terms.weighted(spec.weights_at(0)).values())).sum().backward()
        optimizer.step()
    return torch.softmax(logits, dim=0).tolist()


def test_grpo_alone_finds_the_rewarded_arm() -> None:
    assert learn(alpha=0.0, lambda_adv=0.0)[REWARDED] > 0.9


def test_sft_alone_finds_the_taught_arm() -> None:
    assert learn(alpha=1.0, lambda_adv=0.0)[TAUGHT] > 0.9


@pytest.mark.parametrize(("adversarial", "lambda_adv"), [(LITERAL, 1.0), (RELATIVE, 1e-2)])
def test_the_adversarial_term_alone_finds_the_arm_the_discriminator_prefers(
    adversarial: Adversarial, lambda_adv: float
) -> None:
    assert learn(1.0, lambda_adv, demonstrations=False, adversarial=adversarial)[CLOSEST] > 0.9


def test_the_adversarial_term_holds_its_own_against_imitation() -> None:
    weak = learn(alpha=1.0, lambda_adv=0.0)[CLOSEST]
    anchored = learn(alpha=1.0, lambda_adv=3.0)[CLOSEST]
    assert anchored > 0.5 > weak


@pytest.mark.parametrize(("adversarial", "lambda_adv"), [(LITERAL, 0.5), (RELATIVE, 0.5e-2)])
def test_together_all_three_pull(adversarial: Adversarial, lambda_adv: float) -> None:
    probabilities = learn(alpha=0.5, lambda_adv=lambda_adv, adversarial=adversarial)
    favoured = [probabilities[arm] for arm in (REWARDED, CLOSEST, TAUGHT)]
    assert sum(favoured) > 0.9
    assert min(favoured) > max(probabilities[0], probabilities[4])
