"""Database migration to the newest revision, run once even if several processes start it concurrently."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from store.db import make_engine
from store.settings import Settings

_MIGRATIONS = Path(__file__).parent.parent / "migrations"
_ADVISORY_LOCK = 7_266_911_035
State = Literal["empty", "behind", "current", "ahead"]
"""Revision of a database relative to this code; `ahead` means that newer code has migrated it."""


def upgrade(settings: Settings) -> None:
    """Run the missing migrations under a lock (advisory on Postgres, a file on SQLite)."""
    with connection(settings) as opened:
        command.upgrade(alembic_config(opened), "head")


def state(connection: Connection) -> State:
    """The database's revision relative to this code's migrations."""
    there = MigrationContext.configure(connection).get_current_revision()
    if there is None:
        return "empty"
    known = _revisions()
    if there not in known:
        return "ahead"
    return "current" if there == known[0] else "behind"


@cache
def _revisions() -> list[str]:
    """Known revisions, newest first."""
    return [script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()]


@contextmanager
def connection(settings: Settings) -> Iterator[Connection]:
    """A connection that holds the migration lock."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    engine = make_engine(settings.database)
    with _lock(engine, settings), engine.connect() as opened:
        if engine.dialect.name == "sqlite":  # batch mode replaces a table, which foreign keys to it would prevent
            opened.connection.cursor().execute("PRAGMA foreign_keys=OFF")
        yield opened
        opened.commit()
    engine.dispose()


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration over an open connection."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _lock(engine: Engine, settings: Settings) -> Iterator[None]:
    if engine.dialect.name == "postgresql":
        # Outside a transaction: Postgres terminates an idle transaction during a long migration, and with it the lock.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_LOCK})
    else:
        with (settings.data_dir / "migrate.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
