"""`uniapl admin db upgrade|check`: bring the database to this code's migrations, or say whether it is there."""

from __future__ import annotations

import argparse
import sys

from sqlalchemy.exc import SQLAlchemyError

from store import migrate
from store.db import make_engine
from store.settings import Settings

SAYS = {
    "empty": "the database has no tables yet; run `uniapl admin db upgrade`",
    "behind": "the database is older than this code; run `uniapl admin db upgrade`",
    "current": "the database is up to date",
    "ahead": "the database is newer than this code, which can go on with it until it is upgraded too",
}


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    commands = parser.add_subparsers(dest="action", required=True)
    commands.add_parser("upgrade", help="run the missing migrations; safe to start several times at once")
    commands.add_parser("check", help="exit status 1 while migrations are missing; changes nothing")


def main(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run one; the exit status is 1 when migrations are missing, or the database does not answer."""
    engine = make_engine(settings.database)
    try:
        if arguments.action == "upgrade":
            migrate.upgrade(settings)
        with engine.connect() as connection:
            state = migrate.state(connection)
    except SQLAlchemyError as error:
        print(f"error: the database does not answer: {error}", file=sys.stderr)
        return 1
    finally:
        engine.dispose()
    print(SAYS[state], file=sys.stderr)
    return 0 if state in ("current", "ahead") else 1
