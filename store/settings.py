"""Deployment settings, from the environment (`UNIAPL_…`). The defaults are the embedded service on one machine."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything an operator can set. Training options are in the job spec, not here."""

    model_config = SettingsConfigDict(
        env_prefix="UNIAPL_", use_attribute_docstrings=True, ignored_types=(cached_property,)
    )

    data_dir: Path = Path("data")
    """Datasets, checkpoints, logs; in embedded use also the database and the message folder."""
    database_url: str = ""
    """SQLAlchemy URL; by default a SQLite file in `data_dir`. Production: `postgresql+psycopg://…`."""
    broker_url: str = ""
    """Celery broker; by default a message folder in `data_dir`. Production: `redis://…`."""
    models_file: Path = Path("models.json")
    """The model registry; paths in it are relative to its folder."""
    hub_models: list[str] = ["*/*"]
    """Glob patterns of the hub ids that specs may name, as a JSON list; `[]` allows registry names only."""
    teacher_urls: list[str] = []
    """Addresses of `openai` teachers that specs may name, as a JSON list; what lies below one is allowed too. Those
    listed may be anywhere, inside the service's own network too. `https://*` allows every server over https whose
    addresses are all public. By default none is allowed."""
    secret_key_file: Path | None = None
    """Lines of random characters; the first hashes API keys and seals secrets, the others still recognise what they
    made. By default `secret.key` in `data_dir`, made at the first start. Whoever reads it can read every secret."""
    auth: bool = True
    """Whether requests must bring an API key. Without, everything belongs to the tenant `default`, and requests that
    do not come in over the loopback interface are refused."""
    requests_per_s: int = Field(default=50, ge=1)
    """Requests of one tenant, on average over ten seconds; each API process counts its own."""
    tenant_jobs: int = Field(default=1000, ge=1)
    """Jobs of one tenant that are not over."""
    tenant_uploads: int = Field(default=4, ge=1)
    """Uploads of one tenant at once, for each API process."""
    tenant_streams: int = Field(default=100, ge=1)
    """Event streams of one tenant at once, for each API process."""
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024)
    """Longest request body that is not an upload."""
    worker_slots: int = Field(default=1, ge=1)
    """Jobs that one worker runs at once."""
    lease_s: float = Field(default=90.0, gt=0)
    """A job whose holder has been silent for so long is taken from it."""
    heartbeat_s: float = Field(default=10.0, gt=0)
    """How often a holder renews its lease."""
    sweep_s: float = Field(default=5.0, gt=0)
    """How often every worker looks for expired leases and unheard jobs."""
    retry_backoff_s: float = Field(default=5.0, gt=0)
    """Wait before the first retry; doubles with each."""
    drain_s: float = Field(default=120.0, gt=0)
    """How long a trainer that is drained or paused may take to write a checkpoint."""
    hang_factor: float = Field(default=20.0, gt=1)
    """A step that takes so many times as long as the run's others is hung; the trainer is killed, and retried."""
    hang_min_s: float = Field(default=300.0, gt=0)
    """No step is called hung before so long."""
    phase_limit_s: float = Field(default=3600.0, gt=0)
    """Loading, an evaluation, or the teacher may be silent for so long."""
    metric_points_per_s: int = Field(default=2000, ge=1)
    """Metric points that one job may store a second; of a flood, whole steps are left out and counted."""
    garbage_s: float = Field(default=600.0, gt=0)
    """How often every worker removes what unfinished checkpoints and deletions have left on disk."""
    max_line_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    """Longest line of a dataset."""
    max_dataset_bytes: int = Field(default=8 * 1024**3, ge=1024)
    """Largest dataset, as it is sent and uncompressed."""
    upload_expiry_s: float = Field(default=24 * 3600.0, gt=0)
    """An upload that can be resumed is given up when nothing has been added for so long."""

    @cached_property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'uniapl.db'}"

    @cached_property
    def broker(self) -> str:
        """The broker URL in force."""
        return self.broker_url or "filesystem://localhost"
