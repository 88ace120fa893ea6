"""Authentication and authorisation: each route declares a scope and receives a caller bound to one tenant."""

from __future__ import annotations

import hmac
from contextlib import AbstractContextManager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.deps import Service, ServiceDep
from api.http.problems import Forbidden, Unauthenticated
from store.access import api_keys
from store.access.api_keys import EVERYTHING, Grant, InvalidKey
from store.db import reading, unit_of_work
from store.settings import read_secret
from store.tenants import DEFAULT


@dataclass(frozen=True)
class Caller:
    """The tenant of a request, with transactions that are limited to it."""

    service: Service
    grant: Grant

    @property
    def tenant(self) -> str:
        return self.grant.tenant

    def reading(self) -> AbstractContextManager[Session]:
        """A reading transaction that sees this tenant's rows only."""
        return reading(self.service.engine, self.tenant)

    def unit_of_work(self) -> AbstractContextManager[Session]:
        """A transaction that sees and changes this tenant's rows only."""
        return unit_of_work(self.service.engine, self.tenant)


_bearer = HTTPBearer(auto_error=False, scheme_name="key", description="An API key: `Authorization: Bearer uapl_…`.")


def _grant(
    request: Request,
    service: ServiceDep,
    scopes: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    grant = getattr(request.state, "grant", None) or _identify(request, service, credentials)
    caller = Caller(service, grant)
    service.limits.count_request(caller.tenant)
    for scope in scopes.scopes:
        if not caller.grant.allows(scope):  # type: ignore[arg-type]
            raise Forbidden("missing_scope", f"this API key lacks the scope {scope}; use a key that has it")
    request.state.caller = caller
    return caller


async def recognise(request: Request, service: Service) -> None:
    """Identify the caller of a request before its body is read; the route checks the scope afterwards.

    Raises:
        Unauthenticated: the request has no valid key.
        Forbidden: the service runs without keys, and the request comes from another machine.
    """
    request.state.grant = await run_in_threadpool(_identify, request, service, await _bearer(request))


def _identify(request: Request, service: Service, credentials: HTTPAuthorizationCredentials | None) -> Grant:
    if not service.settings.auth:
        if not _over_loopback(request):
            raise Forbidden("loopback_only", "a service with UNIAPL_AUTH=false accepts requests over loopback only")
        return Grant(DEFAULT, "none", EVERYTHING)
    if credentials is None:
        raise Unauthenticated(
            "no API key; send one as `Authorization: Bearer …` (`uniapl admin keys create` creates one)"
        )
    try:
        with reading(service.engine) as session:
            return api_keys.authenticate(session, service.secret_key, credentials.credentials)
    except InvalidKey as error:
        raise Unauthenticated(f"{error}; send another key as `Authorization: Bearer …`") from None


def _grant_metrics(
    request: Request,
    service: ServiceDep,
    scopes: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Service:
    """Authorise by a key as on any route, or by the token of `metrics_token_file`, which is no API key."""
    file = service.settings.metrics_token_file
    if file is not None and credentials is not None:
        given, expected = credentials.credentials.encode(), read_secret(file).encode()
        if hmac.compare_digest(given, expected):
            return service
    return _grant(request, service, scopes, credentials).service


def _over_loopback(request: Request) -> bool:
    """Whether the connection was accepted at a loopback address; headers can be forged and are ignored."""
    address = (request.scope.get("server") or ("", 0))[0]
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address.startswith("/")  # a unix socket


ReadsJobs = Annotated[Caller, Security(_grant, scopes=["jobs:read"])]
WritesJobs = Annotated[Caller, Security(_grant, scopes=["jobs:write"])]
WritesDatasets = Annotated[Caller, Security(_grant, scopes=["datasets:write"])]
ReadsCheckpoints = Annotated[Caller, Security(_grant, scopes=["checkpoints:read"])]
Admin = Annotated[Caller, Security(_grant, scopes=["admin"])]
ReadsMetrics = Annotated[Service, Security(_grant_metrics, scopes=["admin"])]
