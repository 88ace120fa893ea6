"""Conversion between OpenAI's fine-tuning objects and job specs, jobs, events and datasets."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from store.tables import Dataset, Event
from store.tables import Job as Row
from uniapl.errors import SpecError
from uniapl.spec.base import field_path
from uniapl.spec.job import JobSpec
from uniapl.spec.resources import Checkpoint
from uniapl.spec.stored import STORED_SPEC, RawObject
from uniapl.spec.training import usual_learning_rate
from uniapl.spec.weights import bounds

Json = dict[str, Any]
EPOCHS, BATCH = 3, 8
"""Values of `auto`."""
STATUS: Mapping[str, str] = {
    "queued": "queued",
    "starting": "running",
    "running": "running",
    "finalizing": "running",
    "retry_wait": "running",
    "paused": "paused",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}


class _Lenient(BaseModel):
    """A request that may have further fields: clients of OpenAI's API send some that are not supported."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class Hyperparameters(_Lenient):
    """Duration and speed of training; `auto` selects the default."""

    n_epochs: Literal["auto"] | Annotated[int, Field(ge=1, le=1000)] = "auto"
    """Passes over the training file; 3 by default."""
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = "auto"
    """Prompts of one step; 8 by default."""
    learning_rate_multiplier: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """Factor of the default rate of the method: 2e-5 for `supervised`, 1e-6 for `reinforcement`."""


class MethodOptions(_Lenient):
    """Options of `supervised` and `reinforcement`."""

    hyperparameters: Hyperparameters = Hyperparameters()
    """Duration and speed of training."""
    grader: Json | None = None
    """Not supported: the rows of the file have rewards."""


class Method(_Lenient):
    """Training method."""

    type: Literal["supervised", "reinforcement", "uniapl"] = "supervised"
    """The method; its options are in the field of the same name."""
    supervised: MethodOptions = MethodOptions()
    """Imitation of the references: alpha 1."""
    reinforcement: MethodOptions = MethodOptions()
    """Exploration by the rows' rewards: alpha 0."""
    uniapl: Json = {}
    """Any fields of a spec of `POST /jobs`."""


class FineTuningRequest(_Lenient):
    """`POST /v1/fine_tuning/jobs`."""

    model: str
    """The student."""
    training_file: str
    """Id of a file, which is a dataset."""
    validation_file: str | None = None
    """Held-out rows."""
    method: Method = Method()
    """Training method; imitation by default."""
    hyperparameters: Hyperparameters | None = None
    """Deprecated form of the method's hyperparameters."""
    suffix: str | None = Field(default=None, max_length=64)
    """Name of the job."""
    seed: int | None = None
    """Random seed of the order of rows and of sampling."""
    metadata: dict[str, str] | None = None
    """Tags of the job."""
    integrations: list[Json] | None = None
    """Not supported."""


def to_spec(request: FineTuningRequest, rows: int) -> JobSpec:
    """The job spec of a request, for a training file with `rows` rows.

    Raises:
        SpecError: the request uses an unsupported option; `param` is its field in the request.
    """
    method = request.method
    if request.integrations:
        raise SpecError(
            "integrations are not supported",
            param="integrations",
            hint="remove the field; GET /jobs/{id}/metrics has metrics",
        )
    fields: Json = {"student": request.model, "dataset_mix": [{"dataset": request.training_file}]}
    if method.type == "uniapl":
        fields |= method.uniapl
    else:
        options = method.supervised if method.type == "supervised" else method.reinforcement
        if options.grader is not None:
            raise SpecError(
                "graders are not supported",
                param="method.reinforcement.grader",
                hint="remove the grader and give each row of the file a `reward`",
            )
        alpha = 1.0 if method.type == "supervised" else 0.0
        role = "sft" if method.type == "supervised" else "rl"
        fields |= {"alpha": alpha, "lambda_adv": 0.0, "dataset_mix": [{"dataset": request.training_file, "role": role}]}
        fields |= _budget(request.hyperparameters or options.hyperparameters, rows, sampled=alpha < 1)
    given = {
        "evaluation": {"dataset": request.validation_file} if request.validation_file else None,
        "name": request.suffix,
        "seed": request.seed,
        "tags": request.metadata,
    }
    fields |= {key: value for key, value in given.items() if value is not None}
    try:
        return JobSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"method.uniapl.{field_path(first, fields)}" if method.type == "uniapl" else field_path(first, fields)
        raise SpecError(str(first["msg"]).removeprefix("Value error, "), param=where) from None


