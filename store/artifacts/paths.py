"""Paths of all files in the data folder, which API and workers share, or which each uses as cache of a bucket
(`store.artifacts.s3`).

datasets/<id>.jsonl
jobs/<id>/fence-<n>/run.json, reports.jsonl, trainer.log, checkpoints/step-<k>/, sampler/
teacher_cache/<tenant>/<sha256>.json       answers of `openai` teachers, shared by a tenant's jobs
converted_models/<name>-<state>/           discriminators in a layout that transformers and vLLM support
sidecars/<id>/                             log and address of a model's server beside a trainer
speed/<hash>.json                          speed that workers measured, by kind of machine
broker/                                    messages of the embedded service
uniapl.db                                  its database
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from store.artifacts.base import ArtifactStore
from store.artifacts.local import LocalStore
from store.settings import Settings
from uniapl.run.config import SAMPLER


@dataclass(frozen=True)
class Artifacts:
    """Paths under one data folder."""

    root: Path
    shared: ArtifactStore | None = None
    """The store in which files are shared; by default the data folder."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The store that the settings describe.

        Raises:
            ValueError: the URL is not a bucket's, or the secret cannot be read.
        """
        if not settings.artifacts_url:
            return cls(settings.data_dir, LocalStore(settings.data_dir.absolute()))
        from store.artifacts.s3 import BucketStore  # a compiled library that the embedded service does not need

        return cls(settings.data_dir, BucketStore(settings))

    @cached_property
    def objects(self) -> ArtifactStore:
        """The store in which files are shared."""
        return self.shared or LocalStore(self.root.absolute())

    def dataset(self, dataset_id: str) -> Path:
        """The validated JSONL file."""
        return self.root / "datasets" / f"{dataset_id}.jsonl"

    def fetched(self, dataset_id: str) -> Path:
        """The validated JSONL file, fetched to this machine.

        Raises:
            FileNotFoundError: it was not published.
            StorageUnavailable: the bucket is unreachable.
        """
        path = self.dataset(dataset_id)
        self.objects.fetch(self.relative(path))
        return path

    def upload(self, dataset_id: str) -> Path:
        """File of an incomplete upload."""
        return self.root / "datasets" / f".{dataset_id}.part"

    def uploads(self) -> list[Path]:
        """Incomplete uploads and copies of datasets on this machine, in progress or left over."""
        return [*(self.root / "datasets").glob(".*.part"), *(self.root / "datasets").glob(".*.tmp")]

    def attempt(self, job_id: str, fence: int) -> Path:
        """The run directory of one attempt; later claims use other directories."""
        return self.root / "jobs" / job_id / f"fence-{fence}"

    def fences(self, job_id: str) -> list[int]:
        """Fences under which a job has files, ascending."""
        return sorted(self.objects.fences(job_id))

    def log(self, job_id: str, fence: int) -> Path:
        """Standard output and error of an attempt's trainer."""
        return self.attempt(job_id, fence) / "trainer.log"

    def reports(self, job_id: str, fence: int) -> Path:
        """Reports of an attempt's trainer."""
        return self.attempt(job_id, fence) / "reports.jsonl"

    def checkpoints(self, job_id: str, fence: int) -> Path:
        """Folder of an attempt's checkpoints."""
        return self.attempt(job_id, fence) / "checkpoints"

    def unfinished(self) -> list[Path]:
        """Incomplete files and checkpoints, and `handed_over` weights, of all attempts on this machine, in progress or
        left over."""
        attempts = "jobs/*/fence-*"
        patterns = (f"{attempts}/.*.tmp", f"{attempts}/checkpoints/.*.tmp", f"{attempts}/{SAMPLER}")
        return [path for pattern in patterns for path in self.root.glob(pattern)]

    def handed_over(self, job_id: str, fence: int) -> Path:
        """Weights that an attempt's trainer hands to its sampling server; unused afterwards."""
        return self.attempt(job_id, fence) / SAMPLER

    def teacher_cache(self, tenant: str) -> Path:
        """Cached answers of `openai` teachers, shared by a tenant's jobs; safe to delete."""
        return self.root / "teacher_cache" / tenant

    def converted_models(self) -> Path:
        """Absolute path of the discriminators in a supported layout; safe to delete while no job uses them."""
        return (self.root / "converted_models").absolute()

    def sidecars(self) -> Path:
        """Logs and addresses of the model servers that workers started."""
        return self.root / "sidecars"

    def broker(self) -> Path:
        """Messages of the embedded service's broker."""
        return self.root / "broker"

    def relative(self, path: Path) -> str:
        """A path as the database stores it."""
        return str(path.absolute().relative_to(self.root.absolute()))
