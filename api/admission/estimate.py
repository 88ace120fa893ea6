"""What will a job need, and is there a worker for it? Gathers what the arithmetic of `uniapl.estimate` asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from api.admission import lookup
from api.auth import Caller
from api.deps import Service
from store import workers
from store.artifacts.base import StorageUnavailable
from store.jobs import step_rates
from store.tables import Dataset
from uniapl.errors import MisfitError, SpecError
from uniapl.estimate import plan
from uniapl.estimate.duration import rough_step_s
from uniapl.estimate.model_shape import ModelShape, ShapeUnknown, from_config, read_shape
from uniapl.estimate.placement import place
from uniapl.estimate.servers import servers_of
from uniapl.estimate.tokens import TEMPLATE_TOKENS, Counter
from uniapl.estimate.verdict import best, device_of, judge, misfit_of
from uniapl.estimate.workload import Entry, Step
from uniapl.run.config import ModelSource
from uniapl.spec.backend import InProcess
from uniapl.spec.estimate import Bytes, Estimate, Hardware, MemoryEstimate, TimeEstimate, Verdict
from uniapl.spec.job import JobSpec
from uniapl.spec.teacher import OpenAITeacher

Sources = Mapping[str, ModelSource]
"""Where models are, by their name in the spec."""
HOUR_S = 3600.0
"""A job that takes longer is warned of."""
MISFIT_HINT = (
    "lower resources.micro_batch_tokens, rollout.max_new_tokens or rollout.batch_size, train adapters with `lora`, or "
    "take a smaller student; lower backend.max_model_tokens of a server, or give it a card of its own; "
    "POST /jobs/estimate shows each part"
)


def estimate(caller: Caller, spec: JobSpec, sources: Sources) -> Estimate:
    """Everything that can be said of a job before it is queued.

    Args:
        caller: whose datasets and earlier jobs are looked at.
        spec: the job.
        sources: as `named` finds them.

    Raises:
        SpecError: it names a dataset that is not there.
    """
    service = caller.service
    with caller.reading() as session:
        found = _datasets(session, spec)
        alive = workers.alive(session, service.settings.lease_s)
        measured = step_rates.rate(session, spec, sorted({row.host for row in alive}))
    hardware = [Hardware.model_validate(row) for row in alive]
    entries = plan.read_entries(spec, sources[spec.student], _files(service, found))
    memory, verdict, why = _memory(service, spec, sources, entries, hardware)
    usual = plan.usual_step(spec, entries, measured.completion_tokens if measured else None)
    time = _measured(spec, measured, usual) if measured else _rough(service, spec, sources, usual, hardware)
    return Estimate(
        verdict=verdict,
        reasons=[why, *_slow(spec, time), *_caveats(spec, memory)],
        roles=plan.roles(spec, entries),
        tokens_counted_by="tokenizer" if Counter(sources[spec.student]).exact else "characters",
        steps=spec.schedule.steps,
        rollouts_per_step=round(len(usual.rollouts) * usual.each),
        tokens_per_step=round(usual.tokens),
        memory=memory,
        hardware=hardware,
        time=time,
    )


def misfit(caller: Caller, spec: JobSpec, sources: Sources) -> MisfitError | None:
    """Why not even the largest live worker can hold a job, with the numbers; what is not known counts as fitting.

    Datasets that are not there are left to those who check them. Of many jobs that differ in name and seed only, as
    sweeps do, one is computed.
    """
    service = caller.service
    snapshot = service.worker_cache.get()
    if not snapshot.hardware:
        return None
    known_as = f"{caller.tenant}\n{spec.model_dump_json(exclude={'name', 'seed'})}"
    if known_as in snapshot.fitting:
        return None
    try:
        with caller.reading() as session:
            found = _datasets(session, spec)
        models = plan.read_models(spec, sources.__getitem__, lambda source: _shape(service, source))
        entries = plan.read_entries(spec, sources[spec.student], _files(service, found))
    except (SpecError, ShapeUnknown, OSError, StorageUnavailable):
        return None
    least = {device: plan.least(spec, models, entries, device) for device in {device_of(w) for w in snapshot.hardware}}
    servers = servers_of(spec, sources.__getitem__, read_shape)
    placed = []
    for worker in snapshot.hardware:
        size = least[device_of(worker)]
        placed.append((worker, place(worker, Bytes(low=size, expected=size, high=size), servers)))
    if (lacking := misfit_of(best(placed)[1])) is None:
        snapshot.fitting.add(known_as)
        return None
    return MisfitError(f"the job does not fit: {lacking[1]}", param=lacking[0], hint=MISFIT_HINT)


def _memory(
    service: Service, spec: JobSpec, sources: Sources, entries: Sequence[Entry], hardware: Sequence[Hardware]
) -> tuple[MemoryEstimate | None, Verdict, str]:
    try:
        models = plan.read_models(spec, sources.__getitem__, lambda source: _shape(service, source))
    except ShapeUnknown as unknown:
        return None, "unknown", f"the size of a model is not known: {unknown}"
    if not hardware:
        found = plan.memory(spec, models, entries, "cpu")
        return found, "unknown", "no worker is alive to compare with; the memory is that of a machine without GPU"
    by_device = {device: plan.memory(spec, models, entries, device) for device in {device_of(w) for w in hardware}}
    servers = servers_of(spec, sources.__getitem__, read_shape)
    placed = [(worker, place(worker, by_device[device_of(worker)].total, servers)) for worker in hardware]
    worker, used = best(placed)
    taken = {process: size for card in used for process, size in card.taken.items() if process != "trainer"}
    memory = by_device[device_of(worker)].model_copy(update={"servers": taken})
    return memory, *judge(worker, used)


def _shape(service: Service, source: ModelSource) -> ModelShape:
    if source.hub is not None:
        return from_config(service.registry.hub_config(source))
    return read_shape(source)


def _datasets(session: Session, spec: JobSpec) -> list[Dataset]:
    """Each entry's dataset.

    Raises:
        SpecError: one is not there.
    """
    return [lookup.find_dataset(session, name, param) for param, name in lookup.mixed(spec)]


def _files(service: Service, found: Sequence[Dataset]) -> list[tuple[Path, int]]:
    """Each one's file and rows. They may have to come from the bucket, so no transaction is open."""
    return [(service.artifacts.fetched(dataset.id), dataset.rows) for dataset in found]


