"""The commands `uniapl admin db upgrade|check`: run migrations, or check the database version."""

from __future__ import annotations

import argparse
import sys

from sqlalchemy.exc import SQLAlchemyError

from store import migrate
from store.db import EncodingNotSupported, make_engine
from store.settings import Settings

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


def main(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run a subcommand; exit status 1 if migrations are missing or the database is unusable."""
    engine = make_engine(settings.database)
    try:
        if arguments.action == "upgrade":
            migrate.upgrade(settings)
        with engine.connect() as connection:
            state = migrate.state(connection)
    except EncodingNotSupported as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        print(f"error: the database is unreachable: {error}", file=sys.stderr)
        return 1
    finally:
        engine.dispose()
    print(MESSAGES[state], file=sys.stderr)
    return 0 if state in ("current", "ahead") else 1
