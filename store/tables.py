"""Database tables. Times are Unix seconds of the database's clock (`store.db.now`)."""

from __future__ import annotations

import secrets
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, CheckConstraint, Column, Double, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from store.db import now
from store.states import STATES, TERMINAL
from uniapl import tracing
from uniapl.run.reports import Level

Json = dict[str, Any]
EventType = Literal["state", "message"]


def new_id(prefix: str) -> str:
    """An unguessable id such as `job_3f9c…`."""
    return f"{prefix}_{secrets.token_hex(12)}"


class Base(DeclarativeBase):
    """Common column types."""

    type_annotation_map = {
        float: Double(),
        Json: JSON(),
        list[Json]: JSON(),
        int: BigInteger(),
        Level: String(),
        EventType: String(),
    }


class Job(Base):
    """A job: its spec, its state, and its current claim."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN ({', '.join(repr(s.value) for s in STATES)})", name="ck_jobs_state"),
        Index("ix_jobs_state_created", "state", "created_at"),
        Index("ix_jobs_tenant_created", "tenant", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    """Owner; other tenants cannot see it."""
    name: Mapped[str | None]
    spec: Mapped[Json]
    spec_version: Mapped[int]
    models: Mapped[Json]
    """Model name to `ModelSource`, resolved when the job was accepted, so that every attempt uses the same weights."""
    state: Mapped[str]
    phase: Mapped[str | None]
    step: Mapped[int] = mapped_column(default=0)
    steps: Mapped[int]
    attempt: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    """Incremented by each claim; guards every write of a holder."""
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[float | None]
    not_before: Mapped[float | None]
    """Earliest time of a retry."""
    fruitless_attempts: Mapped[int] = mapped_column(default=0)
    """Failed attempts since the last new checkpoint."""
    infra_failures: Mapped[int] = mapped_column(default=0)
    """Failed attempts caused by the machines."""
    user_failures: Mapped[int] = mapped_column(default=0)
    """Failed attempts caused by the spec: out of memory, diverged."""
    preemptions: Mapped[int] = mapped_column(default=0)
    """Times that a worker released the job without a failure."""
    cancel_requested_at: Mapped[float | None]
    pause_requested_at: Mapped[float | None]
    error: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    event_seq: Mapped[int] = mapped_column(default=0)
    """Number of the last event; counted in this row so that events become visible in order."""
    created_at: Mapped[float] = mapped_column(insert_default=now())
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    traceparent: Mapped[str | None] = mapped_column(insert_default=tracing.traceparent)
    """Trace context of the request that created it, if tracing is on."""

    @property
    def cancel_requested(self) -> bool:
        """Whether a cancellation was requested."""
        return self.cancel_requested_at is not None

    @property
    def pause_requested(self) -> bool:
        """Whether the job is paused, or will be after its current step."""
        return self.pause_requested_at is not None and self.state not in TERMINAL


class Attempt(Base):
    """One worker's attempt at a job."""

    __tablename__ = "attempts"
    __table_args__ = (Column("dropped_points", BigInteger(), nullable=False, server_default="0"),)
    __mapper_args__ = {"exclude_properties": ["dropped_points"]}
    """Unused since this release; the one before still writes it, so only a later migration may drop it
    (docs/operate.md, "Upgrades")."""

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    fence: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    owner: Mapped[str]
    host: Mapped[str]
    boot_id: Mapped[str]
    pgid: Mapped[int | None]
    """Process group of the trainer."""
    pid_starttime: Mapped[int | None]
    """The kernel's start time of its leader, in clock ticks since boot; distinguishes it from a process that reuses the
    pid."""
    resumed_from: Mapped[str | None]
    """Checkpoint id."""
    relayed_seq: Mapped[int] = mapped_column(default=0)
    """Number of the last relayed report."""
    relay_closed: Mapped[bool] = mapped_column(default=False)
    """Whether all reports are relayed; if not, the next attempt relays the rest."""
    started_at: Mapped[float] = mapped_column(insert_default=now())
    ended_at: Mapped[float | None]
    exit_kind: Mapped[str | None]


class Event(Base):
    """Something that happened to a job."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[float] = mapped_column(insert_default=now())
    level: Mapped[Level]
    type: Mapped[EventType]
    message: Mapped[str]
    data: Mapped[Json]
    fence: Mapped[int]


class Metric(Base):
    """One metric value at one step; if two attempts made the step, the newer one's."""

    __tablename__ = "metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float]
    fence: Mapped[int]


