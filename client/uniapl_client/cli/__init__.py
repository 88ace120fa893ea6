"""The `uniapl` command line.

Exit statuses: 0 success, 1 error, 2 invalid usage, 3 the job failed, 4 the job was cancelled, 5 the service is
unreachable, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from uniapl_client.cli import datasets, follow, jobs, secrets, specs
from uniapl_client.cli.app import App, Commands, json_option


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="UNIAPL_URL", show_envvar=True, help="Address of the service.")
@json_option
@click.pass_context
def main(context: click.Context, url: str | None) -> None:
    """Submit and monitor UniAPL training jobs. The API key is read from the environment variable UNIAPL_API_KEY."""
    context.obj = App(url, context.meta["json"])


@main.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def admin(arguments: tuple[str, ...]) -> None:
    """Administer the service (requires the server). `uniapl admin --help` lists the commands."""
    import uniapl

    root = Path(uniapl.__file__).parent.parent
    if not (root / "admin").is_dir():
        message = "admin commands require the server; run them in its checkout or image"
        raise click.ClickException(message)
    path = os.pathsep.join(part for part in (str(root), os.environ.get("PYTHONPATH")) if part)
    os.execve(sys.executable, [sys.executable, "-m", "admin", *arguments], {**os.environ, "PYTHONPATH": path})


for command in (
    specs.submit,
    specs.validate,
    specs.estimate,
    jobs.jobs,
    jobs.show,
    follow.logs,
    follow.metrics,
    jobs.download,
    jobs.cancel,
    jobs.pause,
    jobs.resume,
    datasets.datasets,
    secrets.secrets,
):
    main.add_command(command)
