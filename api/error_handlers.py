"""Exception handlers: problem responses for the errors that routes raise."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, InterfaceError, OperationalError, SQLAlchemyError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.http.problems import BodyRefused, Forbidden, Unauthenticated, field_problems, problem
from api.http.rate_limits import LimitReached
from api.idempotency import replayed
from store.artifacts.base import StorageUnavailable
from store.datasets.jsonl import InvalidDataset
from store.errors import Conflict, Gone, NotFound, TooLarge
from uniapl.errors import UniaplError

logger = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    """Register a handler for every exception that a route may raise."""
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)


def _uniapl(request: Request, error: UniaplError) -> JSONResponse:
    if (earlier := replayed(request)) is not None:
        return earlier
    detail = f"{error.message}: {error.hint}" if error.hint else error.message
    return problem(422, error.code, detail, param=error.param)


def _invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
    if (earlier := replayed(request)) is not None:
        return earlier
    problems = [each for details in error.errors() for each in field_problems(details, error.body)]
    first = problems[0]
    detail = f"{first['param']}: {first['reason']}" if first["param"] else first["reason"]
    return problem(422, "invalid_request", detail, param=first["param"], errors=problems)


def _invalid_dataset(_: Request, error: InvalidDataset) -> JSONResponse:
    lines = [{name: value for name, value in asdict(line).items() if value is not None} for line in error.problems]
    detail = f"{error}; nothing was stored. Fix the lines listed in `errors` and upload again. "
    detail += "GET /docs/bring-your-data shows how other fields are mapped."
    return problem(422, "invalid_dataset", detail, errors=lines)


def _cannot_be_stored(request: Request, error: DataError) -> JSONResponse:
    logger.warning("%s %s: %s", request.method, request.url.path, error.orig)
    return problem(
        422, "invalid_request", "the request has a text with a NUL character or a number beyond 64 bits; remove it"
    )


def _unauthenticated(_: Request, error: Unauthenticated) -> JSONResponse:
    return problem(401, "not_authenticated", str(error), headers={"www-authenticate": "Bearer"})


def _forbidden(_: Request, error: Forbidden) -> JSONResponse:
    return problem(403, error.code, str(error))


def _not_found(_: Request, error: NotFound) -> JSONResponse:
    return problem(404, f"{error.kind}_not_found".replace(" ", "_"), str(error))


def _conflict(_: Request, error: Conflict) -> JSONResponse:
    return problem(409, error.code, str(error), headers={"x-should-retry": "false"})


def _gone(_: Request, error: Gone) -> JSONResponse:
    return problem(410, error.code, str(error))


def _too_large(_: Request, error: TooLarge) -> JSONResponse:
    return problem(413, "too_large", str(error))


def _body_refused(_: Request, error: BodyRefused) -> JSONResponse:
    return problem(error.status, error.code, str(error))


def _limit_reached(_: Request, error: LimitReached) -> JSONResponse:
    return problem(429, "limit_reached", str(error), headers={"retry-after": str(error.retry_after_s)})


def _disconnected(_: Request, __: ClientDisconnect) -> JSONResponse:
    return problem(
        400, "client_disconnected", "the client closed the connection"
    )  # for the log: there is no connection to answer on


def _http(_: Request, error: HTTPException) -> JSONResponse:
    code = {404: "route_not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return problem(error.status_code, code, str(error.detail), headers=error.headers)


def _database_unavailable(_: Request, error: SQLAlchemyError) -> JSONResponse:
    logger.error("the database failed: %s", getattr(error, "orig", error))
    return problem(
        503, "database_unavailable", "the database does not respond; try again later", headers={"retry-after": "5"}
    )


def _storage_unavailable(_: Request, error: StorageUnavailable) -> JSONResponse:
    logger.error("%s", error)
    return problem(
        503, "storage_unavailable", "the bucket does not respond; try again later", headers={"retry-after": "5"}
    )


HANDLERS: dict[type[Exception], Callable[..., JSONResponse]] = {
    UniaplError: _uniapl,
    RequestValidationError: _invalid_request,
    InvalidDataset: _invalid_dataset,
    DataError: _cannot_be_stored,
    Unauthenticated: _unauthenticated,
    Forbidden: _forbidden,
    NotFound: _not_found,
    Conflict: _conflict,
    Gone: _gone,
    TooLarge: _too_large,
    BodyRefused: _body_refused,
    LimitReached: _limit_reached,
    ClientDisconnect: _disconnected,
    HTTPException: _http,
    OperationalError: _database_unavailable,
    InterfaceError: _database_unavailable,
    TimeoutError: _database_unavailable,  # SQLAlchemy's: no connection became free
    StorageUnavailable: _storage_unavailable,
}
