"""Data that an earlier commit wrote: laid out on disk again, and served.

    student/            the model that was trained: random weights, one layer, one token per byte
    models.json         the registry
    data/               the data folder, less database, messages and logs
    uniapl.sql          the database
    answers.jsonl       what that commit's API answered over exactly this data: one GET per line
    posts.jsonl         requests that were sent with an `Idempotency-Key`, and the answers
    uninterrupted.jsonl reports of one run from the first step to the last, with the spec of the paused job

Absolute paths are `@HERE@` (the folder with all of the above) and `@ROOT@` (the checkout, for the bundled models).
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from embedded.service import EmbeddedService

ROOT = Path(__file__).parent.parent.parent
HERE_MARK, ROOT_MARK = "@HERE@", "@ROOT@"
SECRET_NAME, SECRET = "teacher-key", "sk-secret-of-the-fixtures"
IMPATIENT = {
    "UNIAPL_LEASE_S": "4",
    "UNIAPL_HEARTBEAT_S": "0.5",
    "UNIAPL_SWEEP_S": "0.5",
    "UNIAPL_RETRY_BACKOFF_S": "0.2",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


def masked(text: str, here: Path) -> str:
    """The text with marks in place of absolute paths."""
    return text.replace(str(here), HERE_MARK).replace(str(ROOT), ROOT_MARK)


def unmasked(text: str, here: Path) -> str:
    """The text with absolute paths in place of marks."""
    return text.replace(HERE_MARK, str(here)).replace(ROOT_MARK, str(ROOT))


def texts(folder: Path) -> Iterator[Path]:
    """Files that may hold absolute paths. A checkpoint's may not: its manifest has their hashes."""
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".log", ".sql") and "checkpoints" not in path.parts:
            yield path


def restored(fixtures: Path, folder: Path) -> Path:
    """Copy the fixtures into an empty folder, fill the paths in, and build the database; returns the data folder.

    Stored answers count as written now: workers delete them after a week.
    """
    shutil.copytree(fixtures, folder, dirs_exist_ok=True)
    for path in texts(folder):
        path.write_text(unmasked(path.read_text(), folder))
    with closing(sqlite3.connect(folder / "data" / "uniapl.db")) as database:
        database.executescript((folder / "uniapl.sql").read_text())
        database.execute("UPDATE answers SET created_at = ?", (time.time(),))
        database.commit()
    (folder / "data" / "secret.key").chmod(0o600)
    return folder / "data"


def service_over(data: Path, environment: dict[str, str] | None = None) -> EmbeddedService:
    """The checkout's own service over restored data; not started."""
    own = {"UNIAPL_MODELS_FILE": str(data.parent / "models.json"), **IMPATIENT, **(environment or {})}
    return EmbeddedService(data, environment=own)


def key_of(data: Path) -> dict[str, str]:
    """The header that opens the API with the fixture's key."""
    return {"authorization": f"Bearer {(data / 'api_key').read_text().strip()}"}


@contextmanager
def served(data: Path) -> Iterator[httpx.Client]:
    """The API process alone: nothing changes what the database holds."""
    (data / "logs").mkdir(exist_ok=True)
    service = service_over(data)
    try:
        service.start_api()
        with httpx.Client(base_url=service.url, headers=key_of(data), timeout=60, trust_env=False) as client:
            _wait_until_ready(service, client)
            yield client
    finally:
        service.stop(grace_s=5)


def _wait_until_ready(service: EmbeddedService, client: httpx.Client) -> None:
    deadline = time.monotonic() + 120
    while True:
        service.check()
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"the API is not ready: {service.log('api').read_text()[-2000:]}")
        time.sleep(0.05)


def body_of(answer: httpx.Response) -> Any:
    """JSON, text, or of an error the code alone: its message may change."""
    if answer.is_error:
        problem = answer.json()
        return {"code": problem.get("error", problem)["code"]}
    return answer.json() if answer.headers["content-type"] == "application/json" else answer.text


def lines_of(path: Path) -> list[Any]:
    """The values of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def train(run: Path) -> subprocess.CompletedProcess[str]:
    """`python -m uniapl train run.json`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "uniapl", "train", str(run)],
        cwd=ROOT,
        env={**os.environ, **IMPATIENT},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
