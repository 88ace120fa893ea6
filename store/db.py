"""Database engine, unit of work, and the database's clock."""

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
from sqlalchemy.exc import InvalidatePoolError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import FunctionElement

IDLE_MS = 20_000
"""Idle time after which Postgres terminates a transaction."""
LOCK_WAIT_S = 30
"""Longest wait of a SQLite transaction for the write lock."""
NAP_S = 0.005


class EncodingNotSupported(SQLAlchemyError):
    """A Postgres database whose encoding is not UTF8."""

    remedy = "create it as `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`, and restore the dump of the old one"

    def __init__(self, database: str, encoding: str) -> None:
        self.what = f"the database {database!r} has the encoding {encoding}, and only UTF8 is supported"
        super().__init__(f"{self.what}; {self.remedy}")


class now(FunctionElement[float]):
    """Unix seconds of the database's clock, the only clock that measures leases.

    SQLite uses the clock of the calling process; all its processes run on one machine.
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
    """An engine for SQLite or Postgres, configured for concurrent use by several processes.

    Its connections raise `EncodingNotSupported`.
    """
    if not url.startswith("sqlite"):
        # A process stopped inside a transaction would keep its row locks forever, and its job could not be reaped.
        options = {"options": f"-c idle_in_transaction_session_timeout={IDLE_MS}"}
        engine = create_engine(url, pool_size=10, max_overflow=20, connect_args=options)
        # Before the dialect's own first query, which fails without an explanation in such a database.
        event.listen(engine, "connect", _require_utf8, insert=True)
        event.listen(engine, "checkout", _refuse_closed)
        return engine
    engine = create_engine(url, connect_args={"timeout": LOCK_WAIT_S}, json_deserializer=_json)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # otherwise the driver begins transactions implicitly
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails immediately if another one wrote in between;
        # taking the write lock first makes it wait instead.
        if connection.get_execution_options().get("readonly", False):
            connection.exec_driver_sql("BEGIN")
        else:
            _begin_immediate(connection)

    return engine


def _json(text: str) -> Any:
    """Value of a JSON column. SQLite does not validate it; invalid JSON is returned as text, so that other rows of the
    result remain readable."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _require_utf8(connection: psycopg.Connection[Any], _: Any) -> None:
    encoding = connection.info.parameter_status("server_encoding") or "UTF8"
    if encoding != "UTF8":
        raise EncodingNotSupported(connection.info.dbname, encoding)


def _refuse_closed(connection: Any, *_: Any) -> None:
    """Make the pool reconnect when the server has closed the connection, which the socket shows.

    The pool's own pre-ping took three of the nineteen round trips of a POST.
    """
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    if not socket.poll(0):
        return
    try:
        connection.pgconn.consume_input()  # a notice, or a TLS message
    except psycopg.OperationalError as error:
        raise InvalidatePoolError from error
    if socket.poll(0):
        raise InvalidatePoolError


def _begin_immediate(connection: Connection) -> None:
    """Take SQLite's write lock, polling at short random intervals.

    SQLite's own busy handler sleeps longer the longer it waits, which favours newcomers: of eight busy processes one
    did nearly all work while others waited for seconds.
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
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:  # the low byte is the primary result code
                    raise
            time.sleep(random.uniform(0.0, NAP_S))
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # raises SQLAlchemy's exception
    finally:
        cursor.execute(f"PRAGMA busy_timeout={LOCK_WAIT_S * 1000}")
        cursor.close()


@contextmanager
def unit_of_work(engine: Engine, tenant: str | None = None) -> Iterator[Session]:
    """One transaction: committed when the block succeeds, rolled back when it raises.

    With a tenant, the session reads and writes that tenant's rows only (`store.tenants`).
    """
    with Session(engine, expire_on_commit=False, info={"tenant": tenant}) as session, session.begin():
        yield session


@contextmanager
def reading(engine: Engine, tenant: str | None = None) -> Iterator[Session]:
    """A read-only transaction.

    On SQLite it does not take the write lock. On Postgres each statement is its own transaction, which is equivalent
    under read committed isolation and saves two round trips.
    """
    postgres = engine.dialect.name == "postgresql"
    options = {"isolation_level": "AUTOCOMMIT"} if postgres else {"readonly": True}
    bound = engine.execution_options(**options)
    with Session(bound, expire_on_commit=False, info={"tenant": tenant}) as session, session.begin():
        yield session


def insert(session: Session, table: type[Any] | Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT with `ON CONFLICT`, whose syntax both databases share."""
    return postgresql.insert(table) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(table)
