"""The commands with a spec file: submit, validate, estimate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from uniapl_client.cli.app import EXIT_ERROR, EXIT_INTERRUPTED, App, json_option
from uniapl_client.cli.datasets import name_ignored_fields

if TYPE_CHECKING:  # the command's help is fast
    from uniapl.spec.estimate import RenderedRow

spec_argument = click.argument("spec", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.command()
@spec_argument
@click.option("--watch", "follow", is_flag=True, help="Show progress until the job finishes.")
@click.option("--idempotency-key", help="Commands with equal keys create one job.")
@json_option
@click.pass_obj
def submit(app: App, spec: Path, follow: bool, idempotency_key: str | None) -> None:
    """Submit the job of a spec file. Dataset files of the spec are uploaded first.

    With --watch the exit status is 3 if the job failed and 4 if it was cancelled.
    """
    from uniapl_client.spec_file import read_spec

    with app.client() as client:
        job = client.jobs.create(read_spec(spec, client, name_ignored_fields), idempotency_key=idempotency_key)
        app.show(job, job.id)
        if not follow:
            return
        try:
            _watch(app, job.id)
        except KeyboardInterrupt:
            click.echo(
                f"the job continues; to show it: uniapl show {job.id}; to cancel it: uniapl cancel {job.id}", err=True
            )
            raise SystemExit(EXIT_INTERRUPTED) from None


def _watch(app: App, job_id: str) -> None:
    with app.client() as client:
        if app.json:
            for event in client.jobs.stream(job_id):
                app.show(event, "")
            app.show(client.jobs.wait(job_id), "")
            return
        from rich.console import Console

        from uniapl_client.watch import watch

        watch(client, job_id, Console())
        newest = client.jobs.checkpoints(job_id)[0]
        click.echo(f"{job_id} succeeded; newest checkpoint: {newest.id}")


@click.command()
@spec_argument
@json_option
@click.pass_obj
def validate(app: App, spec: Path) -> None:
    """Validate a job spec; the exit status is 1 if it is invalid.

    Dataset files of the spec are uploaded first.
    """
    from uniapl_client.spec_file import read_spec

    with app.client() as client:
        found = client.jobs.validate(read_spec(spec, client, name_ignored_fields))
    problems = ["\n  ".join(filter(None, (f"{p.param or 'spec'}: {p.message}", p.hint))) for p in found.problems]
    warnings = [f"warning: {warning}" for warning in found.warnings]
    row = _row(found.rendered) if found.rendered else []
    app.show(found, "\n".join([*row, *problems, *warnings, "valid" if found.valid else "invalid"]))
    if not found.valid:
        raise SystemExit(EXIT_ERROR)


def _row(shown: RenderedRow) -> list[str]:
    """A row as it will be trained, its trained text between marks, and its trained tokens."""
    trained = f">>>{shown.trained}<<<" if shown.trained is not None else ""
    counts = f"{len(shown.prompt_tokens)} tokens of the prompt, {len(shown.trained_tokens)} trained tokens"
    tokens = [f"trained tokens: {' '.join(map(repr, shown.trained_tokens))}"] if shown.trained_tokens else []
    earlier = [f"also trained, after the turns before it: {text!r}" for text in shown.earlier]
    return [f"row {shown.row}, trained text between >>> and <<< ({counts}):", shown.prompt + trained, *tokens, *earlier]


@click.command()
@spec_argument
@json_option
@click.pass_obj
def estimate(app: App, spec: Path) -> None:
    """Estimate rows, tokens, memory and time of a job spec.

    Dataset files of the spec are uploaded first.
    """
    from uniapl_client.cli.estimates import text
    from uniapl_client.spec_file import read_spec

    with app.client() as client:
        found = client.jobs.estimate(read_spec(spec, client, name_ignored_fields))
    app.show(found, text(found))