def _caveats(spec: JobSpec, memory: MemoryEstimate | None) -> list[str]:
    """What the numbers leave out."""
    told = [f"the chat template counts as {TEMPLATE_TOKENS} tokens a prompt"]
    if isinstance(spec.teacher, OpenAITeacher):
        told.append("answers that the teacher has yet to write are not counted")
    if memory is not None and memory.device == "cpu":
        told += [f"the memory of the {role} server beside the trainer is not counted" for role in spec.servers]
    return told


def _measured(spec: JobSpec, measured: step_rates.Rate, usual: Step) -> TimeEstimate:
    step_s = measured.token_s * usual.tokens
    basis = f"measured on {measured.steps} steps of jobs like it, by tokens"
    return TimeEstimate(step_s=step_s, total_s=step_s * spec.schedule.steps, basis=basis)


def _rough(
    service: Service, spec: JobSpec, sources: Sources, usual: Step, hardware: Sequence[Hardware]
) -> TimeEstimate:
    if not hardware:
        return _unknown("no worker is alive")
    if spec.uses_rollouts and not isinstance(spec.rollout.backend, InProcess):
        return _unknown("no job like it has run on the workers that are alive, and a server samples")
    try:
        step_s, basis = rough_step_s(_shape(service, sources[spec.student]), usual, hardware)
    except ShapeUnknown as unknown:
        return _unknown(f"no job like it has run on the workers that are alive, and {unknown}")
    return TimeEstimate(step_s=step_s, total_s=step_s * spec.schedule.steps, basis=basis, rough=True)


def _unknown(why: str) -> TimeEstimate:
    return TimeEstimate(step_s=None, total_s=None, basis=f"unknown: {why}")


def _slow(spec: JobSpec, time: TimeEstimate) -> list[str]:
    """A warning of a job that takes more than an hour."""
    if time.total_s is None or time.total_s <= HOUR_S:
        return []
    lower = ["schedule.steps", "schedule.prompts_per_step"]
    lower += ["grpo.group_size", "rollout.max_new_tokens"] if spec.uses_rollouts else []
    hours = f"{time.total_s / HOUR_S:,.1f} hours"
    return [f"this spec needs about {hours} on the live workers ({time.basis}); to shorten it lower {', '.join(lower)}"]
