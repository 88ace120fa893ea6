"""The tables. Times are Unix seconds by the database's clock (`store.db.now`)."""

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
    """A job: its spec, its state, and who holds it."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN ({', '.join(repr(s.value) for s in STATES)})", name="ck_jobs_state"),
        Index("ix_jobs_state_created", "state", "created_at"),
        Index("ix_jobs_tenant_created", "tenant", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    """Whose it is; nobody else sees it."""
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
    """Grows by one with each claim; every write of a holder names it."""
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[float | None]
    not_before: Mapped[float | None]
    """A retry waits until then."""
    fruitless_attempts: Mapped[int] = mapped_column(default=0)
    """Attempts since the last new checkpoint that ended in failure."""
    infra_failures: Mapped[int] = mapped_column(default=0)
    """Failed attempts that the machines were to blame for."""
    user_failures: Mapped[int] = mapped_column(default=0)
    """Failed attempts that the spec was to blame for: out of memory, diverged."""
    preemptions: Mapped[int] = mapped_column(default=0)
    """How often a holder gave the job back unharmed."""
    cancel_requested_at: Mapped[float | None]
    pause_requested_at: Mapped[float | None]
    error: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    event_seq: Mapped[int] = mapped_column(default=0)
    """Number of the last event; drawn from this row so that events become visible in order."""
    created_at: Mapped[float] = mapped_column(insert_default=now())
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    traceparent: Mapped[str | None] = mapped_column(insert_default=tracing.traceparent)
    """Of the request that created it, where requests are traced."""

    @property
    def cancel_requested(self) -> bool:
        """Whether a cancellation is under way."""
        return self.cancel_requested_at is not None

    @property
    def pause_requested(self) -> bool:
        """Whether the job is paused, or will be at the end of its current step."""
        return self.pause_requested_at is not None and self.state not in TERMINAL


class Attempt(Base):
    """One worker's hold on a job."""

    __tablename__ = "attempts"
    __table_args__ = (Column("dropped_points", BigInteger(), nullable=False, server_default="0"),)
    __mapper_args__ = {"exclude_properties": ["dropped_points"]}
    """Unused since this release; the one before still writes it, so only a later migration may drop it
    (docs/deployment.md, "Upgrades")."""

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    fence: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    owner: Mapped[str]
    host: Mapped[str]
    boot_id: Mapped[str]
    pgid: Mapped[int | None]
    """Process group of the trainer."""
    pid_starttime: Mapped[int | None]
    """The kernel's start time of its leader, in clock ticks since boot: tells it from a stranger with its number."""
    resumed_from: Mapped[str | None]
    """Checkpoint id."""
    relayed_seq: Mapped[int] = mapped_column(default=0)
    """Last report of this attempt that is in the database."""
    relay_closed: Mapped[bool] = mapped_column(default=False)
    """Whether nothing is left to relay; if not, the next claimant does it."""
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
    """One number at one step; of two attempts that both made the step, the newer one's."""

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
    """A checkpoint exists only through its row."""

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
    """A name for a checkpoint, such as the one that is served."""

    __tablename__ = "aliases"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoints.id"))
    version: Mapped[int]
    """Grows by one with each change; who changes it names the version that he has seen."""
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
    """Path of a field to the number of rows in which nothing reads it."""
    bytes: Mapped[int]
    """As they were sent: compressed, or Parquet."""
    sha256: Mapped[str]
    created_at: Mapped[float] = mapped_column(insert_default=now())
    deleted_at: Mapped[float | None]


class Upload(Base):
    """A dataset that comes in several requests."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    name: Mapped[str]
    bytes: Mapped[int]
    """Announced."""
    sha256: Mapped[str | None]
    """Announced."""
    offset: Mapped[int] = mapped_column(default=0)
    """Bytes that have come; the file may be longer after a crash."""
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id"))
    """What it has become."""
    created_at: Mapped[float] = mapped_column(insert_default=now())
    expires_at: Mapped[float]


class Key(Base):
    """An API key; of its secret only a keyed hash."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    """Stands in the key itself, before the secret."""
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
    """A key for somebody else's server, encrypted; the API never gives it back."""

    __tablename__ = "secrets"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    sealed: Mapped[str]
    updated_at: Mapped[float] = mapped_column(insert_default=now())


class Worker(Base):
    """A worker process and what it runs on, as it says itself."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    """As in `jobs.lease_owner`."""
    host: Mapped[str]
    cpus: Mapped[int]
    memory_bytes: Mapped[int]
    gpus: Mapped[list[Json]]
    slots: Mapped[int]
    version: Mapped[str]
    started_at: Mapped[float] = mapped_column(insert_default=now())
    seen_at: Mapped[float] = mapped_column(insert_default=now())
