"""The resource estimate of one job against the live workers: memory, verdict, time, and the reasons in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniapl.errors import MisfitError, SamplerRefusedError
from uniapl.estimate import plan
from uniapl.estimate.ability import takes
from uniapl.estimate.activations import Device
from uniapl.estimate.duration import MeasuredRate, duration, slow_warnings, unmeasured_batches
from uniapl.estimate.libraries import missing_library
from uniapl.estimate.model_shape import PUBLISHED, ModelShape, ShapeUnknown, from_config, read_shape
from uniapl.estimate.placement import place, trainer_room
from uniapl.estimate.positions import Excess, allowed_rows, excess
from uniapl.estimate.resources import GpuRoom
from uniapl.estimate.sampler import choose_sampler, missing_vllm, refused_sampler
from uniapl.estimate.servers import servers_of
from uniapl.estimate.shares import adversarial_share
from uniapl.estimate.tokens import TEMPLATE_TOKENS, Counter
from uniapl.estimate.verdict import Placed, best, device_of, judge, misfit_of
from uniapl.estimate.workload import Entry, Step
from uniapl.run.config import ModelSource
from uniapl.spec.estimate import Bytes, Estimate, Hardware, MemoryEstimate, Verdict
from uniapl.spec.job import JobSpec
from uniapl.spec.teacher import OpenAITeacher

MISFIT_HINT = (
    "lower resources.micro_batch_tokens, rollout.max_new_tokens or rollout.batch_size, train adapters with `lora`, or "
    "choose a smaller student; lower backend.max_model_tokens of a server, or give it a GPU of its own; "
    "POST /jobs/estimate returns the memory of each part"
)


@dataclass(frozen=True)
class JobInputs:
    """A job, with the location of everything that its spec names."""

    spec: JobSpec
    sources: Mapping[str, ModelSource]
    """Each model of the spec, by its name."""
    datasets: Callable[[], Sequence[tuple[Path, int]]]
    """Returns the validated file and the number of rows of each entry of the mix; it may download the files."""
    hub_config: Callable[[ModelSource], Any]
    """Returns the parsed `config.json` of a model on a hub."""

    @property
    def student(self) -> ModelSource:
        """Location of the model that is trained."""
        return self.sources[self.spec.student]

    def shape(self, source: ModelSource) -> ModelShape:
        """The shape of a model on this machine or on a hub.

        Raises:
            ShapeUnknown: its files do not give what is needed.
        """
        return read_shape(source) if source.path or source.hub in PUBLISHED else from_config(self.hub_config(source))

    def beyond_positions(self) -> Excess | None:
        """The sequences beyond the student's positions; `None` where all fit, or where its config is unknown.

        The rows are read only if those that `data` allows do not fit.
        """
        config = self._student_config()
        if excess(self.spec, config, allowed_rows(self.spec)) is None:
            return None
        rows = [
            (entry.role, row.prompt, row.reference or 0) for entry in self.entries() for row in entry.sample.lengths
        ]
        return excess(self.spec, config, rows)

    def _student_config(self) -> Any:
        student = self.student
        if student.path is None:
            return self.hub_config(student)
        try:
            return json.loads((Path(student.path) / "config.json").read_text())
        except (OSError, ValueError):  # GGUF, or a folder that the trainer refuses
            return None

    def models(self) -> plan.Models:
        """The shapes of the models that the trainer loads; raises as `shape`."""
        return plan.read_models(self.spec, self.sources.__getitem__, self.shape)

    def entries(self) -> list[Entry]:
        """The rows of the mix."""
        return plan.read_entries(self.spec, self.student, self.datasets())


def estimate_job(job: JobInputs, hardware: Sequence[Hardware], measured: MeasuredRate | None) -> Estimate:
    """The memory and time of a job, and whether a worker has the memory.

    Args:
        job: the job; its datasets are read.
        hardware: the workers that are alive.
        measured: speed of comparable jobs on these workers, where some have run.
    """
    entries = job.entries()
    spec, memory, verdict, why = _memory(job, entries, hardware)
    usual = plan.usual_step(spec, entries, measured.completion_tokens if measured else None)
    time = duration(spec, usual, lambda: job.shape(job.student), hardware, measured)
    slow = [*slow_warnings(spec, time), *unmeasured_batches(spec, time)]
    return Estimate(
        verdict=verdict,
        reasons=[why, *slow, *_caveats(spec, memory)],
        roles=plan.roles(spec, entries),
        tokens_counted_by="tokenizer" if Counter(job.student).exact else "characters",
        steps=spec.schedule.steps,
        rollouts_per_step=round(len(usual.rollouts) * usual.each),
        tokens_per_step=round(usual.tokens),
        memory=memory,
        hardware=list(hardware),
        time=time,
        adversarial=adversarial_share(spec, _mean_completion(usual)),
    )


def _mean_completion(step: Step) -> float:
    lengths = [rollout.completion for rollout in step.rollouts]
    return sum(lengths) / len(lengths) if lengths else 1.0


def find_refused_sampler(job: JobInputs, hardware: Sequence[Hardware]) -> SamplerRefusedError | None:
    """The error for a job whose sampler every worker refuses that could claim it; see `refused_sampler`."""
    return refused_sampler(job.spec, job.sources.__getitem__, hardware, job.shape)


def find_misfit(job: JobInputs, hardware: Sequence[Hardware]) -> MisfitError | None:
    """The error for a job that not even the best of some workers, at least one, can hold at its lowest.

    Raises:
        ShapeUnknown: the size of a model is unknown.
    """
    models = job.models()
    entries = job.entries()

    def least(spec: JobSpec, device: Device, room: GpuRoom | None) -> Bytes:
        size = plan.least(spec, models, entries, device, room)
        return Bytes(low=size, expected=size, high=size)

    lacking = misfit_of(best([run.placed for run in _runs(job, models, _able(job, hardware), least)])[1])
    return lacking and MisfitError(f"the job does not fit: {lacking[1]}", param=lacking[0], hint=MISFIT_HINT)


@dataclass(frozen=True)
class _Run:
    """The job on one worker."""

    spec: JobSpec
    """With the sampler that this worker chooses."""
    room: GpuRoom | None
    """Memory of the trainer's GPU; `None` on a CPU."""
    placed: Placed


