"""The client and its resources: `client.jobs`, `client.datasets`, `client.checkpoints`, `client.models`."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from uniapl.spec.job import JobSpec
from uniapl.spec.resources import (
    TERMINAL_STATES,
    Alias,
    Checkpoint,
    Dataset,
    Job,
    JobEvent,
    MetricPoint,
    Model,
    Page,
    Sample,
)
from uniapl_client._http import Transport
from uniapl_client.errors import APIConnectionError, ChecksumError, JobFailed

DEFAULT_URL = "http://127.0.0.1:8000"
CHUNK = 1 << 20
Item = TypeVar("Item", Job, JobEvent, Dataset)


class Client:
    """A connection to one service. Usable as a context manager.

    Args:
        url: address of the service; by default the environment's `UNIAPL_URL`, else the embedded service's.
        api_key: by default the environment's `UNIAPL_API_KEY`.
        timeout_s: how long one answer may take.
    """

    def __init__(self, url: str | None = None, *, api_key: str | None = None, timeout_s: float = 60.0) -> None:
        key = api_key or os.environ.get("UNIAPL_API_KEY")
        self._transport = Transport(url or os.environ.get("UNIAPL_URL", DEFAULT_URL), key, timeout_s)
        self.jobs = Jobs(self._transport)
        self.datasets = Datasets(self._transport)
        self.checkpoints = Checkpoints(self._transport)

    def models(self) -> list[Model]:
        """Models that a spec may name."""
        return Page[Model].model_validate(self._transport.request("GET", "/models")).data

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Jobs:
    """`client.jobs`"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, spec: JobSpec | None = None, **fields: Any) -> Job:
        """Queue a job, from a `JobSpec` or from its fields.

        Raises:
            InvalidRequestError: the spec is not acceptable; `.param` names the field.
        """
        body = spec.model_dump(mode="json", exclude_unset=True) if spec is not None else fields
        return Job.model_validate(self._transport.request("POST", "/jobs", json=body))

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotFoundError: there is none.
        """
        return Job.model_validate(self._transport.request("GET", f"/jobs/{job_id}"))

    def list(self) -> Iterator[Job]:
        """All jobs, newest first; pages are fetched as needed."""
        return _pages(self._transport, "/jobs", Page[Job])

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; an active one becomes `cancelled` once its trainer is gone.

        Raises:
            ConflictError: it has already succeeded or failed.
        """
        return Job.model_validate(self._transport.request("POST", f"/jobs/{job_id}/cancel"))

    def pause(self, job_id: str) -> Job:
        """Pause a job: it writes a checkpoint after its current step and frees its slot.

        Raises:
            ConflictError: it is over.
        """
        return Job.model_validate(self._transport.request("POST", f"/jobs/{job_id}/pause"))

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on from its last checkpoint.

        Raises:
            ConflictError: it is over.
        """
        return Job.model_validate(self._transport.request("POST", f"/jobs/{job_id}/resume"))

    def wait(self, job_id: str, *, timeout_s: float | None = None, poll_s: float = 1.0) -> Job:
        """Wait until the job has succeeded.

        Raises:
            JobFailed: it ended failed or cancelled.
            TimeoutError: it is not over after `timeout_s`; it goes on.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (job := self.get(job_id)).state not in TERMINAL_STATES:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id} is {job.state} after {timeout_s} s")
            time.sleep(poll_s)
        if job.state != "succeeded":
            raise JobFailed(job)
        return job

    def events(self, job_id: str, *, after: int = 0) -> Iterator[JobEvent]:
        """Events from the first (or from the one after `after`) until the job is over, live.

        A dropped connection is taken up where it broke.

        Raises:
            APIConnectionError: the service stayed out of reach for a minute.
        """
        lost_since: float | None = None
        while True:
            try:
                for name, data in self._sse(job_id, after):
                    lost_since = None
                    if name == "end":
                        return
                    event = JobEvent.model_validate_json(data)
                    after = event.id
                    yield event
            except APIConnectionError:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > 60:
                    raise
            time.sleep(1)

    def list_events(self, job_id: str, *, after: int = 0) -> Sequence[JobEvent]:
        """Events so far, from the one after `after`."""
        return tuple(_pages(self._transport, f"/jobs/{job_id}/events", Page[JobEvent], str(after)))

    def metrics(
        self, job_id: str, *, names: Sequence[str] | None = None, since_step: int = -1
    ) -> Sequence[MetricPoint]:
        """Points after `since_step`, by step and name."""
        params: dict[str, Any] = {"names": ",".join(names)} if names else {}
        found: list[MetricPoint] = []
        while True:
            params["since_step"] = since_step
            answer = self._transport.request("GET", f"/jobs/{job_id}/metrics", params=params)
            page = Page[MetricPoint].model_validate(answer)
            found += page.data
            if not page.has_more:
                return found
            since_step = page.data[-1].step

    def samples(self, job_id: str, *, step: int | None = None) -> Sequence[Sample]:
        """Held-out answers of one evaluation, or of all."""
        params = {} if step is None else {"step": step}
        page = self._transport.request("GET", f"/jobs/{job_id}/samples", params=params)
        return Page[Sample].model_validate(page).data

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Checkpoints, newest first."""
        page = self._transport.request("GET", f"/jobs/{job_id}/checkpoints")
        return Page[Checkpoint].model_validate(page).data

    def _sse(self, job_id: str, after: int) -> Iterator[tuple[str, str]]:
        """(event, data) pairs of one connection."""
        headers = {"accept": "text/event-stream", "last-event-id": str(after)}
        with self._transport.stream(f"/jobs/{job_id}/events", headers=headers) as response:
            name, data = "message", ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data = line.removeprefix("data: ")
                elif not line and data:
                    yield name, data
                    name, data = "message", ""


class Datasets:
    """`client.datasets`"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(self, path: str | Path, *, name: str | None = None) -> Dataset:
        """Upload a JSONL file; it is streamed, and stored only if every line is good.

        Raises:
            InvalidRequestError: lines are bad; `.errors` has their numbers, offsets and reasons.
        """
        path = Path(path)
        with path.open("rb") as file:
            answer = self._transport.request(
                "POST",
                "/datasets",
                params={"name": name or path.stem},
                content=iter(lambda: file.read(CHUNK), b""),
                headers={"content-type": "application/jsonl"},
            )
        return Dataset.model_validate(answer)

    def get(self, dataset_id: str) -> Dataset:
        """One dataset.

        Raises:
            NotFoundError: there is none.
        """
        return Dataset.model_validate(self._transport.request("GET", f"/datasets/{dataset_id}"))

    def list(self) -> Iterator[Dataset]:
        """All datasets, newest first; pages are fetched as needed."""
        return _pages(self._transport, "/datasets", Page[Dataset])


