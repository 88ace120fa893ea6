"""Plans of the vLLM servers that a job needs, and their command lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from store.settings import Settings
from uniapl.estimate.model_shape import ShapeUnknown, read_shape
from uniapl.estimate.placement import UNKNOWN
from uniapl.estimate.servers import context, sequences
from uniapl.run.config import SAMPLER, SAMPLER_START, ModelSource
from uniapl.spec.backend import ManagedVllm, ServerRole, VllmSampler
from uniapl.spec.job import JobSpec
from worker.vllm.devices import visible

PLUGIN = Path(__file__).parent / "plugin"
"""Folder of the middleware that vLLM loads."""
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Maximum ranks that vLLM accepts."""
CONVERTER = (sys.executable, "-m", "uniapl.discriminators.internlm2")
"""Program that converts a model of a layout that vLLM does not serve, and then becomes the server."""
IPC, NCCL = '{"backend":"ipc"}', '{"backend":"nccl"}'
"""vLLM's weight transfer by CUDA IPC, and by NCCL."""
NOT_PASSED_ON = ("UNIAPL_", "PYTHON", "VIRTUAL_ENV")
"""Prefixes of variables that are not inherited: the worker's own settings, which include passwords, and its Python
environment."""


@dataclass(frozen=True)
class Plan:
    """A model to serve."""

    role: ServerRole
    model: str
    """Name in the spec, and served model name."""
    source: ModelSource
    kind: Literal["score", "embed", "sample"]
    """Kind of request that it serves."""
    options: ManagedVllm
    memory_fraction: float
    """Fraction of the GPU's memory that it takes."""
    lora_rank: int | None = None
    """Rank of the adapters that the trainer sends."""
    sequences: int | None = None
    """Maximum concurrent sequences, including one for the health probe, which must not queue."""
    context: int | None = None
    """Maximum sequence length; by default the model's own."""
    converted_models: Path | None = None
    """Folder of converted models, for one that may have to be converted."""
    shared_card: bool = False
    """Whether a sampling server uses the trainer's GPU, so that it can sleep and receive weights on the card."""
    logprobs: Literal["processed", "raw"] = "processed"
    """Distribution of a sampling server's log-probabilities: with temperature and truncation, or without both."""
    other_card: bool = False
    """Whether a sampling server uses another GPU than the trainer, from which it can receive weights by NCCL."""
    awaited: Path | None = None
    """Folder that the trainer creates when the server may start."""

    @property
    def shared(self) -> bool:
        """Whether jobs with equal plans may share a server; not where each job sends its own weights."""
        return self.role == "discriminator"

    @property
    def label(self) -> str:
        """Name of the server in messages."""
        name = "discriminator" if self.role == "discriminator" else "sampler"
        return f"{name} server ({self.model})"

    @property
    def receives_on_card(self) -> bool:
        """Whether the trainer may send full weights by CUDA IPC."""
        return self.shared_card and self.lora_rank is None

    @property
    def receives_by_nccl(self) -> bool:
        """Whether the trainer may send full weights by NCCL."""
        return self.other_card and self.lora_rank is None

    def is_there(self) -> bool:
        """Whether the server may start."""
        return self.awaited is None or self.awaited.is_dir()

    def command(self, settings: Settings, port: int) -> list[str]:
        """`vllm serve …` on loopback, without secrets: every user of the machine can read the arguments."""
        source, options = self.source, self.options
        command = [*settings.vllm_command, "serve", source.hub or source.path or ""]
        if source.revision is not None:
            command += ["--revision", source.revision, "--tokenizer-revision", source.revision]
        command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", self.model]
        command += ["--disable-uvicorn-access-log"]  # one line per request would fill the log
        command += ["--middleware", "uniapl_guard.Guard", "--dtype", options.dtype]
        command += ["--gpu-memory-utilization", str(self.memory_fraction)]
        if self.context is not None:
            command += ["--max-model-len", str(self.context)]
        command += ["--scheduling-policy", "priority"]  # for the health probe, see `worker.vllm.probe`
        if self.kind == "sample":
            command += ["--generation-config", "vllm", "--logprobs-mode", f"{self.logprobs}_logprobs"]
            command += ["--max-num-seqs", str(self.sequences)]
            command += ["--enable-sleep-mode"] if self.shared_card else []
            command += ["--weight-transfer-config", IPC] if self.receives_on_card else []
            command += ["--weight-transfer-config", NCCL] if self.receives_by_nccl else []
        else:
            command += ["--runner", "pooling"]
        if self.lora_rank is not None:
            room = next((rank for rank in LORA_RANKS if rank >= self.lora_rank), self.lora_rank)
            command += ["--enable-lora", "--max-loras", "2", "--max-lora-rank", str(room)]
        command += settings.vllm_options
        if self.converted_models is None:
            return command
        return [*CONVERTER, str(self.converted_models), source.model_dump_json(exclude_none=True), *command]

    def environment(self, settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
        """The inherited environment without the worker's own variables, and with the GPUs that the server may use."""
        kept = environment_of_vllm(inherited)
        kept |= {"VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(PLUGIN)}
        if self.kind == "sample":  # without these the server accepts neither weights nor adapters
            kept |= {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
        if self.receives_on_card:  # handles are pickled; the guard requires the token on every path
            kept |= {"VLLM_ALLOW_INSECURE_SERIALIZATION": "1"}
        if self.receives_by_nccl:  # the trainer is on this machine
            kept.setdefault("NCCL_SOCKET_IFNAME", "=lo")
        return kept | visible(settings, self.role)


def environment_of_vllm(inherited: Mapping[str, str]) -> dict[str, str]:
    """The inherited environment without the worker's own variables."""
    return {
        name: value
        for name, value in inherited.items()
        if not name.startswith(NOT_PASSED_ON) and not name.endswith("_API_KEY")
    }


def plans(
    spec: JobSpec,
    models: Mapping[str, ModelSource],
    run_dir: Path,
    shares: Mapping[ServerRole, float],
    converted_models: Path,
    *,
    shared_card: bool = False,
    other_card: bool = False,
    concurrent: int | None = None,
) -> dict[ServerRole, Plan]:
    """The servers that a job's worker has to start, by role.

    Args:
        spec: the job.
        models: sources of its models, by name.
        run_dir: run directory of its trainer.
        shares: memory fractions from `worker.vllm.gpu_share`.
        converted_models: folder of models in a layout that vLLM serves.
        shared_card: whether the sampler uses the trainer's GPU.
        other_card: whether the sampler uses another GPU than the trainer.
        concurrent: completions that the sampler's memory holds; by default all that are requested at once.
    """
    found: dict[ServerRole, Plan] = {}
    for role, options in spec.servers.items():
        share = shares.get(role, options.gpu_memory_fraction or UNKNOWN)
        if isinstance(options, VllmSampler):
            start = (run_dir / SAMPLER / SAMPLER_START).absolute()
            sampler = _sampler(spec, models[spec.student], options, share, start, shared_card=shared_card)
            at_once = (concurrent or sequences(spec, options)) + 1
            found[role] = replace(sampler, sequences=at_once, other_card=other_card)
        else:
            name = spec.discriminator.model or spec.student
            kind: Literal["score", "embed"] = "embed" if spec.discriminator.type == "embedding" else "score"
            limit = _context(spec, options, models[name])
            plan = Plan(role, name, models[name], kind, options, share, context=limit)
            found[role] = replace(plan, converted_models=converted_models) if kind == "score" else plan
    return found


def _context(spec: JobSpec, options: ManagedVllm, source: ModelSource) -> int | None:
    """Maximum sequence length to set; `None` where the model's own is shorter, or unknown."""
    limit = context(spec, options)
    if limit is None or options.max_model_tokens is not None:
        return limit
    try:
        return limit if read_shape(source).positions > limit else None
    except ShapeUnknown:
        return None


def _sampler(
    spec: JobSpec, student: ModelSource, options: VllmSampler, share: float, start: Path, *, shared_card: bool
) -> Plan:
    """The server that begins with the weights in `start`, or with the student where the trainer sends adapters.

    Beside the trainer's GPU memory it starts only when that no longer changes: vLLM measures what is free.
    """
    context = _context(spec, options, student)
    plan = Plan("rollout", spec.student, student, "sample", options, share, context=context, shared_card=shared_card)
    plan = replace(plan, logprobs="raw" if spec.rollout.truncates else "processed")
    if spec.lora is not None:
        return replace(plan, lora_rank=spec.lora.rank, awaited=start if shared_card else None)
    return replace(plan, source=ModelSource(path=str(start)), awaited=start)
