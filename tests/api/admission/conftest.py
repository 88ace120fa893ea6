"""The application with real models, and helpers for jobs that are not queued yet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api import worker_cache
from api.main import create_app
from store import workers
from store.db import unit_of_work
from store.settings import Settings
from tests.api.conftest import new_key
from tests.api.routes.test_jobs import engine_of
from tests.conftest import MODELS, ROOT

GB = 10**9
EVIL = {"type": "server", "url": "http://evil.test"}
SMALL = {"rollout": {"max_new_tokens": 16}, "schedule": {"prompts_per_step": 2, "steps": 3}, "grpo": {"group_size": 2}}


@pytest.fixture
def real(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The application with the bundled models, whose files can be read; a worker is seen at once."""
    monkeypatch.setattr(worker_cache, "MAX_AGE_S", 0.0)
    registry = {
        "tiny": {"kind": "student", "path": str(MODELS / "tiny-random-llama")},
        "smol": {"kind": "student", "path": str(MODELS / "smollm2-135m-instruct")},
        "all-MiniLM-L6-v2": {"kind": "discriminator", "path": str(MODELS / "all-minilm-l6-v2")},
    }
    (tmp_path / "models.json").write_text(json.dumps(registry))
    settings = Settings(data_dir=tmp_path, database_url=database_url, models_file=tmp_path / "models.json")
    with TestClient(create_app(settings)) as client:
        client.headers["authorization"] = f"Bearer {new_key(client)}"
        yield client


def worker(client: TestClient, memory: float, name: str = "worker_a", gpu: float | None = None, **changes: Any) -> None:
    """Report a live worker with this memory in gigabytes."""
    gpus = [{"name": "G", "memory_bytes": int(gpu * GB)}] if gpu else []
    facts = {"host": "h", "cpus": 2, "memory_bytes": int(memory * GB), "gpus": gpus, "slots": 1, "version": "0"}
    with unit_of_work(engine_of(client)) as session:
        workers.report(session, name, {**facts, **changes}, 90)


def train_rows(client: TestClient) -> str:
    content = (ROOT / "examples" / "data" / "train.jsonl").read_bytes()
    return str(client.post("/datasets", params={"name": "train"}, content=content).json()["id"])


def validation(client: TestClient, spec: dict[str, Any]) -> Any:
    response = client.post("/jobs/validate", json=spec)
    assert response.status_code == 200, response.text
    assert client.get("/jobs").json()["data"] == []
    return response.json()


def validation_warnings(client: TestClient, spec: dict[str, Any]) -> list[str]:
    found = client.post("/jobs/validate", json=spec).json()
    assert found["valid"]
    return list(found["warnings"])
