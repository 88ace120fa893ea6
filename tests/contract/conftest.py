"""The API on a real socket, with one object of each kind."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import schemathesis

from store.access import api_keys as keys
from store.access import keyring
from store.access.api_keys import SCOPES, Scope
from store.checkpoints import repository as checkpoints
from store.db import unit_of_work
from store.jobs import metrics
from store.migrate import upgrade
from store.settings import Settings
from tests.api.conftest import ROW
from tests.api.server import Server
from tests.conftest import fresh_postgres
from tests.store.jobs.factories import claimed


@dataclass(frozen=True)
class World:
    """A served API, a key with each scope alone, and ids that exist."""

    server: Server
    keys: Mapping[Scope, str]
    ids: Mapping[str, Sequence[str]]
    """By the name of the path's parameter."""

    def fill(self, case: schemathesis.Case, rng: random.Random) -> None:
        """Let two of three requests be about something that exists; what is generated hardly ever is."""
        if rng.random() < 1 / 3:
            return
        for name, known in self.ids.items():
            if name in case.path_parameters:
                case.path_parameters[name] = rng.choice(known)
        if isinstance(case.body, dict) and "dataset_mix" in case.body:
            case.body |= {"student": "tiny", "dataset_mix": [{"dataset": self.ids["dataset_id"][0]}]}
        if isinstance(case.body, dict) and "training_file" in case.body:
            case.body |= {"model": "tiny", "training_file": self.ids["file_id"][0]}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("contract")
    models = folder / "models.json"
    known = {"tiny": {"kind": "student", "path": "t"}, "all-MiniLM-L6-v2": {"kind": "discriminator", "path": "m"}}
    models.write_text(json.dumps(known))
    settings = Settings(
        data_dir=folder,
        database_url=fresh_postgres(postgres_url),
        models_file=models,
        hub_models=[],
        requests_per_s=100_000,
        tenant_jobs=1_000_000,
    )
    upgrade(settings)
    with Server(settings) as server:
        with unit_of_work(server.engine) as session:
            load = keyring.load(settings)
            made = {s: keys.create(session, load, tenant="default", name=s, scopes=[s])[1] for s in SCOPES}
        yield World(server, made, _ids(server))


def _ids(server: Server) -> dict[str, list[str]]:
    with httpx.Client(base_url=server.url, headers=server.headers | {"accept": "*/*"}, trust_env=False) as http:
        body = "\n".join([json.dumps(ROW)] * 10)
        datasets = [http.post("/datasets", content=body).json()["id"] for _ in range(3)]
        spec: dict[str, Any] = {"student": "tiny", "dataset_mix": [{"dataset": datasets[0]}]}
        made = [http.post("/jobs", json=spec).json()["id"] for _ in range(6)]
        http.post(f"/jobs/{made[1]}/pause")
        http.post(f"/jobs/{made[2]}/cancel")
        uploads = [http.post("/uploads", json={"bytes": 5}).json()["id"] for _ in range(3)]
        saved = _checkpoint(server, made[3])
        http.put("/aliases/best", json={"checkpoint_id": saved, "version": 0}).raise_for_status()
    return {
        "job_id": made,
        "fine_tuning_job_id": made,
        "dataset_id": datasets,
        "file_id": datasets,
        "upload_id": uploads,
        "checkpoint_id": [saved],
    }


def _checkpoint(server: Server, job_id: str) -> str:
    """A checkpoint of a running job with metrics."""
    claim = claimed(server.engine, job_id)
    artifacts = server.app.state.service.artifacts
    folder = artifacts.checkpoints(job_id, claim.fence) / "step-00000002"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"m")
    (folder / "manifest.json").write_text('{"files": {"model.bin": {"bytes": 1, "sha256": "x"}}}')
    path = str(folder.relative_to(artifacts.root))
    with unit_of_work(server.engine) as session:
        metrics.put_metrics(session, job_id, 1, [("loss", step, 0.5) for step in range(100)])
        checkpoints.commit(session, job_id, claim.fence, step=2, path=path, manifest_sha256="0", size=1)
        return checkpoints.of_job(session, job_id)[0].id
