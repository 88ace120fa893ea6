"""Selection of a job's sampler on one worker: a vLLM server where the worker can start one, else the trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from uniapl.errors import SamplerRefusedError, VllmMissingError
from uniapl.estimate import plan
from uniapl.estimate.model_shape import ModelShape, ShapeUnknown, read_shape
from uniapl.estimate.placement import place, trainer_room
from uniapl.estimate.servers import servers_of
from uniapl.estimate.verdict import device_of, misfit_of
from uniapl.run.config import ModelSource
from uniapl.spec.backend import VLLM_LORA_RANK, InProcess
from uniapl.spec.estimate import Hardware
from uniapl.spec.job import JobSpec

Sources = Callable[[str], ModelSource]
"""Source of each model, by its name in the spec."""


@dataclass(frozen=True)
class SamplerChoice:
    """A spec whose sampler is resolved."""

    spec: JobSpec
    """The spec with a `rollout.backend`."""
    reason: str
    """Why this sampler was chosen."""


def choose_sampler(
    spec: JobSpec, source_of: Sources, worker: Hardware, read: Callable[[ModelSource], ModelShape] = read_shape
) -> SamplerChoice:
    """The spec as this worker runs it; a sampler that the spec names is kept.

    Args:
        spec: the job.
        source_of: the sources of its models.
        worker: the worker's hardware and vLLM.
        read: returns the shape of a model; may raise `ShapeUnknown`.
    """
    if spec.rollout.backend is not None:
        return SamplerChoice(spec, "rollout.backend of the spec")
    obstacle = _obstacle(spec, source_of, worker, read)
    return SamplerChoice(
        spec.with_backend(vllm=obstacle is None), obstacle or f"the worker has a GPU and vLLM {worker.vllm}"
    )


def refuses_sampler(
    spec: JobSpec, source_of: Sources, worker: Hardware, read: Callable[[ModelSource], ModelShape] = read_shape
) -> bool:
    """Whether a spec names the trainer's process as sampler, where this worker would choose a vLLM server.

    On a GPU the host launches about 1,600 kernels per token of that sampler, and the GPU waits for it. Arguments as
    those of `choose_sampler`.
    """
    if not isinstance(spec.rollout.backend, InProcess):
        return False
    chosen = spec.model_copy(update={"rollout": spec.rollout.model_copy(update={"backend": None})})
    return _obstacle(chosen, source_of, worker, read) is None


def refused_sampler(
    spec: JobSpec,
    source_of: Sources,
    workers: Sequence[Hardware],
    read: Callable[[ModelSource], ModelShape] = read_shape,
) -> SamplerRefusedError | None:
    """The error for a spec whose sampler each of at least one worker refuses that has the vLLM of its other servers."""
    able = [worker for worker in workers if has_servers(spec, worker)]
    if not able or not all(refuses_sampler(spec, source_of, worker, read) for worker in able):
        return None
    return SamplerRefusedError(
        "rollout.backend is 'transformers', and every live worker has a GPU and vLLM, which samples this student "
        "several times faster",
        param="rollout.backend",
        hint="leave rollout.backend out: the worker then samples by its vLLM server",
    )


def vllm_obstacle(spec: JobSpec, student: ModelSource) -> str | None:
    """Why a vLLM server cannot sample from this student as the spec demands; `None` where no reason is known."""
    if spec.rollout.truncates and spec.rollout.temperature != 1:
        return (
            "with rollout.top_p, top_k or min_p, vLLM returns log-probabilities of the whole distribution at "
            f"rollout.temperature 1 only, not at {spec.rollout.temperature:g}"
        )
    if spec.lora is None:
        return None
    if student.gguf is not None:
        return "vLLM cannot add adapters to a student in a GGUF file"
    if spec.lora.rank > VLLM_LORA_RANK:
        return f"vLLM serves adapters up to rank {VLLM_LORA_RANK}, and lora.rank is {spec.lora.rank}"
    return None


def has_servers(spec: JobSpec, worker: Hardware) -> bool:
    """Whether a worker can start the vLLM servers that the spec names."""
    return not spec.servers or worker.vllm is not None


def missing_vllm(spec: JobSpec, workers: Sequence[Hardware]) -> VllmMissingError | None:
    """The error for a spec that names a vLLM server which none of at least one worker can start."""
    if not workers or any(has_servers(spec, worker) for worker in workers):
        return None
    param = f"{next(iter(spec.servers))}.backend"
    return VllmMissingError(
        f"{param} needs a vLLM server, and no live worker has vLLM",
        param=param,
        hint=f"remove {param} to run the model in the trainer's process, or have the operator start a worker with vLLM "
        "(UNIAPL_VLLM_COMMAND, docs/vllm.md)",
    )


def _obstacle(
    spec: JobSpec, source_of: Sources, worker: Hardware, read: Callable[[ModelSource], ModelShape]
) -> str | None:
    if not spec.uses_rollouts:
        return "no term of the job samples rollouts"
    if not worker.gpus:
        return "the worker has no GPU"
    if worker.vllm is None:
        return "the worker has no vLLM"
    if (unsupported := vllm_obstacle(spec, source_of(spec.student))) is not None:
        return unsupported
    if not _fits(spec.with_backend(vllm=True), source_of, worker, read):
        return "the GPU's memory does not hold the trainer and a vLLM server"
    return None


def _fits(served: JobSpec, source_of: Sources, worker: Hardware, read: Callable[[ModelSource], ModelShape]) -> bool:
    """Whether trainer and servers fit at their lowest, with the longest rows; unknown sizes count as fitting."""
    servers = servers_of(served, source_of, read)
    try:
        models = plan.read_models(served, source_of, read)
    except ShapeUnknown:
        return True
    room = trainer_room(worker, servers)
    trainer = plan.memory(served, models, plan.longest(served), device_of(worker), room)
    resting = plan.resting_memory(served, models)
    return misfit_of(place(worker, trainer.total, servers, resting=resting)) is None
