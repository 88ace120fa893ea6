"""The engine, the unit of work, and the database's clock."""

from __future__ import annotations

import json
import random
import select
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection, Double, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import FunctionElement

IDLE_MS = 20_000
"""Postgres ends a transaction whose client has been silent for so long."""
LOCK_WAIT_S = 30
"""So long a SQLite transaction waits for others."""
NAP_S = 0.005


class now(FunctionElement[float]):
    """Unix seconds by the database's clock: the only clock that leases are measured with.

    SQLite has none of its own, and takes that of the process that asks: its processes share one machine, and one clock.
    """

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgres_now(*_: Any, **__: Any) -> str:
    return "(EXTRACT(EPOCH FROM clock_timestamp())::double precision)"


def make_engine(url: str) -> Engine:
    """An engine for SQLite or Postgres, with what each needs to be used by several processes."""
    if not url.startswith("sqlite"):
        # A process that is stopped inside a transaction would hold its rows for ever: nobody could reap its job.
        options = {"options": f"-c idle_in_transaction_session_timeout={IDLE_MS}"}
        engine = create_engine(url, pool_size=10, max_overflow=20, connect_args=options)
        event.listen(engine, "checkout", _refuse_closed)
        return engine
    engine = create_engine(url, connect_args={"timeout": LOCK_WAIT_S}, json_deserializer=_json)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver would otherwise begin transactions behind our back
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails at once when another has written in between;
        # taking the write lock first makes it wait instead.
        if connection.get_execution_options().get("readonly", False):
            connection.exec_driver_sql("BEGIN")
        else:
            _begin_immediate(connection)

    return engine


def _json(text: str) -> Any:
    """What a JSON column holds; SQLite does not check it, and text that is none must not make the rows beside it
    unreadable."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _refuse_closed(connection: Any, *_: Any) -> None:
    """Let the pool connect anew when the server has ended its connections: a restart shows in the socket.

    To ask the server each time, as the pool can, took three of the nineteen round trips of a POST.
    """
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    if not socket.poll(0):
        return
    try:
        connection.pgconn.consume_input()  # a notice, or a message of TLS
    except psycopg.OperationalError as error:
        raise InvalidatePoolError from error
    if socket.poll(0):
        raise InvalidatePoolError


def _begin_immediate(connection: Connection) -> None:
    """Take SQLite's write lock, waiting for it with short naps of random length.

    SQLite's own wait naps longer the longer it waits, so that whoever has just come, or has just let go, goes first: of
    eight busy processes one did nearly everything while others waited for seconds.
    """
    cursor = connection.connection.cursor()
    ends_at = time.monotonic() + LOCK_WAIT_S
    cursor.execute("PRAGMA busy_timeout=0")
    try:
        while time.monotonic() < ends_at:
            try:
                cursor.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:  # the low byte, whatever the exact reason
                    raise
            time.sleep(random.uniform(0.0, NAP_S))
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # raises as SQLAlchemy does
    finally:
        cursor.execute(f"PRAGMA busy_timeout={LOCK_WAIT_S * 1000}")
        cursor.close()


@contextmanager
def unit_of_work(engine: Engine, tenant: str | None = None) -> Iterator[Session]:
    """One transaction: committed when the block ends well, rolled back when it does not.

    With a tenant, the session sees and changes that tenant's rows only (`store.tenants`).
    """
    with Session(engine, expire_on_commit=False, info={"tenant": tenant}) as session, session.begin():
        yield session


@contextmanager
def reading(engine: Engine, tenant: str | None = None) -> Iterator[Session]:
    """A transaction that only reads.

    On SQLite it does not take the write lock. On Postgres each statement is one of its own, which sees no less than it
    would in a transaction (read committed), and saves two round trips.
    """
    postgres = engine.dialect.name == "postgresql"
    options = {"isolation_level": "AUTOCOMMIT"} if postgres else {"readonly": True}
    bound = engine.execution_options(**options)
    with Session(bound, expire_on_commit=False, info={"tenant": tenant}) as session, session.begin():
        yield session


def insert(session: Session, table: type[Any] | Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows `ON CONFLICT`, which both databases have and write alike."""
    return postgresql.insert(table) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(table)
