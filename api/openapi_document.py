"""The head of the OpenAPI document: description, tags, and the names of operations in generated SDKs."""

from __future__ import annotations

import json
import re
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

DESCRIPTION = """
Post-train language models with Unified Adversarial Preference Learning: every step mixes teacher demonstrations and
on-policy rollouts in one gradient, `L = alpha·L_SFT + (1 - alpha)·L_GRPO + lambda_adv·L_ADV`.

Upload a dataset, send a job spec with `POST /jobs`, follow `/jobs/{id}/events`, and download the files of a
checkpoint. Errors are `application/problem+json` with OpenAI's `error` member inside.
"""

TAGS = [
    {"name": "jobs", "description": "Validate, estimate, queue and control training jobs; read events, metrics, logs."},
    {"name": "datasets", "description": "Upload datasets in one request, inspect their rows, and delete them."},
    {"name": "uploads", "description": "Upload large datasets in parts; an interrupted upload can be resumed."},
    {"name": "checkpoints", "description": "Download checkpoints, delete them, and name them with aliases."},
    {"name": "secrets", "description": "Write-only API keys of teachers, which job specs reference by name."},
    {"name": "service", "description": "Models, workers, health and metrics of the service."},
    {
        "name": "OpenAI-compatible",
        "description": "Files and fine-tuning jobs in the format of OpenAI's API; ids are those of datasets and jobs.",
    },
]

_PAGE = re.compile(r"\bPage(?:_([A-Za-z0-9]+)_|\[([A-Za-z0-9]+)\])")


def use_sdk_names(app: FastAPI) -> None:
    """Name schemas as SDK generators accept them: `JobPage` for pydantic's `Page_Job_` and its title `Page[Job]`."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            text = _PAGE.sub(lambda name: f"{name[1] or name[2]}Page", json.dumps(generate()))
            app.openapi_schema = json.loads(text)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def operation_id(route: APIRoute) -> str:
    """The name of a route's function in camelCase: `createJob`."""
    first, *rest = route.name.split("_")
    return first + "".join(word.capitalize() for word in rest)
