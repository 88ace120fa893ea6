"""The whole service as real processes, impatient enough for tests."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from uniapl_client import Client

from embedded.service import EmbeddedService
from tests.conftest import ROOT, fresh_postgres

IMPATIENT = {
    "UNIAPL_LEASE_S": "4",
    "UNIAPL_HEARTBEAT_S": "0.5",
    "UNIAPL_SWEEP_S": "0.5",
    "UNIAPL_MEASURE_SPEED": "false",
    "UNIAPL_RETRY_BACKOFF_S": "0.2",
    "HF_HUB_OFFLINE": "1",
}
CHANCE = ROOT / "examples" / "data" / "chance.jsonl"


@pytest.fixture(scope="module", params=["embedded", pytest.param("production", marks=pytest.mark.full)])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """SQLite and the message folder; then Postgres and Redis."""
    environment = dict(IMPATIENT)
    if request.param == "production":
        environment["UNIAPL_DATABASE_URL"] = fresh_postgres(request.getfixturevalue("postgres_url"))
        environment["UNIAPL_BROKER_URL"] = request.getfixturevalue("redis_url")
    with EmbeddedService(tmp_path_factory.mktemp("service"), environment=environment) as running:
        yield running


@pytest.fixture
def client(service: EmbeddedService) -> Iterator[Client]:
    with Client(service.url, api_key=service.api_key) as client:
        yield client


@pytest.fixture
def spec(client: Client) -> dict[str, Any]:
    """A UniAPL job on the tiny model: three terms, a few seconds."""
    dataset = client.datasets.upload(CHANCE)
    return {
        "student": "tiny-random-llama",
        "dataset_mix": [{"dataset": dataset.id}],
        "alpha": 0.3,
        "lambda_adv": 0.01,
        "grpo": {"group_size": 4},
        "rollout": {"max_new_tokens": 12},
        "optimizer": {"learning_rate": 1e-3},
        "schedule": {"steps": 4, "prompts_per_step": 2, "checkpoint_every": 2, "eval_every": 4},
        "evaluation": {"dataset": dataset.id, "rows": 4, "samples": 2},
    }


def wait_for(look: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


def trainers(folder: Path) -> list[psutil.Process]:
    """Living trainer processes of one data folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or [])
        ours = "-m uniapl train" in command or "-m tests.faults.trainer" in command
        if ours and str(folder) in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(copy.copy(process))  # psutil keeps its own, and writes into it at the next look
    return found
