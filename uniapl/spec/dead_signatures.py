"""Options of `health` that have no effect, because the run lacks the metrics or the steps of their detector."""

from __future__ import annotations

from collections.abc import Iterator

from uniapl.spec.health import Health, Signature
from uniapl.spec.job import JobSpec
from uniapl.spec.requirements import uses_references

OPTIONS: dict[Signature, tuple[str, ...]] = {
    "length_collapse": ("length_low", "length_high"),
    "reward_hacking": ("hacking_z", "hacking_fall"),
    "instability": ("spike_mads",),
    "entropy_collapse": ("entropy_low",),
    "no_reward_variance": ("no_variance_steps",),
    "truncation": ("truncated_high",),
}
"""Thresholds of each detector."""
WINDOWED: tuple[Signature, ...] = ("length_collapse", "entropy_collapse", "truncation")
"""Detectors that use `health.window`."""
TRENDS: tuple[Signature, ...] = ("instability", "reward_hacking")
"""Detectors that use `health.history`."""


def dead_health(spec: JobSpec) -> Iterator[str]:
    """A sentence for each threshold that differs from its default, and each `stop_on`, that cannot act."""
    options = spec.health
    dead = {signature: why for signature in OPTIONS if (why := _why_never(spec, signature)) is not None}
    for signature, why in dead.items():
        if signature in options.stop_on:
            yield f"health.stop_on {signature!r} has no effect: {why}"
        yield from _changed(options, OPTIONS[signature], f"{signature} is never detected: {why}")
    for users, name in ((WINDOWED, "window"), (TRENDS, "history")):
        if all(signature in dead for signature in users):
            yield from _changed(options, (name,), f"no detector uses it: {dead[users[0]]}")


def _changed(options: Health, names: tuple[str, ...], why: str) -> Iterator[str]:
    for name in names:
        if getattr(options, name) != type(options).model_fields[name].default:
            yield f"health.{name} has no effect: {why}"


def _why_never(spec: JobSpec, signature: Signature) -> str | None:
    """Why a signature is never detected; `None` if it may be."""
    if (why := _missing_metrics(spec, signature)) is not None:
        return why
    needed, option = _steps(spec.health, signature)
    if needed <= spec.schedule.steps:
        return None
    return f"it needs {needed} steps, and schedule.steps is {spec.schedule.steps}; lower health.{option}"


def _missing_metrics(spec: JobSpec, signature: Signature) -> str | None:
    match signature:
        case "length_collapse" | "entropy_collapse" | "truncation" if not spec.uses_rollouts:
            return "no term samples the student; set alpha below 1 or lambda_adv above 0"
        case "length_collapse" if not _sampled_with_references(spec):
            return "no term reads the references of the sampled rows; set lambda_adv above 0"
        case "no_reward_variance" | "reward_hacking" if not spec.uses_grpo:
            return "no rollout has a reward with alpha=1; set alpha below 1"
        case "reward_hacking" if not (spec.uses_adv or spec.reward.discriminator_weight > 0):
            return "no rollout is scored by the discriminator; set lambda_adv above 0"
        case "reward_hacking" if spec.discriminator.trained:
            return "the scores of a 'learned' discriminator move with its own updates; use another discriminator.type"
        case _:
            return None


def _sampled_with_references(spec: JobSpec) -> bool:
    return any(
        uses_references(spec, entry.role)
        for entry in spec.dataset_mix
        if (spec.uses_grpo and entry.role in ("rl", "both")) or (spec.uses_adv and entry.role in spec.compared_roles())
    )


def _steps(options: Health, signature: Signature) -> tuple[int, str]:
    """Number of steps before the first detection, and the option that sets it."""
    match signature:
        case "length_collapse" | "entropy_collapse":
            return options.window, "window"
        case "reward_hacking":
            return options.history, "history"
        case "instability":
            return options.history // 2 + 1, "history"
        case "no_reward_variance":
            return options.no_variance_steps, "no_variance_steps"
        case _:
            return 1, "window"
