"""Every path on disk, relative to one data folder that API and workers share, or have each for itself as the cache of
a bucket (`store.artifacts.s3`).

datasets/<id>.jsonl
jobs/<id>/fence-<n>/run.json, reports.jsonl, trainer.log, checkpoints/step-<k>/, sampler/
teacher_cache/<tenant>/<sha256>.json       answers of `openai` teachers, shared by a tenant's jobs
sidecars/<id>/                             log and address of a model's server beside a trainer
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
    """Where others find the files; the data folder itself by default."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings say.

        Raises:
            ValueError: they name something else than a bucket, or a secret that cannot be read.
        """
        if not settings.artifacts_url:
            return cls(settings.data_dir, LocalStore(settings.data_dir.absolute()))
        from store.artifacts.s3 import BucketStore  # a compiled library, which embedded use does not need

        return cls(settings.data_dir, BucketStore(settings))

    @cached_property
    def objects(self) -> ArtifactStore:
        """Where others find the files."""
        return self.shared or LocalStore(self.root.absolute())

    def dataset(self, dataset_id: str) -> Path:
        """The validated JSONL file."""
        return self.root / "datasets" / f"{dataset_id}.jsonl"

    def fetched(self, dataset_id: str) -> Path:
        """The same, on this machine.

        Raises:
            FileNotFoundError: it is nowhere.
            StorageUnavailable: it may be in the bucket, which does not answer.
        """
        path = self.dataset(dataset_id)
        self.objects.fetch(self.relative(path))
        return path

    def upload(self, dataset_id: str) -> Path:
        """Where an upload grows until it is whole."""
        return self.root / "datasets" / f".{dataset_id}.part"

    def uploads(self) -> list[Path]:
        """Uploads and copies of datasets that are under way on this machine, or were left."""
        return [*(self.root / "datasets").glob(".*.part"), *(self.root / "datasets").glob(".*.tmp")]

    def attempt(self, job_id: str, fence: int) -> Path:
        """The run directory of one attempt; a claim that comes later writes elsewhere."""
        return self.root / "jobs" / job_id / f"fence-{fence}"

    def fences(self, job_id: str) -> list[int]:
        """Fences under which something has been written for a job, ascending."""
        return sorted(self.objects.fences(job_id))

    def log(self, job_id: str, fence: int) -> Path:
        """What an attempt's trainer writes to its standard outputs."""
        return self.attempt(job_id, fence) / "trainer.log"

    def reports(self, job_id: str, fence: int) -> Path:
        """What an attempt's trainer reports."""
        return self.attempt(job_id, fence) / "reports.jsonl"

    def checkpoints(self, job_id: str, fence: int) -> Path:
        """Where an attempt's trainer writes checkpoints."""
        return self.attempt(job_id, fence) / "checkpoints"

    def unfinished(self) -> list[Path]:
        """Of all attempts, the checkpoints that are being written or fetched on this machine and the weights that are
        `handed_over`, or were left."""
        attempts = "jobs/*/fence-*"
        return [*self.root.glob(f"{attempts}/checkpoints/.*.tmp"), *self.root.glob(f"{attempts}/{SAMPLER}")]

    def handed_over(self, job_id: str, fence: int) -> Path:
        """Weights on their way from an attempt's trainer to the server that samples; no use to anybody afterwards."""
        return self.attempt(job_id, fence) / SAMPLER

    def teacher_cache(self, tenant: str) -> Path:
        """Answers of `openai` teachers that a tenant's jobs have asked for; safe to share among them, and to delete."""
        return self.root / "teacher_cache" / tenant

    def sidecars(self) -> Path:
        """Logs and addresses of the models' servers that workers have started."""
        return self.root / "sidecars"

    def broker(self) -> Path:
        """The embedded service's messages."""
        return self.root / "broker"

    def relative(self, path: Path) -> str:
        """A path as the database stores it."""
        return str(path.absolute().relative_to(self.root.absolute()))
