"""Migrations of databases that are full, on both databases, and of such whose migration was killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, MetaData, create_engine, event, inspect, select, text
from sqlalchemy.exc import IntegrityError

from store import migrate
from store.db import make_engine, unit_of_work
from store.settings import Settings
from store.tables import Attempt, Base, Dataset, Job
from tests.conftest import fresh_postgres

pytestmark = pytest.mark.integration

OLD_STATES = ("queued", "starting", "running", "finalizing", "retry_wait", "succeeded", "failed", "cancelled")


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """An empty database of each kind, not migrated."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'test.db'}"
    else:
        url = fresh_postgres(request.getfixturevalue("postgres_url"))
    return Settings(data_dir=tmp_path, database_url=url)


@pytest.fixture
def old(settings: Settings) -> Iterator[Engine]:
    """A database of the first revision with rows in every table."""
    go_to(settings, "0001")
    engine = make_engine(settings.database)
    fill(engine)
    yield engine
    engine.dispose()


def go_to(settings: Settings, revision: str) -> None:
    """Migrate up or down."""
    with migrate.connection(settings) as connection:
        config = migrate.alembic_config(connection)
        if revision == "base" or revision < (MigrationContext.configure(connection).get_current_revision() or ""):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)


def fill(engine: Engine) -> None:
    """Two rows in every table that is there, of jobs one in each state."""
    tables = MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for table in tables.sorted_tables:
            if table.name == "alembic_version":
                continue
            for index, state in enumerate(OLD_STATES):
                known = {"id": f"{table.name}_{index}", "job_id": f"jobs_{index}", "state": state}
                connection.execute(
                    table.insert().values(
                        {
                            column.name: known.get(column.name, example(str(column.type), index))
                            for column in table.columns
                        }
                    )
                )


def example(type_: str, index: int) -> object:
    """A value for a column of this type."""
    if "CHAR" in type_ or "TEXT" in type_:
        return f"text {index}"
    if "JSON" in type_:
        return {"number": index}
    return index + (0.25 if "DOUBLE" in type_ else 0)


def contents(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        return {
            table.name: sorted(
                (dict(row) for row in connection.execute(select(table)).mappings()),
                key=lambda row: json.dumps(row, sort_keys=True),
            )
            for table in tables.sorted_tables
            if table.name != "alembic_version"
        }


def old_part(new: dict[str, list[dict[str, Any]]], of: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The tables and columns that were there before, in the order of the rows before."""
    part = {}
    for name, rows in of.items():
        kept = [{column: row[column] for column in rows[0]} for row in new[name]]
        part[name] = sorted(kept, key=lambda row: json.dumps(row, sort_keys=True))
    return part


def revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def assert_whole(engine: Engine) -> None:
    """The schema is the tables'; references hold, and are enforced; finished jobs cannot change."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        if engine.dialect.name == "sqlite":
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
            assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
            assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
        left = {name for name in inspect(connection).get_table_names() if name.startswith("_alembic")}
        assert not left
        connection.execute(text("UPDATE attempts SET dropped_points = 1"))  # which the release before this one writes
        for table in ("attempts", "events", "metrics", "samples", "checkpoints"):
            (key,) = inspect(connection).get_foreign_keys(table)
            assert (key["constrained_columns"], key["referred_table"]) == (["job_id"], "jobs")
    with pytest.raises(IntegrityError), unit_of_work(engine) as session:
        session.add(Attempt(job_id="job_unknown", fence=1, attempt=1, owner="w", host="h", boot_id="b"))
    with pytest.raises(IntegrityError), unit_of_work(engine) as session:
        session.delete(session.get_one(Job, "jobs_0"))
    with pytest.raises(IntegrityError, match="over"), unit_of_work(engine) as session:
        session.get_one(Job, f"jobs_{OLD_STATES.index('failed')}").step = 99
    with unit_of_work(engine) as session:
        assert session.get_one(Dataset, "datasets_0").ignored_fields == {}
        job = session.get_one(Job, "jobs_0")
        assert (job.infra_failures, job.user_failures, job.preemptions, job.pause_requested_at) == (0, 0, 0, None)
        attempt = session.get_one(Attempt, ("jobs_0", 0))
        assert attempt.relay_closed is False


def test_a_full_database_keeps_every_row_on_its_way_up_and_back(old: Engine, settings: Settings) -> None:
    before = contents(old)
    assert all(len(rows) == len(OLD_STATES) for rows in before.values())
    migrate.upgrade(settings)
    assert old_part(contents(old), before) == before
    assert_whole(old)
    go_to(settings, "0001")
    assert contents(old) == before
    migrate.upgrade(settings)
    assert_whole(old)


def test_on_the_way_back_a_paused_job_is_cancelled_since_nothing_could_resume_it(
    old: Engine, settings: Settings
) -> None:
    migrate.upgrade(settings)
    with unit_of_work(old) as session:
        session.get_one(Job, "jobs_0").state = "paused"
    go_to(settings, "0001")
    states = {row["id"]: row["state"] for row in contents(old)["jobs"]}
    assert states == {f"jobs_{index}": state if index else "cancelled" for index, state in enumerate(OLD_STATES)}


def migrate_and_die(url: str, data_dir: Path, before_statement: int) -> None:
    """Migrate, in a process that is killed before its n-th statement."""
    settings = Settings(data_dir=data_dir, database_url=url)
    count = 0

    def die(_: Connection, __: Any, statement: str, *___: Any) -> None:
        nonlocal count
        count += 1
        if count == before_statement:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", die)
    migrate.upgrade(settings)


def killed(settings: Settings, before_statement: int) -> bool:
    """Whether the migration got so far that it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=migrate_and_die, args=(settings.database, settings.data_dir, before_statement))
    process.start()
    process.join(timeout=60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.faults)])
def test_a_migration_killed_before_any_of_its_statements_has_changed_nothing(
    old: Engine, settings: Settings, stride: int
) -> None:
    before, schema = contents(old), MetaData()
    schema.reflect(old)
    statement = 1
    while killed(settings, statement) and revision(old) == "0001":  # the last statement follows the commit
        after = MetaData()
        after.reflect(old)
        assert {t.name: t.columns.keys() for t in after.sorted_tables} == {
            t.name: t.columns.keys() for t in schema.sorted_tables
        }
        assert contents(old) == before
        statement += stride
    assert statement > 10
    migrate.upgrade(settings)
    assert old_part(contents(old), before) == before
    assert_whole(old)


def test_a_first_migration_that_is_killed_again_and_again_goes_on_where_it_was(settings: Settings) -> None:
    statement = 1
    while killed(settings, statement):
        statement += 5
    migrate.upgrade(settings)
    engine = create_engine(settings.database)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_migrations_lead_to_the_tables_and_back(settings: Settings) -> None:
    migrate.upgrade(settings)
    go_to(settings, "base")
    with migrate.connection(settings) as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    migrate.upgrade(settings)
    with migrate.connection(settings) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_replicas_that_migrate_at_the_same_time_do_it_once(old: Engine, settings: Settings) -> None:
    before = contents(old)
    errors: list[Exception] = []

    def upgrade() -> None:
        try:
            migrate.upgrade(settings)
        except Exception as error:  # noqa: BLE001  (collected for the assertion)
            errors.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert old_part(contents(old), before) == before
    assert_whole(old)
