"""Deployment settings, from the environment (`UNIAPL_…`). The defaults are the embedded service on one machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

PREFIX = "UNIAPL_"
OF_OTHERS = ("UNIAPL_URL", "UNIAPL_API_KEY")
"""Variables that the client reads."""
OF_TESTS = "UNIAPL_TEST_"


class Settings(BaseSettings):
    """Everything an operator can set. Training options are in the job spec, not here."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, use_attribute_docstrings=True, ignored_types=(cached_property,)
    )

    data_dir: Path = Path("data")
    """Datasets, checkpoints and logs; for the embedded service also the database and the message folder."""
    artifacts_url: str = ""
    """`s3://bucket/prefix`: the bucket in which API and workers share datasets, checkpoints and logs; `data_dir` is
    then a cache of each process. Endpoint, region and key id come from AWS_ENDPOINT_URL, AWS_REGION and
    AWS_ACCESS_KEY_ID, or from the machine's role. By default they share `data_dir` itself."""
    artifacts_redirect: bool = False
    """Redirect downloads of checkpoints and datasets to URLs of the bucket that are valid for 15 minutes, instead of
    streaming them through the API. Clients must be able to reach the endpoint in AWS_ENDPOINT_URL."""
    artifacts_secret_file: Path | None = None
    """File with the secret key that belongs to AWS_ACCESS_KEY_ID."""
    database_url: str = ""
    """SQLAlchemy URL; by default a SQLite file in `data_dir`. Production: `postgresql+psycopg://…`."""
    database_password_file: Path | None = None
    """File with the password of the user named in `database_url`, to keep the password out of the URL."""
    broker_url: str = ""
    """Celery broker; by default a message folder in `data_dir`. Production: `redis://…`."""
    broker_password_file: Path | None = None
    """File with the password of the user named in `broker_url`; the default user of Redis is called `default`."""
    models_file: Path = Path("models.json")
    """The model registry; paths in it are relative to its folder."""
    hub_models: list[str] = ["*/*"]
    """Glob patterns of the hub ids that specs may name, as a JSON list; `[]` allows names of the registry only."""
    teacher_urls: list[str] = []
    """Base URLs of `openai` teachers that specs may name, as a JSON list; URLs below a listed one are allowed too. A
    listed server may have any address, also inside the service's own network. `https://*` allows every https server
    whose addresses are all public. By default none is allowed."""
    discriminator_urls: list[str] = []
    """Base URLs of discriminator servers that specs may name, as a JSON list; URLs below a listed one are allowed too.
    Prompts and answers are sent to these servers, so by default none is allowed."""
    vllm_command: list[str] = ["vllm"]
    """Program and first arguments that start vLLM, as a JSON list; `serve MODEL …` is appended. Usually the program of
    a separate environment, such as `["/opt/vllm/bin/vllm"]`."""
    vllm_options: list[str] = []
    """Further options of every `vllm serve`, as a JSON list, such as `["--enforce-eager"]`."""
    trainer_devices: str = ""
    """CUDA_VISIBLE_DEVICES of trainers, such as `0`; by default the worker's own. `-1` makes trainers use the CPU."""
    discriminator_devices: str = ""
    """CUDA_VISIBLE_DEVICES of discriminator servers, such as `1`; by default the worker's own."""
    rollout_devices: str = ""
    """CUDA_VISIBLE_DEVICES of sampling servers; by default the worker's own."""
    secret_key_file: Path | None = None
    """File with lines of random characters. The first line hashes API keys and encrypts secrets; the others still
    verify and decrypt what they made. By default `secret.key` in `data_dir`, created at the first start. Anyone who can
    read this file can decrypt every secret."""
    auth: bool = True
    """Whether requests need an API key. Without keys everything belongs to the tenant `default`, and only requests over
    the loopback interface are accepted."""
    requests_per_s: int = Field(default=50, ge=1)
    """Request rate of one tenant, averaged over ten seconds; each API process counts separately."""
    tenant_jobs: int = Field(default=1000, ge=1)
    """Unfinished jobs of one tenant."""
    tenant_uploads: int = Field(default=4, ge=1)
    """Concurrent uploads of one tenant, per API process."""
    tenant_streams: int = Field(default=100, ge=1)
    """Concurrent event streams of one tenant, per API process."""
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024)
    """Largest request body that is not an upload."""
    request_wait_s: float = Field(default=30.0, gt=0)
    """Time limit for a request's headers, for its whole body, and, for an upload, for each next piece. On expiry the
    connection is closed, with a 408 response if the headers have arrived."""
    worker_slots: int = Field(default=1, ge=1)
    """Jobs that one worker runs concurrently."""
    lease_s: float = Field(default=90.0, gt=0)
    """A job is taken from a worker that has not renewed its lease for this long."""
    heartbeat_s: float = Field(default=10.0, gt=0)
    """Interval at which a worker renews the leases of its jobs."""
    sweep_s: float = Field(default=5.0, gt=0)
    """Interval at which every worker checks for expired leases and queued jobs."""
    measure_speed: bool = True
    """Whether a worker measures the speed of its machine once, while no job needs it (docs/estimate.md)."""
    retry_backoff_s: float = Field(default=5.0, gt=0)
    """Wait before the first retry; doubles with each further one."""
    drain_s: float = Field(default=120.0, gt=0)
    """Time that a trainer has to save its last finished step and exit when its worker stops; then it is killed. A pause
    has no such limit."""
    hang_factor: float = Field(default=20.0, gt=1)
    """A step that takes this many times as long as the run's median step counts as hung; the trainer is killed, and the
    job is retried."""
    hang_min_s: float = Field(default=300.0, gt=0)
    """Shortest time after which a step may count as hung."""
    phase_limit_s: float = Field(default=3600.0, gt=0)
    """Longest time without progress while loading, evaluating, or querying the teacher."""
    sidecar_start_s: float = Field(default=1800.0, gt=0)
    """Time that a model server beside the trainer has to load and to answer its first request."""
    sidecar_probe_s: float = Field(default=60.0, gt=0)
    """A model server that does not answer a request within this time, and processes no token meanwhile, counts as hung;
    it is killed and restarted."""
    sidecar_probe_every_s: float = Field(default=10.0, gt=0)
    """Interval between two such requests."""
    sidecar_restarts: int = Field(default=3, ge=0)
    """Restarts of a model server per job; after these the job fails. The waits between restarts grow as
    `retry_backoff_s` describes."""
    sidecar_idle_s: float = Field(default=600.0, ge=0)
    """Time for which an idle model server is kept for the next job with the same model. A job with another model, or
    with none, stops it at once."""
    garbage_s: float = Field(default=600.0, gt=0)
    """Interval at which every worker removes remains of unfinished checkpoints and of deletions from disk."""
    max_line_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    """Longest line of a dataset."""
    max_dataset_bytes: int = Field(default=8 * 1024**3, ge=1024)
    """Largest dataset, both as sent and uncompressed."""
    upload_expiry_s: float = Field(default=24 * 3600.0, gt=0)
    """A resumable upload is deleted when nothing was appended for this long."""
    metrics_token_file: Path | None = None
    """File with a token that grants access to the API's `/metrics` only, for Prometheus. Keys with the scope `admin`
    have access too."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port of a worker's own `/metrics`, open to every host that can reach it; its labels name no tenant and no job.
    0: none."""
    log_format: Literal["text", "json"] = "text"
    """`json`: one object per line, with the ids of request, job and attempt as fields."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Level of the service's own messages; libraries log from WARNING on."""

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


