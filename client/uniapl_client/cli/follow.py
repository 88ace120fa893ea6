"""The commands `uniapl logs` and `uniapl metrics`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable

import click

from uniapl_client.cli.app import App, json_option

PLOTTED = ("loss", "reward", "disc/score_student")


@click.command()
@click.argument("job_id")
@click.option("-f", "--follow", is_flag=True, help="Print new output until the job finishes.")
@click.option("--attempt", type=int, help="Number of the attempt; the newest by default.")
@click.option("--tail", type=click.IntRange(min=1), metavar="BYTES", help="Print only the last BYTES.")
@json_option
@click.pass_obj
def logs(app: App, job_id: str, follow: bool, attempt: int | None, tail: int | None) -> None:
    """Print the trainer's log; with --json, one object `{"line": …}` per line."""
    with app.client() as client:
        content = client.jobs.logs(job_id, attempt=attempt, start=-tail if tail else None) if not follow else b""
        _print(app, client.jobs.follow_logs(job_id, attempt=attempt) if follow else [content])


def _print(app: App, pieces: Iterable[bytes]) -> None:
    rest = b""
    for piece in pieces:
        if not app.json:
            click.echo(piece, nl=False)
            continue
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            click.echo(json.dumps({"line": line.decode(errors="replace")}))
    if rest:
        click.echo(json.dumps({"line": rest.decode(errors="replace")}))


@click.command()
@click.argument("job_id")
@click.option("--names", help="Comma-separated names; by default all, with --plot loss, reward and score.")
@click.option("--since-step", default=-1, help="Print only points after this step.")
@click.option("--plot", is_flag=True, help="Plot in the terminal.")
@json_option
@click.pass_obj
def metrics(app: App, job_id: str, names: str | None, since_step: int, plot: bool) -> None:
    """Print or plot the metrics of a job."""
    from uniapl_client.cli.plot import draw

    wanted = names.split(",") if names else list(PLOTTED) if plot and not app.json else None
    with app.client() as client:
        points = client.jobs.metrics(job_id, names=wanted, since_step=since_step)
    if plot and not app.json:
        series: dict[str, list[tuple[int, float]]] = {}
        for point in points:
            series.setdefault(point.name, []).append((point.step, point.value))
        width = min(100, shutil.get_terminal_size().columns)
        click.echo("\n".join(draw(name, found, width) for name, found in series.items()) or "no metrics yet")
        return
    app.show_list(points, lambda point: f"{point.step:8d}  {point.name:44}{point.value:14.6g}")
