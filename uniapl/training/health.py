"""Failure signatures: detectors of known training failures in the metrics of every step.

    length_collapse      completions become uniformly shorter or longer than the teacher's answers
    reward_hacking       the reward rises while the discriminator score falls
    instability          the loss, the gradient or the spread of the discriminator's scores jumps
    entropy_collapse     the policy has become nearly deterministic
    no_reward_variance   all answers to a prompt earn the same reward, so that GRPO has no gradient
    truncation           most completions are cut at the length limit
    not_finite           a metric is NaN or infinite

Each check returns a *severity*, 1 at its threshold. A signature begins at 1 and clears at `CLEAR`: with this
hysteresis a run at the threshold is reported once. Thresholds with their reasons are in `uniapl.spec.health`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

from uniapl.spec.health import Health, Signature
from uniapl.training.trend import change, mann_kendall, median_deviation

CLEAR = 0.5
"""Severity at which a signature clears."""
MEAN = ("completions/mean_length", "completions/reference_length")
SPREAD = ("completions/std_length", "completions/reference_std_length")
REWARD, SCORE, SCORE_SPREAD = "reward", "disc/score_student", "disc/score_group_std"
ENTROPY, NO_VARIANCE = "entropy", "frac_reward_zero_std"
CUT = ("completions/clipped_ratio", "completions/max_length")
SPIKING = {"loss": 0.05, "grad_norm": 0.05, SCORE_SPREAD: 0.02}
"""Metrics that may spike, each with its smallest deviation: GRPO losses are near 0, where the median is no scale."""
WEIGHTS = ("uniapl/alpha", "uniapl/lambda_adv")
LEARNED = "disc/version"
"""Metric of a trained discriminator: training it lowers the scores of rollouts, so they are no evidence."""
WATCHED = {*MEAN, *SPREAD, REWARD, SCORE, ENTROPY, NO_VARIANCE, *CUT, *SPIKING, *WEIGHTS}
LENGTH_ADVICE = (
    "Check whether the reward favours one length; raise alpha or lambda_adv, or lower optimizer.learning_rate."
)
FATAL = {"loss", "grad_norm"}
"""Metrics that end the run when they are not finite."""

Step = dict[str, float]


@dataclass(frozen=True)
class Finding:
    """A signature that begins at this step."""

    signature: Signature
    step: int
    message: str
    """The measured values, and the remedies."""
    evidence: dict[str, Any]
    """Statistics, thresholds, and the values behind them; JSON-serialisable."""
    stop: bool
    """Whether the job stops here."""


@dataclass(frozen=True)
class Symptom:
    """The result of a check."""

    severity: float
    message: str
    evidence: dict[str, Any]


class HealthMonitor:
    """Checks each step of a run. Its state is saved in checkpoints, so that a resumed run gives the same findings."""

    def __init__(self, options: Health) -> None:
        self._options = options
        self._steps: list[Step] = []  # watched metrics of the last steps
        self._start: dict[str, float] = {}  # values at the start of the run
        self._active: set[Signature] = set()

    def observe(self, step: int, metrics: Mapping[str, float]) -> list[Finding]:
        """Check the run after a step; checks of absent metrics are skipped.

        Args:
            step: the step that findings name.
            metrics: the step's metrics by name.

        Returns:
            The signatures that begin at this step.
        """
        o = self._options
        watched = WATCHED - {SCORE, SCORE_SPREAD} if LEARNED in metrics else WATCHED
        self._steps.append({name: v for name, v in metrics.items() if name in watched and math.isfinite(v)})
        del self._steps[: -max(o.history + 1, o.window, o.no_variance_steps)]
        symptoms = {signature: check(self._steps, self._start, o) for signature, check in CHECKS.items()}
        symptoms["not_finite"] = not_finite(metrics)
        found = []
        for signature, symptom in symptoms.items():
            if symptom is None:
                continue
            if symptom.severity >= 1 and signature not in self._active:
                self._active.add(signature)
                stop = signature in o.stop_on or bool(FATAL & symptom.evidence.get("metrics", {}).keys())
                found.append(Finding(signature, step, symptom.message, symptom.evidence, stop))
            elif symptom.severity <= CLEAR:
                self._active.discard(signature)
        return found

    def state(self) -> dict[str, Any]:
        """Everything that later findings depend on; JSON-serialisable."""
        return {
            "steps": [dict(step) for step in self._steps],
            "start": dict(self._start),
            "active": sorted(self._active),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a `state`."""
        self._steps = [dict(step) for step in state["steps"]]
        self._start = dict(state["start"])
        self._active = set(state["active"])


def length_collapse(steps: Seq[Step], start: dict[str, float], o: Health) -> Symptom | None:
    """The ratio of the window's mean length to the teacher's leaves the band, or that of the deviations falls below it.

    The band is widened to `CLEAR` times the ratio at the start, since a base model may begin outside. A larger standard
    deviation than the teacher's is no sign: the few references of one step are often about equally long by chance.
    """
    symptoms = [_mean_length(steps, start, o), _length_spread(steps, start, o)]
    return max((s for s in symptoms if s is not None), key=lambda s: s.severity, default=None)


