"""Exception handlers: every error that a route raises, as a problem response."""

from __future__ import annotations

import logging
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
    """Have every exception answered in the one shape."""

    @app.exception_handler(UniaplError)
    def _uniapl(request: Request, error: UniaplError) -> JSONResponse:
        if (known := replayed(request)) is not None:
            return known
        detail = f"{error.message}: {error.hint}" if error.hint else error.message
        return problem(422, error.code, detail, param=error.param)

    @app.exception_handler(Unauthenticated)
    def _unauthenticated(_: Request, error: Unauthenticated) -> JSONResponse:
        return problem(401, "not_authenticated", str(error), headers={"www-authenticate": "Bearer"})

    @app.exception_handler(Forbidden)
    def _forbidden(_: Request, error: Forbidden) -> JSONResponse:
        return problem(403, error.code, str(error))

    @app.exception_handler(BodyRefused)
    def _body(_: Request, error: BodyRefused) -> JSONResponse:
        return problem(error.status, error.code, str(error))

    @app.exception_handler(LimitReached)
    def _limit(_: Request, error: LimitReached) -> JSONResponse:
        return problem(429, "limit_reached", str(error), headers={"retry-after": str(error.retry_after_s)})

    @app.exception_handler(NotFound)
    def _not_found(_: Request, error: NotFound) -> JSONResponse:
        return problem(404, f"{error.kind}_not_found".replace(" ", "_"), str(error))

    @app.exception_handler(Gone)
    def _gone(_: Request, error: Gone) -> JSONResponse:
        return problem(410, error.code, str(error))

    @app.exception_handler(Conflict)
    def _conflict(_: Request, error: Conflict) -> JSONResponse:
        return problem(409, error.code, str(error), headers={"x-should-retry": "false"})

    @app.exception_handler(TooLarge)
    def _too_large(_: Request, error: TooLarge) -> JSONResponse:
        return problem(413, "too_large", str(error))

    @app.exception_handler(ClientDisconnect)
    def _disconnected(_: Request, __: ClientDisconnect) -> JSONResponse:
        return problem(400, "client_disconnected", "the request broke off")  # which nobody reads

    @app.exception_handler(InvalidDataset)
    def _dataset(_: Request, error: InvalidDataset) -> JSONResponse:
        lines = [
            {name: value for name, value in asdict(found).items() if value is not None} for found in error.problems
        ]
        detail = f"{error}; nothing was stored, mend the lines listed in `errors` and send it again"
        return problem(422, "invalid_dataset", detail, errors=lines)

    @app.exception_handler(RequestValidationError)
    def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        if (known := replayed(request)) is not None:
            return known
        found = [problem for e in error.errors() for problem in field_problems(e, error.body)]
        first = found[0]
        detail = f"{first['param']}: {first['reason']}" if first["param"] else first["reason"]
        return problem(422, "invalid_request", detail, param=first["param"], errors=found)

    @app.exception_handler(HTTPException)
    def _http(_: Request, error: HTTPException) -> JSONResponse:
        code = {404: "route_not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        return problem(error.status_code, code, str(error.detail), headers=error.headers)

    @app.exception_handler(OperationalError)
    @app.exception_handler(InterfaceError)
    @app.exception_handler(TimeoutError)  # no connection came free
    def _database_down(_: Request, error: SQLAlchemyError) -> JSONResponse:
        logger.error("the database failed: %s", getattr(error, "orig", error))
        return problem(
            503, "database_unavailable", "the database does not answer; try again", headers={"retry-after": "5"}
        )

    @app.exception_handler(DataError)
    def _cannot_be_stored(request: Request, error: DataError) -> JSONResponse:
        logger.warning("%s %s: %s", request.method, request.url.path, error.orig)
        return problem(422, "invalid_request", "no text may contain NUL, and no number be beyond 64 bits")

    @app.exception_handler(StorageUnavailable)
    def _bucket_away(_: Request, error: StorageUnavailable) -> JSONResponse:
        logger.error("%s", error)
        return problem(
            503, "storage_unavailable", "the bucket does not answer; try again", headers={"retry-after": "5"}
        )
