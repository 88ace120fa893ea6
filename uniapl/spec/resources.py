"""What the API answers and the SDK returns. Times are Unix seconds.

Service and client may be of different releases: unknown fields are kept, a field with named values takes any other text
too (`JobState | str`), and a spec or row that this release does not know all of is `RawObject` as it is.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from uniapl.spec.stored import StoredSpec

JobState = Literal[
    "queued", "starting", "running", "finalizing", "retry_wait", "paused", "succeeded", "failed", "cancelled"
]
T = TypeVar("T")
TERMINAL_STATES: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})


class Output(BaseModel):
    """A part of an answer. Docstrings under the fields become the OpenAPI text."""

    model_config = ConfigDict(extra="allow", frozen=True, from_attributes=True, use_attribute_docstrings=True)


class JobError(Output):
    """Why a job failed."""

    code: str
    """Stable identifier."""
    message: str
    """What happened, in words."""
    category: Literal["user", "resource", "infra", "internal"] | str
    """Who can mend it: the job's owner, a spec that needs less memory, the operator, or the developers."""
    hint: str | None
    """What to do about it."""
    param: str | None
    """The field of the spec at fault."""
    log_tail: str
    """The last lines of the trainer's log, or of its server's where that is to blame."""


class Job(Output):
    """A training job."""

    id: str
    """`job_…`"""
    object: Literal["job"] = "job"
    state: JobState | str
    """`queued → starting → running → finalizing → succeeded`; beside them `retry_wait`, `paused`, `failed`,
    `cancelled`."""
    phase: str | None
    """What the trainer is doing now: loading, training, evaluating, saving."""
    name: str | None
    """Title given in the spec."""
    spec: StoredSpec
    """The spec with every default filled in; one that a newer release has stored is answered as it is."""
    step: int
    """Policy updates made."""
    steps: int
    """Policy updates wanted."""
    attempt: int
    """How many times a worker has taken the job."""
    cancel_requested: bool
    """Whether a cancellation is under way."""
    pause_requested: bool
    """Whether it is paused, or will be once its last finished step is saved."""
    error: JobError | None
    """Why it failed."""
    queue_position: int | None = None
    """1 for the queued job that is taken next, of all that the workers share; `null` when it is not queued.
    This and the next two are told when a job is looked up or listed, not by answers to a POST."""
    queue_reason: str | None = None
    """In words, what it waits for: jobs before it, a worker, the time of its next attempt; `null` when it does not wait
    for any of these."""
    eta_s: float | None = None
    """Seconds that the steps still to be made will take, without the wait for a worker, evaluations and checkpoints:
    by the median of its last 20 steps, or before the first by earlier jobs of yours whose steps do the same work on
    the workers that are alive. `null` when neither is known, and when the job is over."""
    created_at: float
    """When it was accepted."""
    started_at: float | None
    """When a worker first took it."""
    finished_at: float | None
    """When it reached a terminal state."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended, also in a state that only a newer release knows."""
        return self.state in TERMINAL_STATES or self.finished_at is not None


class JobEvent(Output):
    """Something that happened to a job."""

    id: int
    """Counts from 1 within the job, without gaps; also the SSE event id."""
    object: Literal["job.event"] = "job.event"
    created_at: float
    """When it was recorded."""
    level: Literal["info", "warning", "error"] | str
    """How serious it is."""
    type: Literal["state", "message"] | str
    """`state` for a transition, `message` for a report of the trainer."""
    message: str
    """In words."""
    data: dict[str, Any]
    """Evidence; for a transition, the new `state`."""


class MetricPoint(Output):
    """One number at one step."""

    name: str
    """Metric name, such as `reward`, `uniapl/loss_adv` or `eval/score`."""
    step: int
    """Policy updates made when it was measured."""
    value: float
    """The number."""


class Sample(Output):
    """The policy's greedy answer to one held-out row."""

    step: int
    """Policy updates made when it was sampled."""
    row: str
    """The row's id."""
    prompt: str
    """What was asked."""
    completion: str
    """What the policy answered."""
    reference: str | None
    """What the teacher answered."""
    reward: float | None
    """Verified reward of the completion."""
    score: float | None
    """Discriminator score of the completion against the reference."""


