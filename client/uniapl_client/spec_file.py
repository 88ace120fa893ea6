"""Spec files: a job spec as JSON, with datasets named by id or by path."""

from __future__ import annotations

import itertools
import json
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from uniapl.spec.base import field_path
from uniapl.spec.job import JobSpec
from uniapl_client import Client
from uniapl_client._files import sha256
from uniapl_client.errors import UniaplClientError

LOOKED_AT = 200
"""Newest datasets among which a file is looked for before it is uploaded."""


class InvalidSpecFile(UniaplClientError):
    """A spec file that is not a spec."""

    code = "invalid_spec"


def read_spec(path: Path, client: Client | None = None) -> JobSpec:
    """Read a spec file. With a client, datasets named by the path of a file are uploaded, and replaced by their id.

    Raises:
        InvalidSpecFile: the file is not JSON, or not a spec; the message has a line for each field at fault.
    """
    try:
        given = json.loads(path.read_text())
        spec = JobSpec.model_validate(given)
    except json.JSONDecodeError as error:
        raise InvalidSpecFile(f"{path} is not JSON: {error}") from None
    except ValidationError as error:
        lines = [f"{field_path(e, given) or 'spec'}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        raise InvalidSpecFile("\n  ".join([f"{path} is not a valid spec", *lines])) from None
    return spec if client is None else _with_datasets_uploaded(spec, client)


def _with_datasets_uploaded(spec: JobSpec, client: Client) -> JobSpec:
    @cache
    def dataset_id(name: str) -> str:
        return _there_or_uploaded(Path(name), client) if Path(name).is_file() else name

    mix = [entry.model_copy(update={"dataset": dataset_id(entry.dataset)}) for entry in spec.dataset_mix]
    evaluation = spec.evaluation
    if evaluation is not None:
        evaluation = evaluation.model_copy(update={"dataset": dataset_id(evaluation.dataset)})
    return spec.model_copy(update={"dataset_mix": mix, "evaluation": evaluation})


def _there_or_uploaded(path: Path, client: Client) -> str:
    """The id of a dataset with this content: a spec that is checked, estimated and submitted sends its files once."""
    digest = sha256(path)
    newest = itertools.islice(client.datasets.list(), LOOKED_AT)
    there = next((dataset.id for dataset in newest if dataset.sha256 == digest), None)
    return there or client.datasets.upload(path).id