class InvalidSettings(ValueError):
    """Settings that cannot be used; the message has a line for each."""


def read_settings(**given: Any) -> Settings:
    """The settings of the environment.

    Args:
        given: settings that take precedence over the environment's.

    Raises:
        InvalidSettings: a value, a URL or a password file cannot be used; the message names each variable.
    """
    try:
        settings = Settings(**given)
        for url in (settings.database, settings.broker):
            make_url(url)
    except ValidationError as error:
        problems = [f"{_variable(e['loc'])}: {e['msg']}, got {e['input']!r}" for e in error.errors()]
        raise InvalidSettings("\n  ".join([f"correct {len(problems)} of the service's settings", *problems])) from None
    except SettingsError as error:
        field = str(error).partition('"')[2].partition('"')[0]
        problem = f'{_variable((field,))}: not valid JSON; a list is written as in ["a", "b"]'
        raise InvalidSettings(problem) from None
    except ArgumentError:
        problem = "UNIAPL_DATABASE_URL or UNIAPL_BROKER_URL is no URL; write it as scheme://user@host/name"
        raise InvalidSettings(problem) from None
    except ValueError as error:
        raise InvalidSettings(str(error)) from None
    return settings


def settings_or_exit() -> Settings:
    """The settings of the environment; the process exits with a message where they cannot be used."""
    try:
        return read_settings()
    except InvalidSettings as error:
        raise SystemExit(f"error: {error}") from None


def unknown_settings(variables: Iterable[str] | None = None) -> list[str]:
    """A sentence for each variable `UNIAPL_…` that is not a setting, with the setting that it resembles.

    They are no error, since an operator's `.env` outlives releases.

    Args:
        variables: names of variables; by default those of the environment.
    """
    known = [_variable((field,)) for field in Settings.model_fields]
    found = []
    for name in sorted(os.environ if variables is None else variables):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper.startswith(OF_TESTS) or upper in (*known, *OF_OTHERS):
            continue
        close = get_close_matches(upper, known, n=1, cutoff=0.8)
        advice = f"rename it to {close[0]}" if close else "remove it; .env.example lists all settings"
        found.append(f"{name} is not a setting and has no effect; {advice}")
    return found


def _variable(path: tuple[int | str, ...]) -> str:
    """The environment variable of a field."""
    return PREFIX + str(path[0]).upper() if path else "settings"


def _with_password(settings: Settings, whose: Literal["database", "broker"]) -> str:
    """The configured URL, with the password from its file if one is configured."""
    url: str = getattr(settings, f"{whose}_url")
    file: Path | None = getattr(settings, f"{whose}_password_file")
    if file is None:
        return url
    variable = f"UNIAPL_{whose.upper()}_URL"
    if not url or not (parsed := make_url(url)).username:
        raise ValueError(f"{variable}: name the user whose password is in {file}, as in scheme://user@host")
    return parsed.set(password=read_secret(file)).render_as_string(hide_password=False)


def read_secret(file: Path) -> str:
    """Contents of a file, without surrounding white space.

    Raises:
        ValueError: the file cannot be read, or is empty; the message names it.
    """
    try:
        text = file.read_text().strip()
    except OSError as error:
        raise ValueError(f"cannot read the secret file {file}: {error.strerror}") from None
    if not text:
        raise ValueError(f"the secret file {file} is empty")
    return text
