"""`python -m admin …`, which is what `uniapl admin …` runs."""

from __future__ import annotations

import argparse
import sys

from admin import doctor, keys
from store.settings import Settings


def main() -> int:
    """Exit status: 0 all is well; 1 something is wrong."""
    parser = argparse.ArgumentParser(
        prog="uniapl admin", description="Look after the service; settings come from UNIAPL_… as the service's do."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="say what is wrong, and what to do about it")
    keys.add_commands(commands.add_parser("keys", help="make, list and revoke API keys"))
    arguments = parser.parse_args()
    settings = Settings()
    return keys.main(arguments, settings) if arguments.command == "keys" else doctor.main(settings)


if __name__ == "__main__":
    sys.exit(main())
