"""Connections that the server has ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text

from store.db import make_engine, reading, unit_of_work

pytestmark = pytest.mark.integration

_END_OTHERS = text(
    "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


@pytest.fixture
def postgres(postgres_of_this_test: str) -> Iterator[Engine]:
    engine = make_engine(postgres_of_this_test)
    yield engine
    engine.dispose()


def _end_connections(engine: Engine) -> None:
    """As a restart of the server does."""
    other = create_engine(engine.url)
    with other.connect() as connection:
        ended = connection.scalar(_END_OTHERS)
    other.dispose()
    assert ended


def test_a_connection_that_the_server_has_ended_is_not_used(postgres: Engine) -> None:
    for block in (reading, unit_of_work):
        with block(postgres) as session:
            session.execute(text("SELECT 1"))
        _end_connections(postgres)
        with block(postgres) as session:
            assert session.scalar(text("SELECT 1")) == 1


def test_no_transaction_is_open_between_the_statements_of_a_reader(postgres: Engine) -> None:
    with reading(postgres) as session:
        session.execute(text("SELECT 1"))
        with unit_of_work(postgres) as other:
            idle = text("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")
            assert other.scalar(idle) == 0
