"""The run configuration that `python -m uniapl train run.json` reads: a job spec, and the paths of its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from uniapl.spec.base import Input
from uniapl.spec.job import JobSpec

SAMPLER, SAMPLER_START = "sampler", "start"
"""Folder of a run directory that holds the weights for the sampler's server, and its folder of initial weights."""


class ModelSource(Input):
    """The source of a model's weights: a hub id, a folder, or a GGUF file in a folder."""

    hub: str | None = None
    """Hub id, such as `Qwen/Qwen3-0.6B`."""
    revision: str | None = None
    """Commit of the hub repository; pinned when the job is accepted."""
    path: str | None = None
    """Local folder with safetensors and a tokenizer."""
    gguf: str | None = None
    """Name of a GGUF file inside `path`; its tensors are dequantised to float32."""

    @model_validator(mode="after")
    def _is_one_place(self) -> Self:
        if (self.hub is None) == (self.path is None):
            raise ValueError("give exactly one of hub and path")
        if self.gguf is not None and self.path is None:
            raise ValueError("gguf: names a file in the folder path; give path too")
        if self.revision is not None and self.hub is None:
            raise ValueError("revision: applies to a hub id only; give hub too")
        return self


class RunConfig(Input):
    """One training run. Only `spec` and `run_dir` are required."""

    spec: JobSpec
    """What to train."""
    run_dir: Annotated[str, Field(min_length=1)]
    """Folder for `reports.jsonl` and `checkpoints/`; created if missing."""
    datasets: dict[str, str] = {}
    """Dataset id to JSONL file; any other id is a path, relative to the folder of run.json or else to the working
    directory."""
    models: dict[str, ModelSource] = {}
    """Model name to source; any other name is looked up in `models.json` (`uniapl.run.registry`), then as a folder,
    and is otherwise a hub id."""
    resume_from: str | None = None
    """Checkpoint folder to continue from."""
    teacher_cache: str | None = None
    """Folder of cached answers of an `openai` teacher, shared between runs; by default `teacher_cache` in `run_dir`."""
    converted_models: str | None = None
    """Folder of discriminators converted to a supported layout, shared between runs; by default `converted_models` in
    `run_dir`."""
    public_addresses_only: bool = False
    """Connect to the spec's servers only over https and at public addresses. The service sets it for servers that its
    operator has not listed."""
    servers: dict[str, str] = {}
    """`discriminator` or `rollout` to the file with the address of the server that the worker started; for `vllm`
    backends."""
    shared_card: bool = False
    """Whether the sampling server uses the trainer's GPU, and releases its memory between two samplings."""
    trainer_memory: Annotated[int, Field(gt=0)] | None = None
    """Bytes of the trainer's GPU that the servers on the same GPU leave to it, for the choice of `spec.resources`; by
    default what is free when the trainer starts."""
    awake_server: bool = False
    """Whether a server on the trainer's GPU uses its memory during an update. A sampling server there sleeps then."""
    keep_all_checkpoints: bool = False
    """Never delete old checkpoints. The service sets it and deletes them under its own fence. When false, the trainer
    keeps the last `schedule.keep_checkpoints` of this `run_dir`."""

    def dataset_path(self, name: str) -> Path:
        """The JSONL file of a dataset."""
        return Path(self.datasets.get(name, name))

    def teacher_cache_path(self) -> Path:
        """The folder of cached teacher answers."""
        return Path(self.teacher_cache or Path(self.run_dir) / "teacher_cache")

    def converted_models_path(self) -> Path:
        """The folder of converted models."""
        return Path(self.converted_models or Path(self.run_dir) / "converted_models")

    def model_source(self, name: str) -> ModelSource:
        """The source of a model."""
        if name in self.models:
            return self.models[name]
        return ModelSource(path=name) if Path(name).is_dir() else ModelSource(hub=name)
