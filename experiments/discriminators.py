"""Which discriminator anchors best."""

from __future__ import annotations

from experiments.experiment import Arm, Experiment, changed
from experiments.weights import LENGTH_DISTANCE, LOGPROB_DISTANCE, REFERENCE_LOGPROB, REWARD, held_out, weighted
from uniapl.errors import SpecError
from uniapl.spec.discriminator import EmbeddingDiscriminator, LearnedDiscriminator
from uniapl.spec.job import JobSpec


def _arms(spec: JobSpec) -> list[Arm]:
    """The spec's own discriminator, beside it those that need no model of their own, and none."""
    spec = held_out(spec)
    if not spec.uses_adv:
        raise SpecError("without L_ADV the discriminator has no part in training", param="lambda_adv")
    # The learned one's scores count once it is warm; a short run should not be over by then.
    learned = LearnedDiscriminator(warmup_steps=min(10, spec.schedule.steps // 4))
    chosen = {d.type: d for d in (EmbeddingDiscriminator(), learned, spec.discriminator)}
    arms = [Arm(name, changed(spec, discriminator=discriminator)) for name, discriminator in chosen.items()]
    return [*arms, Arm("none", weighted(spec, spec.alpha, 0.0))]


DISCRIMINATORS = Experiment(
    "discriminators",
    "UniAPL with each discriminator the spec can name, and with none",
    _arms,
    (REWARD, REFERENCE_LOGPROB, LENGTH_DISTANCE, LOGPROB_DISTANCE),  # scores of different ones do not compare
    baseline="none",
)