class CheckpointFile(Output):
    """One file of a checkpoint."""

    name: str
    """File name, as in `GET /checkpoints/{id}/files/{name}`."""
    bytes: int
    """Size."""
    sha256: str
    """Hash of the contents."""


class Checkpoint(Output):
    """A saved policy that plain transformers can load."""

    id: str
    """`ckpt_…`"""
    object: Literal["checkpoint"] = "checkpoint"
    job_id: str
    """The job that wrote it."""
    step: int
    """Policy updates it contains."""
    bytes: int
    """Size of all files."""
    manifest_sha256: str
    """Hash of the manifest, which holds the hash of every file."""
    created_at: float
    """When it was committed."""
    files: list[CheckpointFile]
    """Its files, the optimizer's state included."""


class Alias(Output):
    """A name for a checkpoint, such as the one that is served."""

    name: str
    """The name."""
    object: Literal["alias"] = "alias"
    checkpoint_id: str
    """What it stands for now."""
    version: int
    """Grows by one with each change; to be named with the next."""
    updated_at: float
    """When it was changed."""


class Secret(Output):
    """A key for somebody else's server; its value is never shown."""

    name: str
    """The name, for `teacher.api_key_secret`."""
    object: Literal["secret"] = "secret"
    updated_at: float
    """When its value was stored."""


class Dataset(Output):
    """An uploaded dataset."""

    id: str
    """`ds_…`"""
    object: Literal["dataset"] = "dataset"
    name: str
    """Title given at upload."""
    rows: int
    """Lines."""
    references: int
    """Rows with a teacher's answer."""
    rewards: int
    """Rows with a verifiable reward."""
    ignored_fields: dict[str, int] = {}
    """Fields of the uploaded rows that are not read, each with the number of rows that have it; up to 100 are named,
    and `(further fields)` counts rows with more. Inside lists they are written `messages[].name`."""
    bytes: int
    """Size as uploaded: compressed, or Parquet, if that was sent."""
    sha256: str
    """Hash of what was uploaded."""
    created_at: float
    """When the upload was complete."""


class Upload(Output):
    """A dataset on its way in, in as many requests as it takes."""

    id: str
    """`up_…`"""
    object: Literal["upload"] = "upload"
    name: str
    """Title of the dataset to be."""
    bytes: int
    """Size announced."""
    offset: int
    """Bytes that have come; the next ones are sent with `Upload-Offset` set to this."""
    dataset_id: str | None
    """What it has become."""
    created_at: float
    """When it was begun."""
    expires_at: float
    """When it is given up unless more is sent."""


class Quantiles(Output):
    """How a quantity is distributed over rows."""

    mean: float
    """Arithmetic mean."""
    p50: int
    """Median."""
    p95: int
    """Only a twentieth of the rows has more."""
    max: int
    """The most."""


class TextStatistics(Output):
    """How long the texts of a kind are."""

    count: int
    """Rows of the sample that have such a text."""
    characters: Quantiles
    """Lengths in characters."""
    tokens: Quantiles | None
    """Lengths in the student's tokens, without those of its chat template; null when no student is named."""


class DatasetStatistics(Output):
    """What a dataset is made of."""

    object: Literal["dataset.statistics"] = "dataset.statistics"
    rows: int
    """Rows in all."""
    references: int
    """Rows with a teacher's answer."""
    rewards: int
    """Rows with a verifiable reward."""
    sampled_rows: int
    """Rows that everything below is about, evenly spread over the dataset; `rows` if that is all of them."""
    reward_types: dict[str, int]
    """Rows of the sample by type of reward."""
    tags: dict[str, int]
    """The 50 most frequent tags of the sample, with their numbers of rows."""
    prompt: TextStatistics | None
    """The prompts: all turns together."""
    reference: TextStatistics | None
    """The teacher's answers; null when the sample has none."""


class Model(Output):
    """A model that a spec may name."""

    id: str
    """The name."""
    object: Literal["model"] = "model"
    kind: Literal["student", "discriminator"] | str
    """What it may be used for."""
    source: str
    """Hub id with revision, or `local`."""


class Page(Output, Generic[T]):
    """One page of a list; ask for the next with `?after=<id of the last item>`."""

    object: Literal["list"] = "list"
    data: list[T]
    """The items."""
    has_more: bool
    """Whether there are items after the last one."""
