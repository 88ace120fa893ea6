"""The `uniapl` command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from uniapl.spec.weights import shown

if TYPE_CHECKING:
    from uniapl_client.client import Client


class _Commands(click.Group):
    """Turns the SDK's errors into one line and exit status 1."""

    def invoke(self, context: click.Context) -> object:
        from uniapl_client.errors import APIStatusError, UniaplClientError

        try:
            return super().invoke(context)
        except UniaplClientError as error:
            click.echo(f"error: {error}", err=True)
            for problem in error.errors if isinstance(error, APIStatusError) else []:
                click.echo(f"  {' '.join(f'{key}={value}' for key, value in problem.items())}", err=True)
        sys.exit(1)


@click.group(cls=_Commands)
@click.option("--url", envvar="UNIAPL_URL", show_envvar=True, help="Address of the service.")
@click.pass_context
def main(context: click.Context, url: str | None) -> None:
    """Submit and follow UniAPL training jobs."""
    context.obj = url


@main.command()
@click.argument("spec", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--watch", "follow", is_flag=True, help="Show progress until the job is over.")
@click.pass_obj
def submit(url: str | None, spec: Path, follow: bool) -> None:
    """Queue the job of a spec file. Datasets named by the path of a file are uploaded first."""
    from rich.console import Console

    from uniapl_client.spec_file import read_spec
    from uniapl_client.watch import watch

    with _client(url) as client:
        job = client.jobs.create(read_spec(spec, client))
        click.echo(job.id)
        if follow:
            watch(client, job.id, Console())
            checkpoints = client.jobs.checkpoints(job.id)
            click.echo(f"{job.id} succeeded; newest checkpoint: {checkpoints[0].id}")


@main.command()
@click.pass_obj
def jobs(url: str | None) -> None:
    """List jobs, newest first."""
    import itertools
    from datetime import datetime

    click.echo(f"{'id':30}{'state':12}{'step':>11}  {'created':18}{'alpha':>6}{'lambda_adv':>12}  student, name")
    with _client(url) as client:
        for job in itertools.islice(client.jobs.list(), 50):
            created = datetime.fromtimestamp(job.created_at).strftime("%Y-%m-%d %H:%M")
            numbers = f"{shown(job.spec.alpha):>6}{shown(job.spec.lambda_adv):>12}"
            title = f"{job.spec.student}, {job.name}" if job.name else job.spec.student
            click.echo(f"{job.id:30}{job.state:12}{f'{job.step}/{job.steps}':>11}  {created:18}{numbers}  {title}")


@main.command()
@click.argument("job_id")
@click.pass_obj
def show(url: str | None, job_id: str) -> None:
    """Show a job, its events, its newest metrics and its checkpoints."""
    with _client(url) as client:
        job = client.jobs.get(job_id)
        click.echo(f"{job.id}  {job.state}  step {job.step}/{job.steps}  attempt {job.attempt}  {job.phase or ''}")
        if job.error:
            click.echo(f"error: {job.error.code} ({job.error.category}): {job.error.message}")
            click.echo(f"hint: {job.error.hint or 'none'}\n{job.error.log_tail}")
        click.echo("\nevents")
        for event in client.jobs.list_events(job_id):
            click.echo(f"  {event.id:4d} {event.level:8}{event.message}")
        click.echo("\nmetrics")
        newest = {point.name: point for point in client.jobs.metrics(job_id)}
        for name, point in sorted(newest.items()):
            click.echo(f"  {name:44}{point.value:14.6g}   step {point.step}")
        click.echo("\ncheckpoints")
        for checkpoint in client.jobs.checkpoints(job_id):
            click.echo(f"  {checkpoint.id}  step {checkpoint.step}  {checkpoint.bytes / 1e6:.0f} MB")


@main.command()
@click.argument("job_id")
@click.pass_obj
def cancel(url: str | None, job_id: str) -> None:
    """Cancel a job."""
    with _client(url) as client:
        job = client.jobs.cancel(job_id)
        click.echo(f"{job.id} {'cancelled' if job.state == 'cancelled' else 'is being cancelled'}")


@main.command()
@click.argument("job_id")
@click.pass_obj
def pause(url: str | None, job_id: str) -> None:
    """Pause a job: it writes a checkpoint and frees its slot."""
    with _client(url) as client:
        job = client.jobs.pause(job_id)
        click.echo(f"{job.id} {'paused' if job.state == 'paused' else 'pauses after the current step'}")


@main.command()
@click.argument("job_id")
@click.pass_obj
def resume(url: str | None, job_id: str) -> None:
    """Let a paused job go on."""
    with _client(url) as client:
        job = client.jobs.resume(job_id)
        click.echo(f"{job.id} {job.state}")


@main.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def admin(arguments: tuple[str, ...]) -> None:
    """Look after the service; where the server is installed. `uniapl admin --help` lists the commands."""
    import os

    import uniapl

    root = Path(uniapl.__file__).parent.parent
    if not (root / "admin").is_dir():
        message = "admin commands are part of the server: run them in its checkout or image"
        raise click.ClickException(message)
    path = os.pathsep.join(part for part in (str(root), os.environ.get("PYTHONPATH")) if part)
    os.execve(sys.executable, [sys.executable, "-m", "admin", *arguments], {**os.environ, "PYTHONPATH": path})


def _client(url: str | None) -> Client:
    """Imported here, so that `--help` does not wait for it."""
    from uniapl_client.client import Client

    return Client(url)
