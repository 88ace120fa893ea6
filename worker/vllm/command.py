"""What a job's spec asks to be served beside its trainer, and the command that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from store.settings import Settings
from uniapl.estimate.placement import UNKNOWN
from uniapl.estimate.servers import sequences
from uniapl.run.config import SAMPLER, SAMPLER_START, ModelSource
from uniapl.spec.backend import ManagedVllm, ServerRole, VllmSampler
from uniapl.spec.job import JobSpec

PLUGIN = Path(__file__).parent / "plugin"
"""What vLLM loads of ours."""
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Those that vLLM makes room for."""
NOT_PASSED_ON = ("UNIAPL_", "PYTHON", "VIRTUAL_ENV")
"""Beginnings of variables that are the worker's own: its database's password, and its Python environment."""


@dataclass(frozen=True)
class Plan:
    """A model to serve."""

    role: ServerRole
    model: str
    """Its name in the spec, and at the server."""
    source: ModelSource
    kind: Literal["score", "embed", "sample"]
    """What it is asked for."""
    options: ManagedVllm
    memory_fraction: float
    """Share of its card that it takes."""
    lora_rank: int | None = None
    """Of the adapters that it is given."""
    sequences: int | None = None
    """Sampled at once at most, with one to spare: a question after its health must not stand in a queue."""
    made_by_trainer: bool = False
    """Whether the trainer writes the folder of `source` first."""

    @property
    def shared(self) -> bool:
        """Whether jobs with an equal plan may use one server: not where each hands it weights of its own."""
        return self.role == "discriminator"

    @property
    def label(self) -> str:
        """For messages."""
        name = "discriminator" if self.role == "discriminator" else "sampler"
        return f"the {name}'s server ({self.model})"

    def is_there(self) -> bool:
        """Whether there is something to load."""
        return not self.made_by_trainer or Path(self.source.path or "").is_dir()

    def command(self, settings: Settings, port: int) -> list[str]:
        """`vllm serve …` on loopback; no secret is among the arguments, which every user of the machine can read."""
        source, options = self.source, self.options
        command = [*settings.vllm_command, "serve", source.hub or source.path or ""]
        if source.revision is not None:
            command += ["--revision", source.revision, "--tokenizer-revision", source.revision]
        command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", self.model]
        command += ["--disable-uvicorn-access-log"]  # a line per request, for weeks
        command += ["--middleware", "uniapl_guard.Guard", "--dtype", options.dtype]
        command += ["--gpu-memory-utilization", str(self.memory_fraction)]
        if options.max_model_tokens is not None:
            command += ["--max-model-len", str(options.max_model_tokens)]
        command += ["--scheduling-policy", "priority"]  # for the question after its health, `worker.vllm.probe`
        if self.kind == "sample":
            command += ["--generation-config", "vllm", "--logprobs-mode", "processed_logprobs"]
            command += ["--max-num-seqs", str(self.sequences)]
        else:
            command += ["--runner", "pooling"]
        if self.lora_rank is not None:
            room = next((rank for rank in LORA_RANKS if rank >= self.lora_rank), self.lora_rank)
            command += ["--enable-lora", "--max-loras", "2", "--max-lora-rank", str(room)]
        return [*command, *settings.vllm_options]

    def environment(self, settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
        """The worker's, without what is its own business, and with the cards that the server may use."""
        kept = {
            name: value
            for name, value in inherited.items()
            if not name.startswith(NOT_PASSED_ON) and not name.endswith("_API_KEY")
        }
        kept |= {"VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(PLUGIN)}
        if self.kind == "sample":  # without these it takes neither weights nor adapters
            kept |= {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
        devices = settings.discriminator_devices if self.role == "discriminator" else settings.rollout_devices
        return kept | visible(devices)


def visible(devices: str) -> dict[str, str]:
    """The variables that show these cards alone to a process, numbered as `nvidia-smi` does; none for all."""
    return {"CUDA_VISIBLE_DEVICES": devices, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if devices else {}


def plans(
    spec: JobSpec, models: Mapping[str, ModelSource], run_dir: Path, shares: Mapping[ServerRole, float]
) -> dict[ServerRole, Plan]:
    """The servers that a job's worker has to start, by what they are for.

    Args:
        spec: the job.
        models: where its models are.
        run_dir: where its trainer writes.
        shares: of the cards, as `worker.vllm.gpu_share` divides them.
    """
    found: dict[ServerRole, Plan] = {}
    for role, options in spec.servers.items():
        share = shares.get(role, options.gpu_memory_fraction or UNKNOWN)
        if isinstance(options, VllmSampler):
            found[role] = _sampler(spec, models[spec.student], options, share, run_dir)
        else:
            name = spec.discriminator.model or spec.student
            kind: Literal["score", "embed"] = "embed" if spec.discriminator.type == "embedding" else "score"
            found[role] = Plan(role, name, models[name], kind, options, share)
    return found


def _sampler(spec: JobSpec, student: ModelSource, options: VllmSampler, share: float, run_dir: Path) -> Plan:
    plan = Plan("rollout", spec.student, student, "sample", options, share, sequences=sequences(spec, options) + 1)
    if spec.lora is not None:
        return replace(plan, lora_rank=spec.lora.rank)
    start = ModelSource(path=str((run_dir / SAMPLER / SAMPLER_START).absolute()))
    return replace(plan, source=start, made_by_trainer=True)
