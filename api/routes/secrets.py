"""/secrets: keys for servers that jobs ask. They can be written and deleted, never read."""

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
SecretName = Annotated[str, Path(pattern=SECRET_NAME, description="Lower case.")]


@router.get("")
def list_secrets(caller: ReadsJobs) -> Page[Secret]:
    """The names of all secrets; values are never shown."""
    with caller.reading() as session:
        found = secrets.all_of(session)
    return Page(data=[Secret.model_validate(secret) for secret in found], has_more=False)


@router.put("/{name}")
def put_secret(name: SecretName, secret: Annotated[NewSecret, Body()], caller: WritesJobs) -> Secret:
    """Store a secret, or another value for one. It is encrypted, and only trainers of jobs that name it are given it.

    A job that runs already keeps the value that its attempt began with.
    """
    with caller.unit_of_work() as session:
        row = secrets.put(session, caller.service.secret_key, name, secret.value.get_secret_value())
    return Secret.model_validate(row)


@router.delete("/{name}", status_code=204)
def delete_secret(name: SecretName, caller: WritesJobs) -> None:
    """Delete a secret; 409 while a job that is not over names it."""
    with caller.unit_of_work() as session:
        secrets.delete(session, name)
