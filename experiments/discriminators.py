"""Discriminator experiment: UniAPL with each discriminator, and without one."""

from __future__ import annotations

from experiments.experiment import Arm, Experiment, changed
from experiments.weights import LENGTH_DISTANCE, LOGPROB_DISTANCE, REFERENCE_LOGPROB, REWARD, held_out, weighted
from uniapl.errors import SpecError
from uniapl.spec.discriminator import EmbeddingDiscriminator, LearnedDiscriminator
from uniapl.spec.job import JobSpec


def _arms(spec: JobSpec) -> list[Arm]:
    """The spec's discriminator, those that need no further model, and none."""
    spec = held_out(spec)
    if not spec.uses_adv:
        raise SpecError("the experiment compares discriminators in L_ADV; set lambda_adv above 0", param="lambda_adv")
    # A short run must outlast the learned discriminator's warm-up.
    learned = LearnedDiscriminator(warmup_steps=min(10, spec.schedule.steps // 4))
    chosen = {d.type: d for d in (EmbeddingDiscriminator(), learned, spec.discriminator)}
    arms = [Arm(name, changed(spec, discriminator=discriminator)) for name, discriminator in chosen.items()]
    return [*arms, Arm("none", weighted(spec, spec.alpha, 0.0))]


DISCRIMINATORS = Experiment(
    "discriminators",
    "UniAPL with each discriminator the spec can name, and with none",
    _arms,
    (
        REWARD,
        REFERENCE_LOGPROB,
        LENGTH_DISTANCE,
        LOGPROB_DISTANCE,
    ),  # scores of different discriminators are not comparable
    baseline="none",
)
