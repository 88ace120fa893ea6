"""What `python -m uniapl train run.json` reads: a job spec, and where its parts lie on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from uniapl.spec.base import Input
from uniapl.spec.job import JobSpec

SAMPLER, SAMPLER_START = "sampler", "start"
"""Folder of a run directory in which weights are handed to the server that samples, and what it begins with there."""


class ModelSource(Input):
    """Where the weights of a model are: a hub id, a folder, or a GGUF file in a folder."""

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
            raise ValueError("give either hub or path")
        if self.gguf is not None and self.path is None:
            raise ValueError("gguf: names a file inside path, which is missing")
        if self.revision is not None and self.hub is None:
            raise ValueError("revision: belongs to a hub id")
        return self


class RunConfig(Input):
    """One training run. Only `spec` and `run_dir` have to be written by hand."""

    spec: JobSpec
    """What to train."""
    run_dir: Annotated[str, Field(min_length=1)]
    """Folder for `reports.jsonl` and `checkpoints/`; made if missing."""
    datasets: dict[str, str] = {}
    """Dataset id to JSONL file; an id that is not here is a path, relative to the folder of run.json, or else to the
    working directory."""
    models: dict[str, ModelSource] = {}
    """Model name to source; a name that is not here is one of `models.json` (`uniapl.run.registry`), or else a folder
    if it exists, or else a hub id."""
    resume_from: str | None = None
    """Checkpoint folder to continue from."""
    teacher_cache: str | None = None
    """Folder of the answers of an `openai` teacher, which runs may share; by default `teacher_cache` in `run_dir`."""
    public_addresses_only: bool = False
    """Connect to servers that the spec names only over https and at public addresses: a service says so of those that
    its operator has not listed."""
    servers: dict[str, str] = {}
    """What a `vllm` backend needs: `discriminator` or `rollout` to the file in which the worker keeps the address of
    the server that it has started."""
    keep_all_checkpoints: bool = False
    """Leave deleting old checkpoints to whoever launched the run: a service deletes only under its own fence. When
    false, the trainer keeps the last `schedule.keep_checkpoints` of this `run_dir`."""

    def dataset_path(self, name: str) -> Path:
        """The JSONL file of a dataset."""
        return Path(self.datasets.get(name, name))

    def teacher_cache_path(self) -> Path:
        """Where the teacher's answers are kept."""
        return Path(self.teacher_cache or Path(self.run_dir) / "teacher_cache")

    def model_source(self, name: str) -> ModelSource:
        """The source of a model."""
        if name in self.models:
            return self.models[name]
        return ModelSource(path=name) if Path(name).is_dir() else ModelSource(hub=name)