def _mean_length(steps: Seq[Step], start: dict[str, float], o: Health) -> Symptom | None:
    ours, teachers = (values[-o.window :] for values in _series(steps, *MEAN))
    if len(ours) < o.window or sum(teachers) == 0:
        return None
    ratio = sum(ours) / sum(teachers)
    began = start.setdefault("mean_length_ratio", ratio)
    low, high = min(o.length_low, CLEAR * began), max(o.length_high, began / CLEAR)
    return Symptom(
        severity=max(_share(low, ratio), _share(ratio, high)),
        message=f"completions average {statistics.fmean(ours):.4g} tokens over the last {o.window} steps, {ratio:.3g} "
        f"times the teacher's {statistics.fmean(teachers):.4g} (band {low:.3g} to {high:.3g}). {LENGTH_ADVICE}",
        evidence={"ratio": ratio, "low": low, "high": high, "ratio_at_start": began, MEAN[0]: ours, MEAN[1]: teachers},
    )


def _length_spread(steps: Seq[Step], start: dict[str, float], o: Health) -> Symptom | None:
    ours, teachers = (values[-o.window :] for values in _series(steps, *SPREAD))
    if len(ours) < o.window or sum(teachers) == 0:
        return None
    ratio = sum(ours) / sum(teachers)
    began = start.setdefault("length_spread_ratio", ratio)
    low = min(o.length_low, CLEAR * began)
    return Symptom(
        severity=_share(low, ratio),
        message=f"completions have become uniformly long: over the last {o.window} steps the standard deviation of "
        f"their lengths is {statistics.fmean(ours):.4g} tokens, {ratio:.3g} times the teacher's "
        f"{statistics.fmean(teachers):.4g} (threshold {low:.3g}). {LENGTH_ADVICE}",
        evidence={"ratio": ratio, "low": low, "ratio_at_start": began, SPREAD[0]: ours, SPREAD[1]: teachers},
    )


def reward_hacking(steps: Seq[Step], start: dict[str, float], o: Health) -> Symptom | None:
    """Over the history the reward has an upward trend, and the discriminator score a large downward trend."""
    rewards, scores, spreads = (values[-o.history :] for values in _series(steps, REWARD, SCORE, SCORE_SPREAD))
    if len(rewards) < o.history:
        return None
    z_reward, z_score = mann_kendall(rewards), mann_kendall(scores)
    rise, fall, spread = change(rewards), -change(scores), statistics.median(spreads)
    return Symptom(
        severity=min(
            _share(z_reward, o.hacking_z), _share(-z_score, o.hacking_z), _share(fall, o.hacking_fall * spread)
        ),
        message=f"over the last {o.history} steps the reward rose by {rise:.3g} (z = {z_reward:.1f}) while the "
        f"discriminator score fell by {fall:.3g} (z = {z_score:.1f}): answers earn the reward but become less like "
        "the teacher's. Read some samples; raise lambda_adv or alpha, or correct the reward.",
        evidence={
            "reward_change": rise,
            "reward_z": z_reward,
            "score_change": -fall,
            "score_z": z_score,
            "score_spread": spread,
            "threshold_z": o.hacking_z,
            "threshold_fall": o.hacking_fall * spread,
            REWARD: rewards,
            SCORE: scores,
        },
    )


def instability(steps: Seq[Step], start: dict[str, float], o: Health) -> Symptom | None:
    """The loss, the gradient norm or the spread of the discriminator's scores spikes above its history."""
    same = _same_weights(steps)
    symptoms = [_spike(name, _series(same, name)[0], o) for name in SPIKING]
    return max((s for s in symptoms if s is not None), key=lambda s: s.severity, default=None)


def _spike(name: str, values: Seq[float], o: Health) -> Symptom | None:
    """The newest value exceeds the history's median by several deviations, and by twice its upper decile.

    The deviation alone is not enough: where most steps have no gradient it is 0, and every other step would be a spike.
    """
    past = values[-o.history - 1 : -1]
    if len(past) < o.history // 2:
        return None
    value = values[-1]
    center = statistics.median(past)
    deviation = max(median_deviation(past), 0.05 * abs(center), SPIKING[name])
    threshold = max(o.spike_mads * deviation, 2 * (statistics.quantiles(past, n=10)[-1] - center))
    return Symptom(
        severity=_share(value - center, threshold),
        message=f"{name} jumped to {value:.4g}; its median over the {len(past)} steps before was {center:.4g} "
        f"(threshold {center + threshold:.4g}). Lower optimizer.learning_rate or lambda_adv; if the discriminator's "
        "scores vary strongly, lower adversarial.coef_clip.",
        evidence={
            "metric": name,
            "value": value,
            "median": center,
            "deviation": deviation,
            "threshold": center + threshold,
            name: past,
        },
    )


