"""The commands `uniapl admin keys create|list|rotate|revoke`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from typing import cast

from admin.db import obstacle
from store.access import api_keys, keyring
from store.access.api_keys import SCOPES, Scope
from store.db import make_engine, reading, unit_of_work
from store.errors import NotFound
from store.settings import Settings
from store.tables import Key
from store.tenants import DEFAULT

DAY_S = 24 * 3600.0


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands and their options."""
    commands = parser.add_subparsers(dest="action", required=True)
    create = commands.add_parser("create", help="create a key and print it once")
    create.add_argument(
        "--tenant", default=DEFAULT, help="tenant whose jobs, datasets and checkpoints the key can access"
    )
    create.add_argument("--name", default="key", help="label in the list of keys")
    create.add_argument("--scope", action="append", choices=SCOPES, help="scope; repeat for several; all by default")
    create.add_argument("--expires-days", type=float, help="days until expiry; never by default")
    commands.add_parser("list", help="list all keys without their secrets")
    rotate = commands.add_parser(
        "rotate", help="replace a key with a new one; the old key expires after a grace period"
    )
    rotate.add_argument("id")
    rotate.add_argument("--grace-hours", type=float, default=24.0, help="hours until the old key expires (default 24)")
    revoke = commands.add_parser("revoke", help="revoke a key immediately")
    revoke.add_argument("id")


def main(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run a subcommand; exit status 1 on failure."""
    engine = make_engine(settings.database)
    try:
        if (problem := obstacle(engine)) is not None:
            print(f"error: {problem}", file=sys.stderr)
            return 1
        if arguments.action == "list":
            with reading(engine) as session:
                _print([*api_keys.all_of(session)])
            return 0
        with unit_of_work(engine) as session:
            if arguments.action == "revoke":
                key = api_keys.revoke(session, arguments.id)
                print(f"{key.id} revoked")
                return 0
            sealing = keyring.load(settings)
            if arguments.action == "rotate":
                made, text = api_keys.rotate(session, sealing, arguments.id, grace_s=arguments.grace_hours * 3600)
            else:
                made, text = api_keys.create(
                    session,
                    sealing,
                    tenant=arguments.tenant,
                    name=arguments.name,
                    scopes=cast(list[Scope], arguments.scope or SCOPES),
                    expires_in_s=arguments.expires_days * DAY_S if arguments.expires_days else None,
                )
        print(f"key {made.id} of tenant {made.tenant}; it is not shown again:", file=sys.stderr)
        print(text)
    except (NotFound, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        engine.dispose()
    return 0


def _print(found: list[Key]) -> None:
    print(f"{'id':18}{'tenant':16}{'name':16}{'created':12}{'expires':12}{'revoked':12}scopes")
    for key in found:
        dates = "".join(f"{_date(moment):12}" for moment in (key.created_at, key.expires_at, key.revoked_at))
        print(f"{key.id:18}{key.tenant:16}{key.name:16}{dates}{key.scopes}")


def _date(moment: float | None) -> str:
    return "-" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")
