"""Options of a job spec that have no effect, with the reason; they are warned of, since defaults are never meant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from uniapl.spec.backend import InProcess, VllmSampler
from uniapl.spec.base import Input
from uniapl.spec.dead_signatures import dead_health
from uniapl.spec.job import JobSpec
from uniapl.spec.requirements import uses_references
from uniapl.spec.teacher import DatasetTeacher

OVERLONG = ("overlong_tokens", "overlong_penalty")
CLIPS = ("clip_low", "clip_high")
DISTRIBUTION = ("temperature", "top_p", "top_k", "min_p")
BASELINES = ("loo", "bt_margin")
NO_GRPO = "L_GRPO has no weight with alpha=1; set alpha below 1"
RAISE_UPDATES = "set grpo.updates_per_rollout to 2 or more"


def dead_options(spec: JobSpec) -> list[str]:
    """A sentence for each option that differs from its default and has no effect: field, reason, remedy."""
    return [
        *_of_the_discriminator(spec),
        *_of_the_adversarial_term(spec),
        *_of_exploration(spec),
        *_of_rewards(spec),
        *_of_the_first_update(spec),
        *_of_sampling(spec),
        *_of_references(spec),
        *_of_the_mix(spec),
        *_of_steps(spec),
        *dead_health(spec),
    ]


def _of_the_discriminator(spec: JobSpec) -> Iterator[str]:
    if not spec.uses_discriminator and spec.discriminator != type(spec).model_fields["discriminator"].default:
        yield (
            "discriminator has no effect: lambda_adv and reward.discriminator_weight are 0, and no evaluation scores; "
            "set one of them, or evaluation.score"
        )
    if spec.evaluation and spec.evaluation.score and _scores_rollouts(spec):
        yield (
            "evaluation.score has no effect: a term uses the discriminator, so held-out answers are scored anyway; "
            "omit it"
        )


def _scores_rollouts(spec: JobSpec) -> bool:
    return spec.uses_adv or spec.reward.discriminator_weight > 0


def _of_the_adversarial_term(spec: JobSpec) -> Iterator[str]:
    options = spec.adversarial
    if not spec.uses_adv:
        used = ["think"] * spec.uses_discriminator
        used += ["score_scale", "max_failed_fraction"] * _scores_rollouts(spec)
        yield from _named("adversarial", options, "lambda_adv is 0; set it above 0", used)
        return
    if options.surrogate == "reinforce":
        why = "surrogate 'reinforce' has no importance ratio; set adversarial.surrogate to 'ppo_clip'"
        yield from _named("adversarial", options, why, only=CLIPS)
    if spec.grpo.group_size > 1 or options.coef not in BASELINES:
        why = "it is the baseline of coef 'loo' and 'bt_margin' for grpo.group_size 1; omit it"
        yield from _named("adversarial", options, why, only=("single_baseline",))
    if (bound := _largest_coefficient(spec)) is not None and (options.coef_clip is None or options.coef_clip >= bound):
        why = f"coef {options.coef!r} is at most {bound:g} in absolute value; use a smaller bound"
        yield from _named("adversarial", options, why, only=("coef_clip",))
    if _scale_cancels(spec):
        why = f"the factor cancels out with coef {options.coef!r} and aggregate {options.aggregate!r}; omit it"
        yield from _named("adversarial", options, why, only=("score_scale",))
    compared = {i for i, entry in enumerate(spec.dataset_mix) if entry.role in spec.compared_roles()}
    if compared == {i for i, entry in enumerate(spec.dataset_mix) if entry.role in ("rl", "both")}:
        why = "the mix has no further rows of that role; give an entry of dataset_mix the role 'sft', or omit it"
        yield from _named("adversarial", options, why, only=("rows",))


def _largest_coefficient(spec: JobSpec) -> float | None:
    """Upper bound of a coefficient before `coef_clip`; that of n whitened ones is Samuelson's inequality."""
    match spec.adversarial.coef:
        case "sigmoid":
            return 1.0
        case "group_whiten":
            return (spec.grpo.group_size - 1) / math.sqrt(spec.grpo.group_size)
        case _:
            return None


def _scale_cancels(spec: JobSpec) -> bool:
    options = spec.adversarial
    if spec.reward.discriminator_weight > 0 or options.constraint is not None:
        return False
    if options.coef == "group_whiten":
        return True
    return options.coef in ("loo", "raw") and options.aggregate == "relative" and options.coef_clip is None


def _of_exploration(spec: JobSpec) -> Iterator[str]:
    grpo = spec.grpo
    if spec.uses_grpo:
        if grpo.kl_coef == 0:
            yield from _named("grpo", grpo, "grpo.kl_coef is 0; set it to a positive weight", only=("kl_estimator",))
        return
    used = ["kl_coef"]
    if spec.uses_rollouts:
        used += ["group_size", "updates_per_rollout"]
        used += ["loss"] * (spec.adversarial.aggregate == "relative")  # L_ADV is relative to that form of L_GRPO
    if grpo.loss == "dr_grpo":
        used.append("scale_rewards")  # which it requires
    yield from _named("grpo", grpo, NO_GRPO, used)


def _of_rewards(spec: JobSpec) -> Iterator[str]:
    options, verified = spec.reward, spec.uses_grpo or _filters(spec)
    if not spec.uses_grpo:
        yield from _named("reward", options, NO_GRPO, only=(*OVERLONG, "max_failed_fraction"))
    elif options.overlong_tokens == 0:
        yield from _named("reward", options, "reward.overlong_tokens is 0; set it", only=OVERLONG)
    if not verified and spec.evaluation is None:
        why = "no term, filter or evaluation verifies answers; set alpha below 1, or evaluation"
        yield from _named("reward", options, why, only=("aggregate", "ifeval", "loose", "processes", "time_limit_s"))
    elif not verified:
        why = "only evaluations verify answers, by the published reading; omit it"
        yield from _named("reward", options, why, only=("ifeval",))


