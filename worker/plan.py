"""What a job's spec asks to be served beside its trainer, and the command that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from store.settings import Settings
from uniapl.spec.backend import ManagedVllm
from uniapl.spec.job import JobSpec
from uniapl.spec.run import ModelSource

Role = Literal["discriminator"]
NOT_PASSED_ON = ("UNIAPL_", "PYTHON", "VIRTUAL_ENV")
"""Beginnings of variables that are the worker's own: its database's password, and its Python environment."""


@dataclass(frozen=True)
class Plan:
    """A model to serve. Jobs whose plans are equal may share a server."""

    role: Role
    model: str
    """Its name in the spec, and at the server."""
    source: ModelSource
    kind: Literal["score", "embed"]
    """What it is asked for."""
    options: ManagedVllm

    @property
    def what(self) -> str:
        """For messages."""
        return f"the {self.role}'s server ({self.model})"

    def command(self, settings: Settings, port: int) -> list[str]:
        """`vllm serve …` on loopback; no secret is among the arguments, which every user of the machine can read."""
        source, options = self.source, self.options
        command = [*settings.vllm_command, "serve", source.hub or source.path or ""]
        if source.revision is not None:
            command += ["--revision", source.revision, "--tokenizer-revision", source.revision]
        command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", self.model]
        command += ["--runner", "pooling", "--dtype", options.dtype]
        command += ["--gpu-memory-utilization", str(options.gpu_memory_fraction)]
        if options.max_model_tokens is not None:
            command += ["--max-model-len", str(options.max_model_tokens)]
        return [*command, *settings.vllm_options]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The worker's, without what is its own business."""
        kept = {
            name: value
            for name, value in inherited.items()
            if not name.startswith(NOT_PASSED_ON) and not name.endswith("_API_KEY")
        }
        return {**kept, "VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1"}


def plans(spec: JobSpec, models: Mapping[str, ModelSource]) -> dict[Role, Plan]:
    """The servers that a job's worker has to start, by what they are for."""
    chosen = spec.discriminator
    if not spec.uses_discriminator or chosen.type == "learned" or not isinstance(chosen.backend, ManagedVllm):
        return {}
    kind: Literal["score", "embed"] = "embed" if chosen.type == "embedding" else "score"
    return {"discriminator": Plan("discriminator", chosen.model, models[chosen.model], kind, chosen.backend)}
