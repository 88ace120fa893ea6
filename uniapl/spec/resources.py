"""Response models of the API and return types of the SDK. Times are Unix seconds.

Service and client may be of different releases: unknown fields are kept, enumerations accept unknown values
(`JobState | str`), and a spec or row that this release cannot parse is a `RawObject`.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from uniapl.spec.stored import StoredRow, StoredSpec

JobState = Literal[
    "queued", "starting", "running", "finalizing", "retry_wait", "paused", "succeeded", "failed", "cancelled"
]
T = TypeVar("T")
TERMINAL_STATES: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})


class Output(BaseModel):
    """A part of a response. Docstrings below the fields become the OpenAPI descriptions."""

    model_config = ConfigDict(extra="allow", frozen=True, from_attributes=True, use_attribute_docstrings=True)


class JobError(Output):
    """Why a job failed."""

    code: str
    """Stable identifier of the error."""
    message: str
    """Description of the error."""
    category: Literal["user", "resource", "infra", "internal"] | str
    """Who can fix it: the user, a smaller resource request, the operator, or the developers."""
    hint: str | None
    """Suggested fix."""
    param: str | None
    """Path of the spec field at fault."""
    log_tail: str
    """Last lines of the trainer's log, or of the server's log if a server failed."""


class Job(Output):
    """A training job."""

    id: str
    """`job_…`"""
    object: Literal["job"] = "job"
    state: JobState | str
    """Current state: `queued → starting → running → finalizing → succeeded`, or `retry_wait`, `paused`, `failed`,
    `cancelled`."""
    phase: str | None
    """Current phase of the trainer: loading, training, evaluating, saving."""
    name: str | None
    """Title from the spec."""
    spec: StoredSpec
    """The spec with all defaults; a spec of a newer release is returned unchanged."""
    step: int
    """Policy updates done."""
    steps: int
    """Total number of policy updates."""
    attempt: int
    """Number of attempts started by workers."""
    cancel_requested: bool
    """Whether cancellation was requested."""
    pause_requested: bool
    """Whether the job is paused, or will be after its last finished step is saved."""
    error: JobError | None
    """The error of a failed job."""
    queue_position: int | None = None
    """Position in the queue shared by all workers, from 1; `null` if the job is not queued. This field and the next two
    are set in responses to GET, not to POST."""
    queue_reason: str | None = None
    """Reason for waiting: earlier jobs, no available worker, or the time of the next attempt; `null` otherwise."""
    eta_s: float | None = None
    """Estimated seconds of the remaining steps, excluding queueing, evaluations and checkpoints. Based on the median of
    the last 20 steps, or before the first step on your earlier jobs with equal steps on the live workers. `null` if
    unknown, and for finished jobs."""
    created_at: float
    """Time of submission."""
    started_at: float | None
    """Time of the first attempt."""
    finished_at: float | None
    """Time of the terminal state."""

    @property
    def is_over(self) -> bool:
        """Whether the state is terminal, including terminal states of newer releases."""
        return self.state in TERMINAL_STATES or self.finished_at is not None


class JobEvent(Output):
    """An event of a job: a state transition or a message."""

    id: int
    """Sequence number within the job, from 1 without gaps; also the SSE event id."""
    object: Literal["job.event"] = "job.event"
    created_at: float
    """Time of recording."""
    level: Literal["info", "warning", "error"] | str
    """Severity."""
    type: Literal["state", "message"] | str
    """`state` for a transition, `message` for a report of the trainer or the worker."""
    message: str
    """Text of the event."""
    data: dict[str, Any]
    """Structured data; for a transition, the new `state`."""


class MetricPoint(Output):
    """Value of a metric at a step."""

    name: str
    """Metric name, such as `reward`, `uniapl/loss_adv` or `eval/score`."""
    step: int
    """Policy updates done at the measurement."""
    value: float
    """Value of the metric."""


class Sample(Output):
    """The policy's greedy answer to a held-out row."""

    step: int
    """Policy updates done at sampling."""
    row: str
    """Id of the row."""
    prompt: str
    """Text of the prompt."""
    completion: str
    """Answer of the policy."""
    reference: str | None
    """Reference answer of the teacher."""
    reward: float | None
    """Verified reward of the completion."""
    score: float | None
    """Discriminator score of the completion against the reference."""


class CheckpointFile(Output):
    """One file of a checkpoint."""

    name: str
    """File name, for `GET /checkpoints/{id}/files/{name}`."""
    bytes: int
    """Size in bytes."""
    sha256: str
    """SHA-256 of the contents."""


class Checkpoint(Output):
    """A saved policy in transformers' format."""

    id: str
    """`ckpt_…`"""
    object: Literal["checkpoint"] = "checkpoint"
    job_id: str
    """Id of the job."""
    step: int
    """Policy updates done."""
    bytes: int
    """Total size in bytes."""
    manifest_sha256: str
    """SHA-256 of the manifest, which contains the hash of every file."""
    created_at: float
    """Time of the commit."""
    files: list[CheckpointFile]
    """All files, including the optimizer state."""


