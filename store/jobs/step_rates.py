"""Measured step times, from the metrics of a job itself or of earlier similar jobs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

from pydantic import ValidationError
from sqlalchemy import Row, Text, cast, func, select
from sqlalchemy.orm import Session

from store.tables import Attempt, Job, Metric
from uniapl.spec.job import SPEC_VERSION, JobSpec

JOBS = 20
"""Newest jobs per student that are considered."""
RECENT = 20
"""Latest steps of a job that are considered."""
STEP_TIME, TOKENS, LENGTH = "step_time", "num_tokens", "completions/mean_length"


@dataclass(frozen=True)
class Rate:
    """A measured rate."""

    steps: int
    """Number of measured steps."""
    token_s: float
    """Seconds of a step per token of its updates."""
    completion_tokens: float | None
    """Mean length of the rollouts."""


def rate(session: Session, spec: JobSpec, hosts: Sequence[str]) -> Rate | None:
    """The rate of earlier jobs with the same student and kind of step on these hosts; `None` without any."""
    like = [job_id for job_id, other in _made(session, {spec.student}) if _kind(other) == _kind(spec)]
    made = _sums(session, like, hosts)
    (steps, seconds), (_, tokens), (sampled, length) = (
        _added(row for row in made if row.name == name) for name in (STEP_TIME, TOKENS, LENGTH)
    )
    if not steps or not tokens:
        return None
    return Rate(steps, seconds / tokens, length / sampled if sampled else None)


def measured_step_s(session: Session, job_ids: Collection[str]) -> dict[str, float]:
    """Seconds per step by job: the median of its latest steps; jobs without a step are omitted."""
    points: dict[str, list[float]] = defaultdict(list)
    query = select(Metric.job_id, Metric.value).join(Job, Job.id == Metric.job_id)
    recent = query.where(Metric.job_id.in_(job_ids), Metric.name == STEP_TIME, Metric.step > Job.step - RECENT)
    for job_id, value in session.execute(recent):
        points[job_id].append(value)
    return {job_id: median(values) for job_id, values in points.items()}


def of_twins(session: Session, specs: Mapping[str, JobSpec], hosts: Sequence[str]) -> dict[str, float]:
    """Seconds per step of jobs that have made none: the mean of earlier jobs whose steps do the same work."""
    works = {job_id: _work(spec) for job_id, spec in specs.items()}
    twins = {
        job_id: work
        for job_id, spec in _made(session, {spec.student for spec in specs.values()})
        if (work := _work(spec)) in works.values()
    }
    made = [row for row in _sums(session, twins, hosts) if row.name == STEP_TIME]
    sums = {work: _added(row for row in made if twins[row.job_id] == work) for work in set(twins.values())}
    known = {work: total / points for work, (points, total) in sums.items() if points}
    return {job_id: known[work] for job_id, work in works.items() if work in known}


def _made(session: Session, students: Collection[str]) -> Iterable[tuple[str, JobSpec]]:
    """The newest jobs of these students that have made steps and have a readable spec."""
    query = select(Job.id, cast(Job.spec, Text)).where(
        Job.step > 0, Job.spec_version == SPEC_VERSION, Job.spec["student"].as_string().in_(students)
    )
    for job_id, given in session.execute(query.order_by(Job.created_at.desc()).limit(JOBS * len(students))):
        try:
            yield job_id, _read(given)
        except ValidationError:
            continue


@lru_cache(maxsize=1024)
def _read(spec: str) -> JobSpec:
    """Cached: clients that poll a job request the same earlier ones repeatedly."""
    return JobSpec.model_validate_json(spec)


def _sums(session: Session, job_ids: Collection[str], hosts: Sequence[str]) -> Sequence[Row[str, str, int, float]]:
    """Count and sum of the points measured on these hosts, per job and metric."""
    columns = (Metric.job_id, Metric.name, func.count().label("points"), func.sum(Metric.value).label("total"))
    query = select(*columns).join(Attempt, (Attempt.job_id == Metric.job_id) & (Attempt.fence == Metric.fence))
    wanted = (Metric.job_id.in_(job_ids), Attempt.host.in_(hosts), Metric.name.in_((STEP_TIME, TOKENS, LENGTH)))
    return session.execute(query.where(*wanted).group_by(Metric.job_id, Metric.name)).all()


def _added(rows: Iterable[Row[str, str, int, float]]) -> tuple[int, float]:
    found = list(rows)
    return sum(row.points for row in found), sum(row.total for row in found)


def _kind(spec: JobSpec) -> tuple[str | None, bool, str | None, bool, bool, int, int, str]:
    """Kind of step; steps of one kind do the same work per token: sampler, adapters, discriminator, reference policy,
    updates and further batches per batch of rollouts, optimizer."""
    backend = spec.rollout.backend
    sampler = (backend.type if backend else "default") if spec.uses_rollouts else None
    judge = spec.discriminator.type if spec.uses_discriminator else None
    models = sampler, spec.lora is None, judge, spec.loads_discriminator, spec.grpo.kl_coef > 0
    updates = spec.grpo.updates_per_rollout if spec.uses_rollouts else 1
    return *models, updates, spec.grpo.extra_batches if spec.uses_grpo else 0, spec.optimizer.moments


def _work(spec: JobSpec) -> str:
    """The parts of a spec that determine the work of one step, as text for comparison."""
    parts = {"student", "dataset_mix", "rollout", "discriminator", "lora", "data", "resources"}
    sizes = {"grpo": {"group_size"}, "schedule": {"prompts_per_step"}}
    same = spec.model_dump_json(include={**dict.fromkeys(parts, True), **sizes})
    return f"{_kind(spec)} {spec.uses_sft} {same}"
