"""Commands on existing jobs: list, show, cancel, pause, resume, download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from uniapl_client.cli.app import App, json_option
from uniapl_client.cli.progress import progress

if TYPE_CHECKING:
    from uniapl_client import Client, Job


@click.command()
@click.option("--limit", default=50, show_default=True, help="Maximum number.")
@json_option
@click.pass_obj
def jobs(app: App, limit: int) -> None:
    """List jobs, newest first."""
    import itertools

    heading = f"{'id':30}{'state':12}{'step':>11}  {'created':18}{'alpha':>6}{'lambda_adv':>12}  student, name"
    with app.client() as client:
        app.show_list(itertools.islice(client.jobs.list(), limit), _line, heading)


def _line(job: Job) -> str:
    from datetime import datetime

    created = datetime.fromtimestamp(job.created_at).strftime("%Y-%m-%d %H:%M")
    numbers = f"{_weight(job, 'alpha'):>6}{_weight(job, 'lambda_adv'):>12}"
    student = str(getattr(job.spec, "student", "-"))
    title = f"{student}, {job.name}" if job.name else student
    return f"{job.id:30}{job.state:12}{f'{job.step}/{job.steps}':>11}  {created:18}{numbers}  {title}"


def _weight(job: Job, name: str) -> str:
    """Short text of a weight; for an unknown schedule of a newer release, its type."""
    from uniapl.spec.weights import format_weight
    from uniapl_client import JobSpec

    if isinstance(job.spec, JobSpec):
        return format_weight(getattr(job.spec, name))
    given = getattr(job.spec, name, "-")
    return str(getattr(given, "type", given))


@click.command()
@click.argument("job_id")
@json_option
@click.pass_obj
def show(app: App, job_id: str) -> None:
    """Show a job with its events, latest metrics and checkpoints; with --json, only the job."""
    with app.client() as client:
        job = client.jobs.get(job_id)
        app.show(job, _summary(job))
        if not app.json:
            _show_rest(client, job_id)


def _summary(job: Job) -> str:
    from datetime import timedelta

    lines = [f"{job.id}  {job.state}  step {job.step}/{job.steps}  attempt {job.attempt}  {job.phase or ''}"]
    if job.queue_reason:
        place = f"Queued, position {job.queue_position}" if job.queue_position else "Waiting"
        lines.append(f"{place} ({job.queue_reason})")
    if job.eta_s is not None:
        lines.append(f"ETA {timedelta(seconds=round(job.eta_s))}")
    if job.error:
        lines.append(f"error: {job.error.code} ({job.error.category}): {job.error.message}")
        lines.append(f"hint: {job.error.hint or 'none'}\n{job.error.log_tail}")
    return "\n".join(lines)


def _show_rest(client: Client, job_id: str) -> None:
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


@click.command()
@click.argument("job_id")
@json_option
@click.pass_obj
def cancel(app: App, job_id: str) -> None:
    """Cancel a job."""
    _request(app, job_id, lambda client: client.jobs.cancel, "cancelled", "cancelling")


@click.command()
@click.argument("job_id")
@json_option
@click.pass_obj
def pause(app: App, job_id: str) -> None:
    """Pause a job: it saves a checkpoint and frees its slot."""
    _request(app, job_id, lambda client: client.jobs.pause, "paused", "pausing")


@click.command()
@click.argument("job_id")
@json_option
@click.pass_obj
def resume(app: App, job_id: str) -> None:
    """Resume a paused job."""
    _request(app, job_id, lambda client: client.jobs.resume, "queued", "resuming")


def _request(app: App, job_id: str, method: Callable[[Client], Callable[[str], Job]], done: str, pending: str) -> None:
    with app.client() as client:
        job = method(client)(job_id)
        app.show(job, f"{job.id} {done if job.state == done else pending}")


@click.command()
@click.argument("job_or_checkpoint")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--optimizer", is_flag=True, help="Include the optimizer state, which only training needs.")
@json_option
@click.pass_obj
def download(app: App, job_or_checkpoint: str, folder: Path, optimizer: bool) -> None:
    """Download a checkpoint, or the newest one of a job. The same command resumes an interrupted download."""
    with app.client() as client:
        checkpoint_id = job_or_checkpoint
        if checkpoint_id.startswith("job_"):
            found = client.jobs.checkpoints(job_or_checkpoint)
            if not found:
                raise click.ClickException(
                    f"{job_or_checkpoint} has no checkpoint yet; download it after the first one is saved"
                )
            checkpoint_id = found[0].id
        with progress(app, checkpoint_id) as report:
            client.checkpoints.download(checkpoint_id, folder, optimizer=optimizer, on_progress=report)
        app.show(client.checkpoints.get(checkpoint_id), f"{checkpoint_id} downloaded to {folder}")
