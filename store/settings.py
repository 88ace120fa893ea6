"""Deployment settings, from the environment (`UNIAPL_…`). The defaults are the embedded service on one machine."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url


class Settings(BaseSettings):
    """Everything an operator can set. Training options are in the job spec, not here."""

    model_config = SettingsConfigDict(
        env_prefix="UNIAPL_", use_attribute_docstrings=True, ignored_types=(cached_property,)
    )

    data_dir: Path = Path("data")
    """Datasets, checkpoints, logs; in embedded use also the database and the message folder."""
    artifacts_url: str = ""
    """`s3://bucket/prefix`: there API and workers share datasets, checkpoints and logs, and `data_dir` is each one's
    cache. Endpoint, region and key id are AWS_ENDPOINT_URL, AWS_REGION and AWS_ACCESS_KEY_ID, or the machine's role.
    By default they share `data_dir` itself."""
    artifacts_secret_file: Path | None = None
    """File with the secret that belongs to AWS_ACCESS_KEY_ID."""
    artifacts_redirect: bool = True
    """Whether checkpoint files are downloaded from the bucket itself: the API answers with a redirect to a signed URL
    of AWS_ENDPOINT_URL, valid for 15 minutes. Set it to `false` where clients cannot reach that address."""
    database_url: str = ""
    """SQLAlchemy URL; by default a SQLite file in `data_dir`. Production: `postgresql+psycopg://…`."""
    database_password_file: Path | None = None
    """File with the password of the user that `database_url` names, so that the URL holds none."""
    broker_url: str = ""
    """Celery broker; by default a message folder in `data_dir`. Production: `redis://…`."""
    broker_password_file: Path | None = None
    """File with the password of the user that `broker_url` names; Redis calls its first user `default`."""
    models_file: Path = Path("models.json")
    """The model registry; paths in it are relative to its folder."""
    hub_models: list[str] = ["*/*"]
    """Glob patterns of the hub ids that specs may name, as a JSON list; `[]` allows registry names only."""
    teacher_urls: list[str] = []
    """Addresses of `openai` teachers that specs may name, as a JSON list; what lies below one is allowed too. Those
    listed may be anywhere, inside the service's own network too. `https://*` allows every server over https whose
    addresses are all public. By default none is allowed."""
    discriminator_urls: list[str] = []
    """Addresses of servers of discriminators that specs may name, as a JSON list; what lies below one is allowed too.
    Prompts and answers are sent there, so by default none is."""
    vllm_command: list[str] = ["vllm"]
    """Program and first arguments that start vLLM, as a JSON list; `serve MODEL …` follows. Usually the program in an
    environment of its own, such as `["/opt/vllm/bin/vllm"]`."""
    vllm_options: list[str] = []
    """Further options of every `vllm serve`, as a JSON list, such as `["--enforce-eager"]`."""
    trainer_devices: str = ""
    """CUDA_VISIBLE_DEVICES of trainers, such as `0`; by default the worker's own. `-1` has them use the CPU."""
    discriminator_devices: str = ""
    """CUDA_VISIBLE_DEVICES of discriminators' servers, such as `1`; by default the worker's own."""
    rollout_devices: str = ""
    """CUDA_VISIBLE_DEVICES of servers that sample; by default the worker's own."""
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
    request_wait_s: float = Field(default=30.0, gt=0)
    """How long a request may keep the API waiting: for its head, for its whole body, and, of an upload, for each next
    piece. Then the connection is closed, with a 408 if the head has come."""
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
    """How long a trainer may take to save its last finished step and end when its worker stops; then it is killed. A
    pause has no such limit."""
    hang_factor: float = Field(default=20.0, gt=1)
    """A step that takes so many times as long as the run's others is hung; the trainer is killed, and retried."""
    hang_min_s: float = Field(default=300.0, gt=0)
    """No step is called hung before so long."""
    phase_limit_s: float = Field(default=3600.0, gt=0)
    """Loading, an evaluation, or the teacher may be silent for so long."""
    sidecar_start_s: float = Field(default=1800.0, gt=0)
    """How long a model's server beside the trainer may take to load and answer its first request."""
    sidecar_probe_s: float = Field(default=60.0, gt=0)
    """A server that does not answer a real request within so long, and processes no token meanwhile, is hung; it is
    killed, and started again."""
    sidecar_probe_every_s: float = Field(default=10.0, gt=0)
    """Wait between two such requests."""
    sidecar_restarts: int = Field(default=3, ge=0)
    """How often a server is started again for one job; then the job fails. The waits grow as `retry_backoff_s` does."""
    sidecar_idle_s: float = Field(default=600.0, ge=0)
    """How long a server without a job is kept for the next job that asks for the same model. One that asks for another,
    or for none, has it stopped at once."""
    garbage_s: float = Field(default=600.0, gt=0)
    """How often every worker removes what unfinished checkpoints and deletions have left on disk."""
    max_line_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    """Longest line of a dataset."""
    max_dataset_bytes: int = Field(default=8 * 1024**3, ge=1024)
    """Largest dataset, as it is sent and uncompressed."""
    upload_expiry_s: float = Field(default=24 * 3600.0, gt=0)
    """An upload that can be resumed is given up when nothing has been added for so long."""
    metrics_token_file: Path | None = None
    """File with a token that opens the API's `/metrics` and nothing else, for Prometheus. Keys with the scope `admin`
    open it too."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port where a worker shows its own `/metrics` to whoever can reach it; they name no tenant and no job. 0: none."""
    log_format: Literal["text", "json"] = "text"
    """`json`: one object a line, with the ids of request, job and attempt as fields."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Of the service's own messages; libraries are heard from WARNING on."""

    @cached_property
    def database(self) -> str:
        """The database URL in force.

        Raises:
            ValueError: the password file cannot be read, or the URL names no user.
        """
        return _with_password(self, "database") or f"sqlite:///{self.data_dir.absolute() / 'uniapl.db'}"

    @cached_property
    def broker(self) -> str:
        """The broker URL in force.

        Raises:
            ValueError: the password file cannot be read, or the URL names no user.
        """
        return _with_password(self, "broker") or "filesystem://localhost"


def _with_password(settings: Settings, whose: Literal["database", "broker"]) -> str:
    """The URL as it is set, with the password from its file if there is one."""
    url: str = getattr(settings, f"{whose}_url")
    file: Path | None = getattr(settings, f"{whose}_password_file")
    if file is None:
        return url
    variable = f"UNIAPL_{whose.upper()}_URL"
    if not url or not (parsed := make_url(url)).username:
        raise ValueError(f"{variable}: name the user whose password is in {file}, as in scheme://user@host")
    return parsed.set(password=read_secret(file)).render_as_string(hide_password=False)


def read_secret(file: Path) -> str:
    """What a file holds, without the newline at its end.

    Raises:
        ValueError: it cannot be read, or is empty; the message names it.
    """
    try:
        text = file.read_text().strip()
    except OSError as error:
        raise ValueError(f"cannot read the secret file {file}: {error.strerror}") from None
    if not text:
        raise ValueError(f"the secret file {file} is empty")
    return text