class Checkpoints:
    """`client.checkpoints`"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, checkpoint_id: str) -> Checkpoint:
        """One checkpoint.

        Raises:
            NotFoundError: there is none.
        """
        return Checkpoint.model_validate(self._transport.request("GET", f"/checkpoints/{checkpoint_id}"))

    def delete(self, checkpoint_id: str) -> None:
        """Delete a checkpoint and its files.

        Raises:
            ConflictError: an alias names it, or its job may resume from it.
        """
        self._transport.request("DELETE", f"/checkpoints/{checkpoint_id}")

    def promote(self, checkpoint_id: str, alias: str, *, version: int) -> Alias:
        """Let an alias stand for a checkpoint.

        Args:
            checkpoint_id: which one.
            alias: the name.
            version: the alias's version that you have seen; 0 for a new one.

        Raises:
            ConflictError: somebody has changed the alias since.
        """
        body = {"checkpoint_id": checkpoint_id, "version": version}
        return Alias.model_validate(self._transport.request("PUT", f"/aliases/{alias}", json=body))

    def aliases(self) -> list[Alias]:
        """Every alias, by name."""
        return Page[Alias].model_validate(self._transport.request("GET", "/aliases")).data

    def download(
        self,
        checkpoint_id: str,
        folder: str | Path,
        *,
        optimizer: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Download a checkpoint into a folder that `AutoModelForCausalLM.from_pretrained` reads.

        Args:
            checkpoint_id: which one.
            folder: made if missing; files that are already there and whole are kept.
            optimizer: also the optimizer's state, which only training needs.
            progress: called with bytes done and bytes in all.

        Raises:
            ChecksumError: a file arrived altered; it has been removed.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = [f for f in self.get(checkpoint_id).files if optimizer or not f.name.startswith("optimizer")]
        done, total = 0, sum(file.bytes for file in files)
        for file in files:
            target = folder / file.name
            if not target.resolve().is_relative_to(folder.resolve()):
                raise ChecksumError(f"{checkpoint_id} names a file outside its folder: {file.name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.is_file() or _sha256(target) != file.sha256:
                self._fetch(checkpoint_id, file.name, target, file.sha256)
            done += file.bytes
            if progress is not None:
                progress(done, total)
        return folder

    def _fetch(self, checkpoint_id: str, name: str, target: Path, sha256: str) -> None:
        partial = target.with_name(f"{target.name}.part")
        with (
            self._transport.stream(f"/checkpoints/{checkpoint_id}/files/{name}") as response,
            partial.open("wb") as file,
        ):
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk)
        if _sha256(partial) != sha256:
            partial.unlink()
            raise ChecksumError(f"{name} of {checkpoint_id} arrived altered; try again")
        partial.rename(target)


def _pages(transport: Transport, path: str, kind: type[Page[Item]], after: str | None = None) -> Iterator[Item]:
    """Every item of a list, page by page, from the one after `after`."""
    while True:
        params = {"after": after} if after else {}
        page = kind.model_validate(transport.request("GET", path, params=params))
        yield from page.data
        if not page.has_more:
            return
        after = str(page.data[-1].id)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
