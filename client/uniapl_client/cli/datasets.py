"""The commands `uniapl datasets`: upload, list, show, preview, statistics, delete."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from uniapl_client.cli.app import App, json_option
from uniapl_client.cli.progress import progress
from uniapl_client.cli.tree import tree

if TYPE_CHECKING:
    from uniapl_client import Dataset, DatasetPreview


@click.group()
def datasets() -> None:
    """Upload, list, inspect and delete datasets."""


@datasets.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="Title; by default the file name.")
@click.option("--resume", "upload_id", metavar="UPLOAD_ID", help="Resume an interrupted upload.")
@click.option(
    "--map",
    "pairs",
    metavar="FIELD:TARGET",
    multiple=True,
    help="Where a field of the rows goes, such as answer:reward.math or notes:ignore; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Show how the rows are read, and store nothing.")
@json_option
@click.pass_obj
def upload(
    app: App, path: Path, name: str | None, upload_id: str | None, pairs: tuple[str, ...], dry_run: bool
) -> None:
    """Upload a JSON Lines or Parquet file, optionally compressed."""
    if dry_run:
        with app.client() as client:
            found = client.datasets.preview_file(path, map=_mapping(pairs))
        name_ignored_fields(found, path.stem)
        rows = [tree(row.model_dump(mode="json", exclude_unset=True)) for row in found.data]
        app.show(found, "\n\n".join(rows))
        return
    with app.client() as client, progress(app, path.name) as report:
        dataset = client.datasets.upload(path, name=name, on_progress=report, upload_id=upload_id, map=_mapping(pairs))
    name_ignored_fields(dataset, dataset.name)
    app.show(dataset, dataset.id)


def _mapping(pairs: tuple[str, ...]) -> dict[str, list[str]]:
    mapping: dict[str, list[str]] = {}
    for pair in pairs:
        field, _, target = pair.rpartition(":")
        if not field:
            raise click.BadParameter(f"{pair!r} is not FIELD:TARGET", param_hint="--map")
        mapping.setdefault(field, []).append(target)
    return mapping


def name_ignored_fields(dataset: Dataset | DatasetPreview, name: str | None = None) -> None:
    """Print the recognised formats, the use of each field and the ignored fields of a file on standard error."""
    name = name or getattr(dataset, "name", "")
    if dataset.mapping:
        formats = ", ".join(f"{rows} {name}" for name, rows in dataset.recognised.items())
        uses = "; ".join(f"{field} as {' and '.join(to)}" for field, to in dataset.mapping.items())
        click.echo(f"{name}: rows by format: {formats}; fields are used as follows: {uses}", err=True)
    for field, rows in dataset.ignored_fields.items():
        click.echo(f"{name}: field {field} is ignored (in {rows} of {dataset.rows} rows)", err=True)


@datasets.command(name="list")
@click.option("--limit", default=50, show_default=True, help="Maximum number.")
@json_option
@click.pass_obj
def list_(app: App, limit: int) -> None:
    """List datasets, newest first."""
    with app.client() as client:
        app.show_list(itertools.islice(client.datasets.list(), limit), _line, f"{'id':30}{'rows':>9}{'MB':>10}  name")


def _line(dataset: Dataset) -> str:
    return f"{dataset.id:30}{dataset.rows:9d}{dataset.bytes / 1e6:10.2f}  {dataset.name}"


@datasets.command()
@click.argument("dataset_id")
@json_option
@click.pass_obj
def show(app: App, dataset_id: str) -> None:
    """Show the properties of a dataset."""
    with app.client() as client:
        dataset = client.datasets.get(dataset_id)
    app.show(dataset, tree(dataset.model_dump(mode="json")))


@datasets.command()
@click.argument("dataset_id")
@click.option("--rows", default=5, show_default=True, help="Maximum number.")
@json_option
@click.pass_obj
def preview(app: App, dataset_id: str, rows: int) -> None:
    """Show the first rows of a dataset."""
    with app.client() as client:
        found = client.datasets.preview(dataset_id, rows=rows)
    app.show_list(found, lambda row: tree(row.model_dump(mode="json", exclude_unset=True)) + "\n")


@datasets.command()
@click.argument("dataset_id")
@click.option("--student", help="Also count tokens with this model's tokenizer.")
@json_option
@click.pass_obj
def statistics(app: App, dataset_id: str, student: str | None) -> None:
    """Show length statistics of a dataset."""
    with app.client() as client:
        found = client.datasets.statistics(dataset_id, student=student)
    app.show(found, tree(found.model_dump(mode="json")))


@datasets.command()
@click.argument("dataset_id")
@json_option
@click.pass_obj
def delete(app: App, dataset_id: str) -> None:
    """Delete a dataset that no unfinished job uses."""
    with app.client() as client:
        dataset = client.datasets.get(dataset_id)
        client.datasets.delete(dataset_id)
    app.show(dataset, f"{dataset_id} deleted")
