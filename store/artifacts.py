"""Every path on disk, relative to one data folder that API and workers share.

datasets/<id>.jsonl
jobs/<id>/fence-<n>/run.json, reports.jsonl, trainer.log, checkpoints/step-<k>/
teacher_cache/<tenant>/<sha256>.json       answers of `openai` teachers, shared by a tenant's jobs
broker/                                    messages of the embedded service
uniapl.db                                  its database
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from uniapl.manifest import MANIFEST
from uniapl.spec.resources import CheckpointFile


@dataclass(frozen=True)
class Artifacts:
    """Paths under one data folder."""

    root: Path

    def dataset(self, dataset_id: str) -> Path:
        """The validated JSONL file."""
        return self.root / "datasets" / f"{dataset_id}.jsonl"

    def upload(self, dataset_id: str) -> Path:
        """Where an upload grows until it is whole."""
        return self.root / "datasets" / f".{dataset_id}.part"

    def uploads(self) -> list[Path]:
        """Uploads that are under way, or were left."""
        return list((self.root / "datasets").glob(".*.part"))

    def attempt(self, job_id: str, fence: int) -> Path:
        """The run directory of one attempt; a claim that comes later writes elsewhere."""
        return self.root / "jobs" / job_id / f"fence-{fence}"

    def fences(self, job_id: str) -> list[int]:
        """Fences under which something has been written for a job, ascending."""
        return sorted(int(path.name.removeprefix("fence-")) for path in (self.root / "jobs" / job_id).glob("fence-*"))

    def log(self, job_id: str, fence: int) -> Path:
        """What an attempt's trainer writes to its standard outputs."""
        return self.attempt(job_id, fence) / "trainer.log"

    def reports(self, job_id: str, fence: int) -> Path:
        """What an attempt's trainer reports."""
        return self.attempt(job_id, fence) / "reports.jsonl"

    def checkpoints(self, job_id: str, fence: int) -> Path:
        """Where an attempt's trainer writes checkpoints."""
        return self.attempt(job_id, fence) / "checkpoints"

    def teacher_cache(self, tenant: str) -> Path:
        """Answers of `openai` teachers that a tenant's jobs have asked for; safe to share among them, and to delete."""
        return self.root / "teacher_cache" / tenant

    def broker(self) -> Path:
        """The embedded service's messages."""
        return self.root / "broker"

    def relative(self, path: Path) -> str:
        """A path as the database stores it."""
        return str(path.absolute().relative_to(self.root.absolute()))

    def checkpoint_files(self, path: str) -> list[CheckpointFile] | None:
        """What the manifest of a checkpoint lists, the manifest itself left out; `None` when something is missing or
        torn.

        Whoever restores a database, or loses a disk, has rows that outlive their folders.
        """
        folder = self.root / path
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            files = [CheckpointFile(name=name, **entry) for name, entry in manifest["files"].items()]
            whole = all((folder / file.name).stat().st_size == file.bytes for file in files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return files if whole else None
