"""Behaviour profile: the distributions of the student's answers compared with the teacher's.

On held-out prompts, the two analyses of arXiv:2509.25148:

    length             tokens per answer: the student's sampled answers, the teacher's references
    log-probability    nats per token under the policy: of its own samples, and of the teacher's answers

Each pair of distributions has a Wasserstein-1 distance: the area between the two cumulative curves, in the unit of the
axis. Both distances fall to the level of sampling noise as the student's behaviour approaches the teacher's.

    profile/step-00000010.json    one measurement (`Profile`)
    profile/profile.png           plot of the first, a middle and the last measurement
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence as Seq
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from uniapl.errors import DivergedError
from uniapl.run import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LOGPROBS_KEPT = 4000
"""Token log-probabilities stored per distribution; distances and quantiles use all of them."""
PICTURE = "profile.png"


class Behaviour(BaseModel):
    """The distributions of one author's answers."""

    model_config = ConfigDict(frozen=True)

    lengths: list[int]
    """Tokens of each answer, end token included."""
    length_quantiles: dict[str, float]
    """Tokens, by `p05` … `p95`."""
    logprobs: list[float]
    """Log-probabilities of the answers' tokens under the policy, in nats, ascending; evenly thinned."""
    logprob_quantiles: dict[str, float]
    """Nats, by `p05` … `p95`."""
    logprob_mean: float
    """Nats per token."""


class Profile(BaseModel):
    """One comparison of the student with the teacher."""

    model_config = ConfigDict(frozen=True)

    step: int
    """Updates so far."""
    student: Behaviour
    teacher: Behaviour
    length_distance: float
    """Wasserstein-1, in tokens."""
    length_ratio: float
    """The student's mean length over the teacher's."""
    logprob_distance: float
    """Wasserstein-1, in nats."""

    def metrics(self) -> dict[str, float]:
        """Metrics named `profile/…`: distances, the student's lengths in tokens, mean log-probabilities in nats."""
        return {
            "profile/length_distance": self.length_distance,
            "profile/length_ratio": self.length_ratio,
            "profile/student_length_p50": self.student.length_quantiles["p50"],
            "profile/student_length_p95": self.student.length_quantiles["p95"],
            "profile/logprob_distance": self.logprob_distance,
            "profile/student_logprob_mean": self.student.logprob_mean,
            "profile/teacher_logprob_mean": self.teacher.logprob_mean,
        }


def measure(
    step: int,
    student_lengths: Seq[int],
    teacher_lengths: Seq[int],
    student_logprobs: Seq[float],
    teacher_logprobs: Seq[float],
) -> Profile:
    """Compare answers to the same held-out prompts; none of the lists may be empty.

    Args:
        step: updates so far.
        student_lengths: tokens of each sampled answer, end token included.
        teacher_lengths: tokens of each reference, end token included.
        student_logprobs: nats under the policy, of all tokens that it sampled.
        teacher_logprobs: nats under the policy, of all the references' tokens; at the same temperature.

    Raises:
        DivergedError: a log-probability is not finite.
    """
    if not all(map(math.isfinite, [*student_logprobs, *teacher_logprobs])):
        raise DivergedError(
            f"step {step}: log-probabilities of held-out tokens are not finite",
            param="optimizer.learning_rate",
            hint="lower optimizer.learning_rate or lambda_adv, or set adversarial.coef_clip",
        )
    return Profile(
        step=step,
        student=_behaviour(student_lengths, student_logprobs),
        teacher=_behaviour(teacher_lengths, teacher_logprobs),
        length_distance=wasserstein(student_lengths, teacher_lengths),
        length_ratio=float(np.mean(student_lengths) / np.mean(teacher_lengths)),
        logprob_distance=wasserstein(student_logprobs, teacher_logprobs),
    )


def wasserstein(a: Seq[float], b: Seq[float]) -> float:
    """Wasserstein-1 of two empirical distributions, which may differ in size: the integral of |F_a - F_b|."""
    points = np.sort([*a, *b])
    F_a, F_b = (np.searchsorted(np.sort(values), points[:-1], side="right") / len(values) for values in (a, b))
    return float(np.sum(np.abs(F_a - F_b) * np.diff(points)))


