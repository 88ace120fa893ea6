"""`uniapl admin db upgrade|check`, on both databases, also by several processes at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text

from admin.doctor import examine
from store import db, migrate
from store.db import make_engine
from store.settings import Settings
from tests.conftest import ROOT, fresh_postgres

pytestmark = pytest.mark.integration


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.full)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Of an empty database."""
    url = f"sqlite:///{tmp_path / 'test.db'}"
    if request.param == "postgres":
        url = fresh_postgres(request.getfixturevalue("postgres_url"))
    return Settings(data_dir=tmp_path, database_url=url)


def start(settings: Settings, action: str) -> subprocess.Popen[str]:
    own = {"UNIAPL_DATA_DIR": str(settings.data_dir), "UNIAPL_DATABASE_URL": settings.database_url}
    return subprocess.Popen(
        [sys.executable, "-m", "admin", "db", action],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **own, "PYTHONPATH": str(ROOT)},
    )


def run(settings: Settings, action: str) -> tuple[int, str]:
    process = start(settings, action)
    _, output = process.communicate(timeout=60)
    return process.returncode, output


def test_an_empty_database_is_missed_upgraded_and_then_found_well(settings: Settings) -> None:
    assert run(settings, "check") == (1, "the database has no tables yet; run `uniapl admin db upgrade`\n")
    assert run(settings, "upgrade") == (0, "the database is up to date\n")
    assert run(settings, "check") == (0, "the database is up to date\n")
    assert run(settings, "upgrade")[0] == 0


def test_three_replicas_may_upgrade_at_once(settings: Settings) -> None:
    replicas = [start(settings, "upgrade") for _ in range(3)]
    ended = [(replica.communicate(timeout=60)[1], replica.returncode) for replica in replicas]
    assert ended == [("the database is up to date\n", 0)] * 3
    engine = make_engine(settings.database)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1
    engine.dispose()


def test_the_lock_outlasts_a_migration_that_takes_its_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "IDLE_MS", 300)
    with migrate.connection(settings):
        time.sleep(1)
        other = start(settings, "upgrade")
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(8)  # time enough to start, and to be done if nothing held it
    other.communicate(timeout=60)
    assert other.returncode == 0


def test_an_older_database_is_behind_and_a_newer_one_ahead(settings: Settings) -> None:
    with migrate.connection(settings) as connection:
        command.upgrade(migrate.alembic_config(connection), "0001")
    assert run(settings, "check") == (1, "the database is older than this code; run `uniapl admin db upgrade`\n")
    migrate.upgrade(settings)
    with migrate.connection(settings) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    status, output = run(settings, "check")
    assert (status, output.startswith("the database is newer than this code")) == (0, True)


def test_a_database_that_does_not_answer_is_an_error_without_a_stack(tmp_path: Path) -> None:
    away = Settings(data_dir=tmp_path, database_url="postgresql+psycopg://u@127.0.0.1:1/x")
    for action in ("check", "upgrade"):
        status, output = run(away, action)
        assert status == 1
        assert output.startswith("error: the database is unreachable: ")
        assert "Traceback" not in output


def test_a_database_that_is_not_utf8_is_refused_with_its_encoding_and_a_remedy(
    postgres_url: str, tmp_path: Path
) -> None:
    url = fresh_postgres(postgres_url, "ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    settings = Settings(data_dir=tmp_path, database_url=url)
    for action in ("check", "upgrade"):
        status, output = run(settings, action)
        assert status == 1
        assert re.fullmatch(r"error: the database 'test_\w+' has the encoding SQL_ASCII, .*\n", output), output
        assert "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0" in output
    [finding] = [found for found in examine(settings) if "encoding" in found.what]
    assert "SQL_ASCII" in finding.what
    assert "ENCODING 'UTF8'" in finding.remedy


def test_messages_are_json_lines_where_logs_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIAPL_LOG_FORMAT", "json")
    _, upgraded = run(Settings(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path / 'test.db'}"), "upgrade")
    status, failed = run(Settings(data_dir=tmp_path, database_url="postgresql+psycopg://u@127.0.0.1:1/x"), "upgrade")
    lines = [json.loads(line) for line in (upgraded + failed).splitlines()]
    assert [(line["level"], line["logger"]) for line in lines] == [("INFO", "admin.db"), ("ERROR", "admin.db")]
    assert lines[0]["message"] == "the database is up to date"
    assert lines[1]["message"].startswith("the database is unreachable: ")
    assert status == 1