class Alias(Output):
    """A movable name of a checkpoint, such as `production`."""

    name: str
    """Name of the alias."""
    object: Literal["alias"] = "alias"
    checkpoint_id: str
    """Id of the current checkpoint."""
    version: int
    """Incremented with each change; required for the next change."""
    updated_at: float
    """Time of the last change."""


class Secret(Output):
    """An API key for an external server; its value is never returned."""

    name: str
    """Name, for `teacher.api_key_secret`."""
    object: Literal["secret"] = "secret"
    updated_at: float
    """Time of the last change of the value."""


class Dataset(Output):
    """An uploaded dataset."""

    id: str
    """`ds_…`"""
    object: Literal["dataset"] = "dataset"
    name: str
    """Title from the upload."""
    rows: int
    """Number of rows."""
    references: int
    """Number of rows with a reference answer."""
    rewards: int
    """Number of rows with a verifiable reward."""
    ignored_fields: dict[str, int] = {}
    """Fields of the uploaded rows that are ignored, with the number of rows of each. At most 100 names; `(further
    fields)` counts rows with others. Fields inside lists are written as `messages[].name`."""
    recognised: dict[str, int] = {}
    """Number of rows of each recognised format, such as `GSM8K`, `ShareGPT` or `UniAPL`."""
    mapping: dict[str, list[str]] = {}
    """Where each field of the uploaded rows went, as in `{"answer": ["reference", "reward.math"]}`; empty for rows in
    UniAPL's format. Another mapping can be given as `?map=answer:reward.math`."""
    bytes: int
    """Size of the uploaded file in bytes, before decompression."""
    sha256: str
    """SHA-256 of the uploaded file."""
    created_at: float
    """Time of completion of the upload."""


class DatasetPreview(Output):
    """How a file's rows are read; nothing is stored."""

    object: Literal["dataset.preview"] = "dataset.preview"
    rows: int
    """Number of rows."""
    references: int
    """Number of rows with a reference answer."""
    rewards: int
    """Number of rows with a verifiable reward."""
    ignored_fields: dict[str, int]
    """As `Dataset.ignored_fields`."""
    recognised: dict[str, int]
    """As `Dataset.recognised`."""
    mapping: dict[str, list[str]]
    """As `Dataset.mapping`."""
    data: list[StoredRow]
    """The first rows, as an upload would store them."""


class Upload(Output):
    """A resumable upload of a dataset in several requests."""

    id: str
    """`up_…`"""
    object: Literal["upload"] = "upload"
    name: str
    """Title of the dataset."""
    bytes: int
    """Announced size in bytes."""
    offset: int
    """Bytes received; the value of `Upload-Offset` for the next request."""
    dataset_id: str | None
    """Id of the resulting dataset; `null` before completion."""
    created_at: float
    """Time of creation."""
    expires_at: float
    """Time of expiry; extended by each request with data."""


class Quantiles(Output):
    """Mean and quantiles of a quantity over rows."""

    mean: float
    """Arithmetic mean."""
    p50: int
    """Median."""
    p95: int
    """95th percentile."""
    max: int
    """Maximum."""


class TextStatistics(Output):
    """Length statistics of prompts or references."""

    count: int
    """Number of sampled rows with such a text."""
    characters: Quantiles
    """Lengths in characters."""
    tokens: Quantiles | None
    """Lengths in tokens of the student, excluding its chat template; `null` without a student."""


class DatasetStatistics(Output):
    """Statistics of a dataset."""

    object: Literal["dataset.statistics"] = "dataset.statistics"
    rows: int
    """Number of rows."""
    references: int
    """Number of rows with a reference answer."""
    rewards: int
    """Number of rows with a verifiable reward."""
    sampled_rows: int
    """Number of rows in the evenly spaced sample on which the fields below are based; at most `rows`."""
    reward_types: dict[str, int]
    """Number of sampled rows by reward type."""
    tags: dict[str, int]
    """The 50 most frequent tags of the sample, with the number of rows of each."""
    prompt: TextStatistics | None
    """Prompts, all turns together."""
    reference: TextStatistics | None
    """Reference answers; `null` if the sample has none."""


class Model(Output):
    """A model that job specs can use."""

    id: str
    """Name of the model."""
    object: Literal["model"] = "model"
    kind: Literal["student", "discriminator"] | str
    """Supported use."""
    source: str
    """Hub id with revision, or `local`."""


class Page(Output, Generic[T]):
    """One page of a list; request the next one with `?after=<id of the last item>`."""

    object: Literal["list"] = "list"
    data: list[T]
    """Items of the page."""
    has_more: bool
    """Whether more items follow."""
