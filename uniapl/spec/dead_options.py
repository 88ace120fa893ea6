"""Options of a job spec that have no effect, with the reason; they are warned of, since defaults are never meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from uniapl.spec.backend import InProcess, VllmSampler
from uniapl.spec.base import Input
from uniapl.spec.job import JobSpec

SCORED = ("think", "score_scale", "max_failed_fraction")
"""Options of `adversarial` that apply to every score, also where L_ADV has no weight."""
OVERLONG = ("overlong_tokens", "overlong_penalty")
SERVER_ONLY = ("sync_s",)
BASELINES = ("loo", "bt_margin")


def dead_options(spec: JobSpec) -> list[str]:
    """A sentence for each option that differs from its default and has no effect."""
    return [
        *_of_terms_without_weight(spec),
        *_of_the_first_update(spec),
        *_of_sampling(spec),
        *_of_steps(spec),
    ]


def _of_terms_without_weight(spec: JobSpec) -> Iterator[str]:
    if not spec.uses_discriminator and spec.discriminator != type(spec).model_fields["discriminator"].default:
        yield "discriminator has no effect: lambda_adv and reward.discriminator_weight are 0, and no evaluation scores"
    if not spec.uses_adv:
        scored = SCORED if spec.uses_discriminator else ()
        yield from _named("adversarial", spec.adversarial, "lambda_adv is 0", scored)
    if not spec.uses_grpo:
        used = ("group_size", "updates_per_rollout") if spec.uses_rollouts else ()
        yield from _named("grpo", spec.grpo, "L_GRPO has no weight with alpha=1", (*used, "kl_coef"))
        yield from _named("reward", spec.reward, "L_GRPO has no weight with alpha=1", only=OVERLONG)
    elif spec.reward.overlong_tokens == 0:
        yield from _named("reward", spec.reward, "reward.overlong_tokens is 0", only=OVERLONG)


def _of_the_first_update(spec: JobSpec) -> Iterator[str]:
    """The importance ratio is 1 in the first update on a rollout, so its bounds do not act."""
    if not spec.uses_rollouts or spec.grpo.updates_per_rollout > 1:
        return
    why = "the importance ratio is 1 in the only update on each rollout; set grpo.updates_per_rollout to 2 or more"
    if spec.uses_grpo:
        if spec.grpo.loss == "gspo":
            yield f"grpo.loss 'gspo' equals 'grpo': {why}"
        yield from _named("grpo", spec.grpo, why, only=("clip_low", "clip_high"))
    if spec.uses_adv:
        yield from _named("adversarial", spec.adversarial, why, only=("clip_low", "clip_high"))
    if isinstance(spec.rollout.backend, InProcess):
        yield from _named("rollout", spec.rollout, why, only=("max_ratio",))


def _of_sampling(spec: JobSpec) -> Iterator[str]:
    if not spec.samples:
        yield from _named("rollout", spec.rollout, "no term and no evaluation samples the student")
        return
    if isinstance(spec.rollout.backend, VllmSampler):
        yield from _named("rollout", spec.rollout, "the server batches its requests itself", only=("batch_size",))
    if isinstance(spec.rollout.backend, InProcess):
        yield from _named("rollout", spec.rollout, "no server samples", only=SERVER_ONLY)
    if spec.uses_adv and (spec.grpo.group_size > 1 or spec.adversarial.coef not in BASELINES):
        why = "it is the baseline of coef 'loo' and 'bt_margin' for grpo.group_size 1"
        yield from _named("adversarial", spec.adversarial, why, only=("single_baseline",))


def _of_steps(spec: JobSpec) -> Iterator[str]:
    if spec.evaluation is None:
        yield from _named("schedule", spec.schedule, "there is no `evaluation`", only=("eval_every",))
    warmup, steps = spec.optimizer.warmup_steps, spec.schedule.steps
    if warmup >= steps:
        yield (
            f"optimizer.learning_rate is never reached: optimizer.warmup_steps={warmup} is not less than "
            f"schedule.steps={steps}"
        )


def _named(
    section: str, options: Input, why: str, used: Iterable[str] = (), *, only: Iterable[str] | None = None
) -> Iterator[str]:
    """A sentence for each option that is not in `used` and differs from its default; `only` limits them."""
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        if name in used or (only is not None and name not in only) or value == field.default:
            continue
        yield f"{section}.{name} has no effect: {why}"
