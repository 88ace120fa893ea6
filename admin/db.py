"""The commands `uniapl admin db upgrade|check`: run migrations, or check the database version."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from store import logs, migrate
from store.db import EncodingNotSupported, make_engine
from store.settings import Settings

logger = logging.getLogger(__name__)
MESSAGES = {
    "empty": "the database has no tables yet; run `uniapl admin db upgrade`",
    "behind": "the database is older than this code; run `uniapl admin db upgrade`",
    "current": "the database is up to date",
    "ahead": "the database is newer than this code, which still works with it; upgrade the code",
}


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    commands = parser.add_subparsers(dest="action", required=True)
    commands.add_parser("upgrade", help="run missing migrations; safe to run concurrently")
    commands.add_parser("check", help="exit with status 1 if migrations are missing; read-only")


def obstacle(engine: Engine) -> str | None:
    """Why commands cannot read the tables of a database, with the remedy; `None` where they can. Creates no file."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    if file and not Path(file).exists():
        return (
            f"there is no database {file}; run the command in the service's folder, or set UNIAPL_DATA_DIR or "
            "UNIAPL_DATABASE_URL as for the service (`uniapl admin db upgrade` creates a database)"
        )
    try:
        with engine.connect() as connection:
            state = migrate.state(connection)
    except EncodingNotSupported as error:
        return str(error)
    except SQLAlchemyError as error:
        return f"the database is unreachable: {error}"
    return MESSAGES[state] if state in ("empty", "behind") else None


def main(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run a subcommand; exit status 1 if migrations are missing or the database is unusable."""
    engine = make_engine(settings.database)
    try:
        if arguments.action == "upgrade":
            migrate.upgrade(settings)
        with engine.connect() as connection:
            state = migrate.state(connection)
    except EncodingNotSupported as error:
        _report(settings, logging.ERROR, str(error))
        return 1
    except SQLAlchemyError as error:
        _report(settings, logging.ERROR, f"the database is unreachable: {error}")
        return 1
    finally:
        engine.dispose()
    _report(settings, logging.INFO, MESSAGES[state])
    return 0 if state in ("current", "ahead") else 1


def _report(settings: Settings, level: int, message: str) -> None:
    """A line for a terminal, or a log record where logs are JSON: as a service of a stack, this command is logged."""
    if settings.log_format == "json":
        logs.configure(settings)
        logger.log(level, message)
    else:
        print(f"error: {message}" if level == logging.ERROR else message, file=sys.stderr)
