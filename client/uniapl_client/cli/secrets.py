"""The commands `uniapl secrets`: set, list, delete."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from uniapl_client.cli.app import App, json_option

if TYPE_CHECKING:
    from uniapl_client import Secret


@click.group()
def secrets() -> None:
    """Store API keys for external servers such as a teacher."""


@secrets.command(name="set")
@click.argument("name")
@json_option
@click.pass_obj
def set_(app: App, name: str) -> None:
    """Store a secret; its value is prompted for, or read from standard input."""
    value = click.prompt("value", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline().strip()
    with app.client() as client:
        secret = client.secrets.put(name, value)
    app.show(secret, f"{name} stored; use it in a spec as teacher.api_key_secret")


@secrets.command(name="list")
@json_option
@click.pass_obj
def list_(app: App) -> None:
    """List the names of all secrets."""
    with app.client() as client:
        app.show_list(client.secrets.list(), _name)


def _name(secret: Secret) -> str:
    return secret.name


@secrets.command()
@click.argument("name")
@json_option
@click.pass_obj
def delete(app: App, name: str) -> None:
    """Delete a secret that no unfinished job uses."""
    with app.client() as client:
        client.secrets.delete(name)
    click.echo(json.dumps({"name": name, "deleted": True}) if app.json else f"{name} deleted")
