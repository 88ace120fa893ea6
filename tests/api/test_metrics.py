"""`/metrics` and `/readyz`: authorisation and content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from api.main import create_app
from store.db import unit_of_work
from store.settings import Settings
from tests.api.conftest import new_key

pytestmark = pytest.mark.integration

TOKEN = "a-token-for-prometheus"


@pytest.fixture
def app(database_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """With a token, and no key in the headers."""
    (tmp_path / "token").write_text(TOKEN + "\n")
    settings = Settings(data_dir=tmp_path, database_url=database_url, metrics_token_file=tmp_path / "token")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_the_token_opens_metrics_and_nothing_else(app: TestClient) -> None:
    assert app.get("/metrics", headers=bearer(TOKEN)).status_code == 200
    for path in ("/jobs", "/models", "/datasets"):
        assert app.get(path, headers=bearer(TOKEN)).status_code == 401
    assert app.get("/metrics").status_code == 401
    assert app.get("/metrics", headers=bearer(TOKEN + "x")).status_code == 401
    assert app.get("/metrics", headers=bearer("")).status_code == 401


def test_a_key_opens_metrics_with_the_scope_admin_only(app: TestClient) -> None:
    assert app.get("/metrics", headers=bearer(new_key(app))).status_code == 200
    assert app.get("/metrics", headers=bearer(new_key(app, scopes=["jobs:read"]))).status_code == 403


def samples(app: TestClient) -> dict[tuple[str, tuple[str, ...]], float]:
    page = app.get("/metrics", headers=bearer(TOKEN)).text
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_requests_are_counted_by_route_and_never_by_path(app: TestClient) -> None:
    name, key = "uniapl_api_request_seconds_count", bearer(new_key(app))
    before = samples(app)
    for path in ("/jobs/job_one", "/jobs/job_two"):
        app.get(path, headers=key)
    for path in ("/no/such/route", "/another"):
        app.get(path)
    app.request("PROPFIND", "/jobs")
    after = samples(app)

    def gained(*labels: str) -> float:
        return after.get((name, labels), 0) - before.get((name, labels), 0)

    assert gained("GET", "/jobs/{job_id}", "4xx") == 2
    assert gained("GET", "none", "4xx") == 2
    assert (
        sum(value - before.get(key, 0) for key, value in after.items() if key[0] == name and key[1][0] == "other") == 1
    )
    assert not any("job_one" in label or "PROPFIND" in label for _, labels in after for label in labels)


def test_the_disk_and_the_process_are_shown(app: TestClient) -> None:
    found = samples(app)
    assert 0 < found["uniapl_data_free_bytes", ()] < found["uniapl_data_size_bytes", ()]
    assert found["process_resident_memory_bytes", ()] > 1e6


def test_ready_means_that_no_migration_of_this_code_is_missing(app: TestClient) -> None:
    engine = app.app.state.service.engine  # type: ignore[attr-defined]

    def ready_at(revision: str) -> int:
        with unit_of_work(engine) as session:
            current = session.scalar(text("SELECT version_num FROM alembic_version"))
            session.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
        try:
            return app.get("/readyz").status_code
        finally:
            with unit_of_work(engine) as session:
                session.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": current})

    assert app.get("/readyz").status_code == 200
    assert ready_at("0001") == 503
    assert ready_at("9999") == 200  # newer code has migrated: upgrades only add until the old code is gone