class Sample(Base):
    """One held-out answer at one step."""

    __tablename__ = "samples"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    row: Mapped[str] = mapped_column(primary_key=True)
    prompt: Mapped[str]
    completion: Mapped[str]
    reference: Mapped[str | None]
    reward: Mapped[float | None]
    score: Mapped[float | None]
    fence: Mapped[int]


class Checkpoint(Base):
    """A checkpoint; a folder without a row is garbage."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("job_id", "step", "fence", name="uq_checkpoints_job_step_fence"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    step: Mapped[int]
    fence: Mapped[int]
    path: Mapped[str]
    """Relative to the data folder."""
    manifest_sha256: Mapped[str]
    bytes: Mapped[int]
    created_at: Mapped[float] = mapped_column(insert_default=now())
    deleted_at: Mapped[float | None]


class Alias(Base):
    """A name for a checkpoint, such as `production`."""

    __tablename__ = "aliases"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoints.id"))
    version: Mapped[int]
    """Incremented by each change; a change must name the version it replaces."""
    updated_at: Mapped[float] = mapped_column(insert_default=now())


class Dataset(Base):
    """An uploaded dataset whose every line has been validated."""

    __tablename__ = "datasets"
    __table_args__ = (Index("ix_datasets_tenant_created", "tenant", "created_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    name: Mapped[str]
    rows: Mapped[int]
    references: Mapped[int]
    rewards: Mapped[int]
    ignored_fields: Mapped[Json] = mapped_column(default=dict, server_default="{}")
    """Number of rows with an unread field, by field path."""
    recognised: Mapped[Json] = mapped_column(default=dict, server_default="{}")
    """Number of rows of each recognised format."""
    mapping: Mapped[Json] = mapped_column(default=dict, server_default="{}")
    """Where each field of the rows went."""
    bytes: Mapped[int]
    """Size as sent: compressed, or Parquet."""
    sha256: Mapped[str]
    created_at: Mapped[float] = mapped_column(insert_default=now())
    deleted_at: Mapped[float | None]


class Upload(Base):
    """A resumable upload of a dataset."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    name: Mapped[str]
    bytes: Mapped[int]
    """As announced."""
    sha256: Mapped[str | None]
    """As announced."""
    offset: Mapped[int] = mapped_column(default=0)
    """Bytes received; the file may be longer after a crash."""
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id"))
    """The resulting dataset."""
    created_at: Mapped[float] = mapped_column(insert_default=now())
    expires_at: Mapped[float]


class Key(Base):
    """An API key; only a keyed hash of its secret is stored."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    """Part of the key itself, before the secret."""
    tenant: Mapped[str]
    name: Mapped[str]
    digest: Mapped[str]
    """HMAC-SHA256 of the secret, in hex."""
    scopes: Mapped[str]
    """Separated by spaces."""
    created_at: Mapped[float] = mapped_column(insert_default=now())
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class IdempotentResponse(Base):
    """The response to a POST with an idempotency key, written in the transaction of its effect.

    The table keeps its first name, `answers`: databases on users' disks have it, and releases share one database
    during a rolling upgrade.
    """

    __tablename__ = "answers"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    """Fingerprint of method, path and body."""
    body: Mapped[Json]
    created_at: Mapped[float] = mapped_column(insert_default=now())


class Secret(Base):
    """An encrypted credential for an external server; the API never returns it."""

    __tablename__ = "secrets"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    sealed: Mapped[str]
    updated_at: Mapped[float] = mapped_column(insert_default=now())


class Worker(Base):
    """A worker process and the hardware that it reports."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    """As in `jobs.lease_owner`."""
    host: Mapped[str]
    cpus: Mapped[int]
    memory_bytes: Mapped[int]
    gpus: Mapped[list[Json]]
    slots: Mapped[int]
    version: Mapped[str]
    vllm: Mapped[str | None]
    """Version of the vLLM that it can start."""
    bitsandbytes: Mapped[str | None]
    """Version of bitsandbytes that its trainers can import."""
    speed: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    """`uniapl.spec.estimate.Speed` that it measured on its machine."""
    started_at: Mapped[float] = mapped_column(insert_default=now())
    seen_at: Mapped[float] = mapped_column(insert_default=now())