def _budget(given: Hyperparameters, rows: int, *, sampled: bool) -> Json:
    """Epochs and batch size as a number of steps; a learning rate where a multiplier is given."""
    batch = min(BATCH, rows) if given.batch_size == "auto" else given.batch_size
    epochs = EPOCHS if given.n_epochs == "auto" else given.n_epochs
    budget: Json = {"schedule": {"steps": math.ceil(epochs * rows / max(batch, 1)), "prompts_per_step": batch}}
    if given.learning_rate_multiplier != "auto":
        usual = usual_learning_rate(sampled=sampled, lora=False)
        budget["optimizer"] = {"learning_rate": usual * given.learning_rate_multiplier}
    return budget


def job_view(row: Row, newest_checkpoint: str | None) -> Json:
    """`fine_tuning.job`, with state, step and phase in the extra member `uniapl`."""
    stored = STORED_SPEC.validate_python(row.spec)
    spec, error = stored.model_dump(mode="json"), row.error
    student = spec.get("student")
    return {
        "id": row.id,
        "object": "fine_tuning.job",
        "created_at": int(row.created_at),
        "finished_at": _second(row.finished_at),
        "estimated_finish": None,
        "model": student if isinstance(student, str) else json.dumps(student),
        "fine_tuned_model": newest_checkpoint if row.state == "succeeded" else None,
        "status": STATUS.get(row.state, row.state),
        "training_file": _at(spec, "dataset_mix", 0, "dataset"),
        "validation_file": _at(spec, "evaluation", "dataset"),
        "result_files": [],
        "trained_tokens": None,
        "hyperparameters": {
            "n_epochs": "auto",
            "batch_size": _at(spec, "schedule", "prompts_per_step"),
            "learning_rate_multiplier": "auto",
        },
        "method": _method(stored),
        "seed": spec.get("seed"),
        "organization_id": row.tenant,
        "integrations": [],
        "metadata": spec.get("tags"),
        "error": error and {"code": error["code"], "message": error["message"], "param": error.get("param")},
        "uniapl": {"state": row.state, "step": row.step, "steps": row.steps, "phase": row.phase},
    }


def _at(value: Any, *path: str | int) -> Any:
    """The value at a path of a spec; `None` where a newer release has changed the format."""
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _method(spec: JobSpec | RawObject) -> Json:
    if isinstance(spec, RawObject):
        return {"type": "uniapl", "uniapl": spec.model_dump(mode="json", include={"alpha", "lambda_adv"})}
    low, high = bounds(spec.alpha)
    if low == high and low in (0.0, 1.0) and not spec.uses_adv:
        return {"type": "supervised", "supervised": {}} if low else {"type": "reinforcement", "reinforcement": {}}
    return {"type": "uniapl", "uniapl": spec.model_dump(mode="json", include={"alpha", "lambda_adv"})}


def event_view(row: Event) -> Json:
    """`fine_tuning.job.event`"""
    return {
        "id": f"{row.job_id}-{row.seq}",
        "object": "fine_tuning.job.event",
        "created_at": int(row.created_at),
        "level": "warn" if row.level == "warning" else row.level,
        "message": row.message,
        "type": "message",
        "data": row.data,
    }


def event_number(event_id: str) -> int | None:
    """The number of an event from its id in OpenAI's format."""
    _, _, number = event_id.rpartition("-")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else None


def checkpoint_view(checkpoint: Checkpoint, metrics: Mapping[str, float]) -> Json:
    """`fine_tuning.job.checkpoint`, with the metrics of its step."""
    known = {"step": checkpoint.step, **metrics}
    if "loss" in metrics:
        known["train_loss"] = metrics["loss"]
    return {
        "id": checkpoint.id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(checkpoint.created_at),
        "fine_tuned_model_checkpoint": checkpoint.id,
        "fine_tuning_job_id": checkpoint.job_id,
        "step_number": checkpoint.step,
        "metrics": known,
    }


def file_view(row: Dataset) -> Json:
    """`file`: a dataset, with the ignored fields, formats and mapping in the extra member `uniapl`."""
    return {
        "id": row.id,
        "object": "file",
        "bytes": row.bytes,
        "created_at": int(row.created_at),
        "filename": row.name,
        "purpose": "fine-tune",
        "status": "processed",
        "status_details": None,
        "expires_at": None,
        "uniapl": {"ignored_fields": row.ignored_fields, "recognised": row.recognised, "mapping": row.mapping},
    }


def _second(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