def entropy_collapse(steps: Seq[Step], start: dict[str, float], o: Health) -> Symptom | None:
    """The window's mean entropy is a small share of the first step's entropy."""
    values = _series(steps, ENTROPY)[0]
    if not values:
        return None
    began = start.setdefault(ENTROPY, values[0])
    recent = values[-o.window :]
    if len(recent) < o.window:
        return None
    entropy = statistics.fmean(recent)
    return Symptom(
        severity=_share(o.entropy_low * began, entropy),
        message=f"entropy is {entropy:.3g} nats per token over the last {o.window} steps, from {began:.3g} at the "
        f"start (threshold {o.entropy_low * began:.3g}): the policy is nearly deterministic and no longer "
        "explores. Lower optimizer.learning_rate, raise grpo.clip_high, or set grpo.kl_coef.",
        evidence={
            "entropy_at_start": began,
            "mean": entropy,
            "threshold": o.entropy_low * began,
            ENTROPY: recent,
        },
    )


def no_reward_variance(steps: Seq[Step], start: dict[str, float], o: Health) -> Symptom | None:
    """In each of the last steps, the rewards within every group were equal."""
    shares, rewards = (values[-o.no_variance_steps :] for values in _series(steps, NO_VARIANCE, REWARD))
    if len(shares) < o.no_variance_steps:
        return None
    return Symptom(
        severity=statistics.fmean(share >= 1 for share in shares),
        message=f"for {len(shares)} steps all answers to each prompt earned the same reward (mean "
        f"{statistics.fmean(rewards):.3g}), so that GRPO has no gradient. For rewards near the maximum, use harder "
        "prompts; near 0, use easier prompts or a larger alpha first; or raise grpo.group_size or "
        "rollout.temperature.",
        evidence={"threshold": 1.0, NO_VARIANCE: shares, REWARD: rewards},
    )


def truncation(steps: Seq[Step], start: dict[str, float], o: Health) -> Symptom | None:
    """More than a share of the window's completions was cut at the limit; the window may be incomplete."""
    shares, longest = (values[-o.window :] for values in _series(steps, *CUT))
    if not shares:
        return None
    share = statistics.fmean(shares)
    return Symptom(
        severity=math.nextafter(share, 0.0) / o.truncated_high,  # below 1 at the threshold itself
        message=f"{100 * share:.3g} % of the completions of the last {len(shares)} steps were cut at {longest[-1]:.0f} "
        "tokens, so that unfinished answers are judged. Raise rollout.max_new_tokens; or exclude them with "
        "grpo.truncated 'mask', or shorten answers with reward.overlong_tokens. If finished answers continue with "
        "other text, the student does not emit its end token: check its chat template, or start with a larger alpha.",
        evidence={"mean": share, "threshold": o.truncated_high, CUT[0]: shares},
    )


def not_finite(metrics: Mapping[str, float]) -> Symptom:
    """A metric is NaN or infinite."""
    names = sorted(name for name, value in metrics.items() if not math.isfinite(value))
    return Symptom(
        severity=float(bool(names)),
        message=f"not finite: {', '.join(f'{name} is {metrics[name]}' for name in names)}. Resume from the last "
        "checkpoint with a lower optimizer.learning_rate or lambda_adv, or set adversarial.coef_clip.",
        evidence={"metrics": {name: str(metrics[name]) for name in names}},  # JSON has no NaN
    )


Check = Callable[[Seq[Step], dict[str, float], Health], Symptom | None]
CHECKS: dict[Signature, Check] = {
    "length_collapse": length_collapse,
    "reward_hacking": reward_hacking,
    "instability": instability,
    "entropy_collapse": entropy_collapse,
    "no_reward_variance": no_reward_variance,
    "truncation": truncation,
}


def _series(steps: Seq[Step], *names: str) -> list[list[float]]:
    """Values of each metric, over the steps that have all of them."""
    complete = [step for step in steps if all(name in step for name in names)]
    return [[step[name] for step in complete] for name in names]


def _same_weights(steps: Seq[Step]) -> Seq[Step]:
    """The steps since alpha or lambda_adv last jumped, as at a new stage, where a jump of the loss is expected."""

    def jumped(a: float, b: float) -> bool:
        return abs(a - b) > 0.1 or max(a, b) > 2 * min(a, b)

    for i in range(len(steps) - 1, 0, -1):
        if any(jumped(steps[i - 1].get(name, 0.0), steps[i].get(name, 0.0)) for name in WEIGHTS):
            return steps[i:]
    return steps


def _share(value: float, threshold: float) -> float:
    """`value / threshold` for positive values: 1 at the threshold, 0 for what is not positive, infinite at none."""
    if value <= 0:
        return 0.0
    return value / threshold if threshold > 0 else math.inf
