"""`python -m admin doctor`, which is what `uniapl admin doctor` runs."""

from __future__ import annotations

import argparse
import sys

from admin import doctor
from store.settings import Settings


def main() -> int:
    """Exit status: 0 all is well; 1 something is wrong."""
    parser = argparse.ArgumentParser(
        prog="uniapl admin", description="Look after the service; settings come from UNIAPL_… as the service's do."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="say what is wrong, and what to do about it")
    parser.parse_args()
    return doctor.main(Settings())


if __name__ == "__main__":
    sys.exit(main())