def file_of(folder: Path, step: int) -> Path:
    """Path of the measurement of a step."""
    return folder / f"step-{step:08d}.json"


def save(profile: Profile, folder: Path) -> Path:
    """Write a measurement to `folder` atomically; one of the same step is replaced."""
    path = file_of(folder, profile.step)
    atomic.write(path, profile.model_dump_json().encode())
    return path


def draw(folder: Path) -> Path:
    """Plot the first, the middle and the last measurement in `folder`, with the teacher's curves of the last.

    Cumulative curves need no bin width, to which a few dozen answers would be sensitive, and the area between two
    curves is their distance.
    """
    from matplotlib.figure import Figure  # slow to import

    paths = sorted(folder.glob("step-*.json"))
    chosen = sorted({0, (len(paths) - 1) // 2, len(paths) - 1})
    profiles = [Profile.model_validate_json(paths[i].read_bytes()) for i in chosen]
    teacher = profiles[-1].teacher
    figure = Figure(figsize=(10, 5), dpi=150, layout="constrained")  # pyplot would add global state
    left, right = figure.subplots(1, 2)

    lengths = [(f"student, step {p.step}: {p.length_distance:.3g} tokens apart", p.student.lengths) for p in profiles]
    longest = max(max(values) for values in (teacher.lengths, *(p.student.lengths for p in profiles)))
    _curves(left, ("teacher", teacher.lengths), lengths, span=(0, 1.05 * longest))
    left.set(title="Answer length", xlabel="tokens per answer", ylabel="share of answers at most this long")

    logprobs = [
        (f"student's tokens, step {p.step}: {p.logprob_distance:.3g} nats apart", p.student.logprobs) for p in profiles
    ]
    lowest = min(b.logprob_quantiles["p05"] for p in profiles for b in (p.student, p.teacher))
    teachers = (f"teacher's tokens, policy of step {profiles[-1].step}", teacher.logprobs)
    _curves(right, teachers, logprobs, span=(min(1.3 * lowest, -1.0), 0))
    right.set(
        title="Token log-probability under the policy",
        xlabel="log-probability, nats per token",
        ylabel="share of tokens at most this likely",
    )
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    atomic.write(folder / PICTURE, picture.getvalue())
    return folder / PICTURE


def _behaviour(lengths: Seq[int], logprobs: Seq[float]) -> Behaviour:
    ordered = np.sort(logprobs)
    kept = np.linspace(0, len(ordered) - 1, min(len(ordered), LOGPROBS_KEPT)).round().astype(int)
    return Behaviour(
        lengths=list(lengths),
        length_quantiles=_quantiles(lengths),
        logprobs=ordered[kept].tolist(),
        logprob_quantiles=_quantiles(logprobs),
        logprob_mean=float(np.mean(logprobs)),
    )


def _quantiles(values: Seq[float]) -> dict[str, float]:
    return {f"p{round(q * 100):02d}": float(np.quantile(values, q)) for q in QUANTILES}


def _curves(
    axes: Axes,
    teacher: tuple[str, Seq[float]],
    students: Seq[tuple[str, Seq[float]]],
    *,
    span: tuple[float, float],
) -> None:
    """Draw cumulative curves with labels; later steps are darker and more solid, distinguishable without colour."""
    x, share = _cumulative(teacher[1], span)
    axes.fill_between(x, share, step="post", color="0.92")
    axes.step(x, share, where="post", color="black", linewidth=2.6, label=teacher[0])
    styles = [("#e69f00", (0, (1, 1.2))), ("#56b4e9", (0, (5, 1.5))), ("#0072b2", "solid")][-len(students) :]
    for (label, values), (color, style) in zip(students, styles, strict=True):
        axes.step(*_cumulative(values, span), where="post", color=color, linestyle=style, linewidth=2, label=label)
    axes.set(xlim=span, ylim=(0, 1.02))
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, handlelength=3)


def _cumulative(values: Seq[float], span: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of the empirical distribution function over the whole span."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    share = np.arange(len(ordered) + 1) / len(ordered)
    return np.concatenate([[min(span[0], ordered[0])], ordered, [max(span[1], ordered[-1])]]), np.append(share, 1.0)
