"""Entry point of `uniapl admin …` (`python -m admin …`)."""

from __future__ import annotations

import argparse
import sys

from admin import db, doctor, keys
from store.settings import settings_or_exit, unknown_settings


def main() -> int:
    """Run a command; exit status 0 on success, 1 on a problem."""
    parser = argparse.ArgumentParser(
        prog="uniapl admin", description="Administer the service. Settings are read from UNIAPL_… as in the service."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="diagnose the installation, with a fix for each problem")
    db.add_commands(commands.add_parser("db", help="migrate the database, or check its version"))
    keys.add_commands(commands.add_parser("keys", help="create, list, rotate and revoke API keys"))
    arguments = parser.parse_args()
    settings = settings_or_exit()
    if arguments.command == "doctor":
        return doctor.main(settings)
    if settings.log_format != "json":
        print(*(f"warning: {problem}\n" for problem in unknown_settings()), sep="", end="", file=sys.stderr)
    return {"db": db.main, "keys": keys.main}[arguments.command](arguments, settings)


if __name__ == "__main__":
    sys.exit(main())
