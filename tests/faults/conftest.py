"""One cluster for each kind of database, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.cluster import Cluster


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """API and one worker; on SQLite with the message folder, on Postgres with Redis."""
    with Cluster(tmp_path_factory.mktemp("cluster"), postgres=request.param == "postgres") as running:
        yield running


@pytest.fixture(autouse=True)
def healed(cluster: Cluster) -> Iterator[None]:
    """Every test begins and ends with one plain worker and no violation."""
    cluster.faults = {}
    for name in list(cluster._processes):
        if name.startswith("worker-"):
            cluster.kill(name)
            del cluster._processes[name]
    cluster.go_on("worker")
    cluster.restart_dead(print)
    yield
    assert cluster.findings().violations == []