_Need = Callable[[JobSpec, Device, GpuRoom | None], Bytes]


def _runs(job: JobInputs, models: plan.Models, workers: Sequence[Hardware], need: _Need) -> list[_Run]:
    """The job on each worker; `need` returns the memory of its trainer, and is called once per kind of worker."""
    needs: dict[tuple[bool, Device, GpuRoom | None], Bytes] = {}
    runs = []
    for worker in workers:
        spec = choose_sampler(job.spec, job.sources.__getitem__, worker, job.shape).spec
        servers = servers_of(spec, job.sources.__getitem__, read_shape)
        kind = ("rollout" in spec.servers, device_of(worker), trainer_room(worker, servers))
        if kind not in needs:
            needs[kind] = need(spec, *kind[1:])
        placed = place(worker, needs[kind], servers, resting=plan.resting_memory(spec, models))
        runs.append(_Run(spec, kind[2], (worker, placed)))
    return runs


def _able(job: JobInputs, workers: Sequence[Hardware]) -> Sequence[Hardware]:
    """Workers with the servers and libraries that the spec names, which do not refuse its sampler; all if none has."""
    source_of = job.sources.__getitem__
    return [worker for worker in workers if takes(job.spec, source_of, worker, job.shape)] or workers


def _memory(
    job: JobInputs, entries: Sequence[Entry], hardware: Sequence[Hardware]
) -> tuple[JobSpec, MemoryEstimate | None, Verdict, str]:
    """The spec with its sampler on the best worker, its memory there, and the verdict with its reason."""
    spec = job.spec
    try:
        models = job.models()
    except ShapeUnknown as unknown:
        return spec, None, "unknown", f"the size of a model is unknown: {unknown}"
    if not hardware:
        memory = plan.memory(spec, models, entries, "cpu")
        return spec, memory, "unknown", "no worker is alive; the memory is that of a machine without a GPU"

    def trainer(spec: JobSpec, device: Device, room: GpuRoom | None) -> MemoryEstimate:
        return plan.memory(spec, models, entries, device, room)

    runs = _runs(job, models, _able(job, hardware), lambda *run: trainer(*run).total)
    worker, used = best([run.placed for run in runs])
    chosen = next(run for run in runs if run.placed[0] is worker)
    taken = {process: size for gpu in used for process, size in gpu.taken.items() if process != "trainer"}
    memory = trainer(chosen.spec, device_of(worker), chosen.room).model_copy(update={"servers": taken})
    obstacle = missing_vllm(spec, hardware) or missing_library(spec, hardware) or find_refused_sampler(job, hardware)
    if obstacle is not None:
        return chosen.spec, memory, "does_not_fit", f"{obstacle.message}; {obstacle.hint}"
    return chosen.spec, memory, *judge(worker, used)


def _caveats(spec: JobSpec, memory: MemoryEstimate | None) -> list[str]:
    """What the numbers leave out."""
    caveats = [f"the chat template is counted as {TEMPLATE_TOKENS} tokens per prompt"]
    if isinstance(spec.teacher, OpenAITeacher):
        caveats.append("answers that the teacher will write are not included")
    if memory is not None and memory.device == "cpu":
        left_out = [role for role in spec.servers if role not in memory.servers]
        caveats += [f"memory of the {role} server beside the trainer is not included" for role in left_out]
    return caveats