def _filters(spec: JobSpec) -> bool:
    return spec.data.filter_teacher and _reads_references(spec)


def _of_the_first_update(spec: JobSpec) -> Iterator[str]:
    """The importance ratio is 1 in the first update on a rollout, so its bounds do not act."""
    if not spec.uses_rollouts or spec.grpo.updates_per_rollout > 1:
        return
    grpo, adversarial = spec.grpo, spec.adversarial
    why = f"the importance ratio is 1 in the only update on each rollout; {RAISE_UPDATES}"
    if isinstance(spec.rollout.backend, VllmSampler):
        why = (
            "in the only update on each rollout the importance ratio differs from 1 by the precision of the server "
            f"alone, which rollout.max_ratio bounds; {RAISE_UPDATES}"
        )
    if spec.uses_grpo:
        if grpo.loss == "gspo":
            yield f"grpo.loss 'gspo' has no effect beyond 'grpo': {why}"
        yield from _named("grpo", grpo, why, only=CLIPS)
    if spec.uses_adv and adversarial.surrogate == "ppo_clip":
        yield from _named("adversarial", adversarial, why, only=CLIPS)
    elif spec.uses_adv and adversarial.target == "student_rollout" and isinstance(spec.rollout.backend, InProcess):
        yield from _named("adversarial", adversarial, why, only=("surrogate",))


def _of_sampling(spec: JobSpec) -> Iterator[str]:
    options, evaluation = spec.rollout, spec.evaluation
    if not spec.samples:
        yield from _named("rollout", options, "no term and no evaluation samples the student; set evaluation")
        return
    if isinstance(options.backend, VllmSampler):
        yield from _named("rollout", options, "the server batches its requests itself; omit it", only=("batch_size",))
    if isinstance(options.backend, InProcess):
        why = "no server samples; set rollout.backend to {'type': 'vllm'}"
        yield from _named("rollout", options, why, only=("sync_s",))
    if not spec.uses_rollouts and evaluation is not None and evaluation.profile_completions == 0:
        why = "evaluations answer greedily; set evaluation.profile_completions"
        yield from _named("rollout", options, why, only=DISTRIBUTION)
    if (missing := _why_no_ratio(spec)) is not None:
        yield from _named("rollout", options, missing, only=("max_ratio",))


def _why_no_ratio(spec: JobSpec) -> str | None:
    """Why no importance weight can reach `rollout.max_ratio`."""
    if not spec.uses_rollouts:
        return "no term samples the student; omit it"
    if not spec.uses_grpo and spec.adversarial.surrogate == "reinforce":
        return "surrogate 'reinforce' has no importance ratio; set adversarial.surrogate to 'ppo_clip'"
    if isinstance(spec.rollout.backend, InProcess) and spec.grpo.updates_per_rollout == 1:
        return f"the importance ratio is 1 in the only update on each rollout; {RAISE_UPDATES}"
    return None


def _reads_references(spec: JobSpec) -> bool:
    return any(uses_references(spec, entry.role) for entry in spec.dataset_mix)


def _of_references(spec: JobSpec) -> Iterator[str]:
    data = spec.data
    if not _reads_references(spec):
        why = "no term reads references; set alpha, lambda_adv or reward.discriminator_weight above 0"
        yield from _named("data", data, why, only=("filter_teacher",))
        if spec.evaluation is None:
            yield from _named("data", data, why, only=("max_reference_tokens",))
            if not isinstance(spec.teacher, DatasetTeacher):
                yield f"teacher has no effect: {why}"
    if not spec.uses_sft:
        why = "L_SFT has no weight with alpha=0; set alpha above 0"
        yield from _named("data", data, why, only=("trained_turns",))


def _of_the_mix(spec: JobSpec) -> Iterator[str]:
    weights = [entry.weight for entry in spec.dataset_mix]
    if len(weights) == 1 and weights[0] != 1:
        yield "dataset_mix.0.weight has no effect: weights are relative to other entries, and there is none; omit it"
    elif weights[0] != 1 and len(set(weights)) == 1:
        yield f"dataset_mix.0.weight has no effect: all entries have the weight {weights[0]:g}; omit it"


def _of_steps(spec: JobSpec) -> Iterator[str]:
    schedule = spec.schedule
    if spec.evaluation is None:
        yield from _named("schedule", schedule, "there is no `evaluation`; set it", only=("eval_every",))
    saved = -(-schedule.steps // schedule.checkpoint_every)
    if saved <= 2:
        why = f"the run saves {saved} checkpoint{'s' * (saved > 1)} in all; lower schedule.checkpoint_every"
        yield from _named("schedule", schedule, why, only=("keep_checkpoints",))
    warmup, steps = spec.optimizer.warmup_steps, schedule.steps
    if warmup >= steps:
        yield (
            f"optimizer.learning_rate is never reached: optimizer.warmup_steps={warmup} is not less than "
            f"schedule.steps={steps}; lower it"
        )
    if steps - warmup <= 1:
        why = f"no step follows the peak, with {steps} steps and {warmup} of warm-up; raise schedule.steps"
        yield from _named("optimizer", spec.optimizer, why, only=("decay",))


def _named(
    section: str, options: Input, why: str, used: Iterable[str] = (), *, only: Iterable[str] | None = None
) -> Iterator[str]:
    """A sentence for each option that is not in `used` and differs from its default; `only` limits them."""
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        if name in used or (only is not None and name not in only) or value == field.default:
            continue
        yield f"{section}.{name} has no effect: {why}"
