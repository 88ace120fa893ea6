"""How fast steps were made: from the metrics of earlier jobs like a given one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.tables import Attempt, Job, Metric
from uniapl.spec.job import SPEC_VERSION, JobSpec

JOBS = 20
"""The newest jobs of the same student that are looked at."""
STEP_TIME, TOKENS, LENGTH = "step_time", "num_tokens", "completions/mean_length"


@dataclass(frozen=True)
class Rate:
    """Measured."""

    steps: int
    """Steps that were measured."""
    token_s: float
    """Seconds of a step per token of its sequences."""
    completion_tokens: float | None
    """Mean length of the rollouts."""


def rate(session: Session, spec: JobSpec, hosts: Sequence[str]) -> Rate | None:
    """The rate of earlier jobs of the same student with the same kind of step on these hosts; `None` without any."""
    query = select(Job.id, Job.spec).where(
        Job.spec["student"].as_string() == spec.student, Job.step > 0, Job.spec_version == SPEC_VERSION
    )
    newest = session.execute(query.order_by(Job.created_at.desc()).limit(JOBS)).all()
    like = [job_id for job_id, given in newest if _is_like(given, spec)]
    points = (
        select(Metric.name, func.count(), func.sum(Metric.value))
        .join(Attempt, (Attempt.job_id == Metric.job_id) & (Attempt.fence == Metric.fence))
        .where(Metric.job_id.in_(like), Attempt.host.in_(hosts), Metric.name.in_((STEP_TIME, TOKENS, LENGTH)))
        .group_by(Metric.name)
    )
    sums = {name: (int(count), float(total)) for name, count, total in session.execute(points)}
    steps, seconds = sums.get(STEP_TIME, (0, 0.0))
    _, tokens = sums.get(TOKENS, (0, 0.0))
    sampled, length = sums.get(LENGTH, (0, 0.0))
    if not steps or not tokens:
        return None
    return Rate(steps, seconds / tokens, length / sampled if sampled else None)


def _is_like(given: dict[str, object], spec: JobSpec) -> bool:
    """Whether the steps do the same kind of work: sampling or not, adapters or not, a judge or not, a reference."""
    try:
        other = JobSpec.model_validate(given)
    except ValidationError:
        return False

    def kind(of: JobSpec) -> tuple[bool, bool, str | None, bool]:
        judge = of.discriminator.type if of.uses_discriminator else None
        return of.uses_rollouts, of.lora is None, judge, of.grpo.kl_coef > 0

    return kind(other) == kind(spec)
