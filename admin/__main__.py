"""`python -m admin …`, which is what `uniapl admin …` runs."""

from __future__ import annotations

import argparse
import sys

from admin import db, doctor, keys
from store.settings import Settings


def main() -> int:
    """Exit status: 0 all is well; 1 something is wrong."""
    parser = argparse.ArgumentParser(
        prog="uniapl admin", description="Look after the service; settings come from UNIAPL_… as the service's do."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="say what is wrong, and what to do about it")
    db.add_commands(commands.add_parser("db", help="migrate the database, or check whether it is"))
    keys.add_commands(commands.add_parser("keys", help="make, list and revoke API keys"))
    arguments = parser.parse_args()
    settings = Settings()
    if arguments.command == "doctor":
        return doctor.main(settings)
    return {"db": db.main, "keys": keys.main}[arguments.command](arguments, settings)


if __name__ == "__main__":
    sys.exit(main())
