"""Spec files: a job spec as JSON, with datasets named by id or by path."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from uniapl.spec.base import field_path
from uniapl.spec.job import JobSpec
from uniapl_client.client import Client
from uniapl_client.errors import UniaplClientError


def read_spec(path: Path, client: Client | None = None) -> JobSpec:
    """Read a spec file. With a client, datasets named by the path of a file are uploaded, and replaced by their id.

    Raises:
        UniaplClientError: the file is not JSON.
        UniaplClientError: or it is not a spec; the message has a line for each field at fault.
    """
    try:
        given = json.loads(path.read_text())
        spec = JobSpec.model_validate(given)
    except json.JSONDecodeError as error:
        raise UniaplClientError(f"{path} is not JSON: {error}") from None
    except ValidationError as error:
        lines = [f"{field_path(e, given) or 'spec'}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        raise UniaplClientError("\n  ".join([f"{path} is not a valid spec", *lines])) from None
    if client is None:
        return spec
    uploaded: dict[str, str] = {}

    def dataset_id(name: str) -> str:
        if name not in uploaded and Path(name).is_file():
            uploaded[name] = client.datasets.upload(name).id
        return uploaded.get(name, name)

    mix = [entry.model_copy(update={"dataset": dataset_id(entry.dataset)}) for entry in spec.dataset_mix]
    evaluation = spec.evaluation
    if evaluation is not None:
        evaluation = evaluation.model_copy(update={"dataset": dataset_id(evaluation.dataset)})
    return spec.model_copy(update={"dataset_mix": mix, "evaluation": evaluation})
