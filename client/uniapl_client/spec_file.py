"""Spec files: job specs as JSON, with datasets named by id or by path."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from uniapl.spec import files
from uniapl.spec.base import field_path
from uniapl.spec.job import JobSpec
from uniapl_client import Client, Dataset
from uniapl_client._files import sha256
from uniapl_client.errors import UniaplClientError

LOOKED_AT = 200
"""Number of newest datasets that are searched for a file before it is uploaded."""


class InvalidSpecFile(UniaplClientError):
    """An invalid spec file."""

    code = "invalid_spec"


def read_spec(
    path: Path, client: Client | None = None, on_upload: Callable[[Dataset], None] = lambda _: None
) -> JobSpec:
    """Read a spec file. With a client, dataset files are uploaded, and their paths are replaced with dataset ids.

    Relative paths are resolved in the folder of the spec file, then in the working directory. `on_upload` is called
    with each uploaded dataset.

    Raises:
        InvalidSpecFile: the file is not JSON or not a valid spec, or a dataset file does not exist; the message has one
            line per field at fault.
    """
    try:
        given = json.loads(path.read_text())
        spec = JobSpec.model_validate(given)
    except json.JSONDecodeError as error:
        raise InvalidSpecFile(f"{path} is not valid JSON: {error}") from None
    except ValidationError as error:
        lines = [f"{field_path(e, given) or 'spec'}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        raise InvalidSpecFile("\n  ".join([f"{path} is not a valid spec", *lines])) from None
    return spec if client is None else _with_datasets_uploaded(spec, path, client, on_upload)


def _with_datasets_uploaded(spec: JobSpec, path: Path, client: Client, on_upload: Callable[[Dataset], None]) -> JobSpec:
    folder = path.parent
    missing = [
        f"{param}: {files.not_found(name, folder)}"
        for param, name in files.datasets_of(spec).items()
        if files.is_path(name) and files.find(name, folder) is None
    ]
    if missing:
        raise InvalidSpecFile("\n  ".join([f"{path}: dataset files do not exist", *missing]))

    @cache
    def dataset_id(name: str) -> str:
        file = files.find(name, folder)
        return name if file is None else _there_or_uploaded(file, client, on_upload)

    return files.renamed(spec, dataset_id)


def _there_or_uploaded(path: Path, client: Client, on_upload: Callable[[Dataset], None]) -> str:
    """Id of an existing dataset with this content, or of a new upload."""
    digest = sha256(path)
    newest = itertools.islice(client.datasets.list(), LOOKED_AT)
    there = next((dataset.id for dataset in newest if dataset.sha256 == digest), None)
    if there is None:
        on_upload(dataset := client.datasets.upload(path))
        return dataset.id
    return there
