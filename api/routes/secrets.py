"""Routes of `/secrets`: write-only keys of the model servers that jobs use."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path

from api.auth import ReadsJobs, WritesJobs
from api.authenticated_route import AuthenticatedRoute
from api.http.problems import RESPONSES
from store.access import secrets
from uniapl.spec.resources import Page, Secret
from uniapl.spec.secret import NewSecret
from uniapl.spec.teacher import SECRET_NAME

router = APIRouter(prefix="/secrets", tags=["secrets"], responses=RESPONSES, route_class=AuthenticatedRoute)
SecretName = Annotated[str, Path(pattern=SECRET_NAME, description="Name of the secret, in lower case.")]


@router.get("")
def list_secrets(caller: ReadsJobs) -> Page[Secret]:
    """List the names of secrets; values are never returned."""
    with caller.reading() as session:
        rows = secrets.all_of(session)
    return Page(data=[Secret.model_validate(secret) for secret in rows], has_more=False)


@router.put("/{name}")
def put_secret(name: SecretName, secret: Annotated[NewSecret, Body()], caller: WritesJobs) -> Secret:
    """Create a secret or replace its value. It is stored encrypted and sent only to trainers of jobs that name it.

    A running job keeps the value that its attempt began with.
    """
    with caller.unit_of_work() as session:
        row = secrets.put(session, caller.service.secret_key, name, secret.value.get_secret_value())
    return Secret.model_validate(row)


@router.delete("/{name}", status_code=204)
def delete_secret(name: SecretName, caller: WritesJobs) -> None:
    """Delete a secret; 409 while an unfinished job uses it."""
    with caller.unit_of_work() as session:
        secrets.delete(session, name)
