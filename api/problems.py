"""Every error the API answers has one shape: `application/problem+json` with OpenAI's `error` member inside.

RFC 9457's members are for people and generic tools, `error{message, type, code, param}` for the clients of OpenAI's
API, which read nothing else. What a caller may see is written here; anything unforeseen becomes a bare 500
(`api.envelope`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.idempotency import replayed
from api.limits import LimitReached
from api.refusals import BodyRefused, Forbidden, Unauthenticated
from store.datasets.jsonl import InvalidDataset
from store.errors import Conflict, Gone, NotFound, TooLarge
from uniapl.errors import UniaplError
from uniapl.spec.base import field_path
from uniapl.spec.job import Contradictions


class ErrorMember(BaseModel):
    """What OpenAI's clients read."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    message: str
    """What is wrong, and what to do about it."""
    type: str
    """`invalid_request_error`, `authentication_error`, `permission_error`, `not_found_error`, `conflict_error`,
    `rate_limit_error` or `api_error`."""
    code: str
    """Stable identifier."""
    param: str | None
    """The field at fault, dotted: `dataset_mix.0.role`."""


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    """A URI for the kind of problem: `urn:uniapl:error:<code>`."""
    title: str
    """The kind of problem in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong, and what to do about it."""
    error: ErrorMember
    """The same for OpenAI's clients."""
    errors: list[dict[str, Any]] = []
    """Every problem, where there are several: fields of a spec, lines of a dataset."""


_TITLES = {
    400: ("Bad request", "invalid_request_error"),
    401: ("Not authenticated", "authentication_error"),
    403: ("Not allowed", "permission_error"),
    404: ("Not found", "not_found_error"),
    405: ("Method not allowed", "invalid_request_error"),
    408: ("Too slow", "invalid_request_error"),
    409: ("Conflict", "conflict_error"),
    410: ("Gone", "not_found_error"),
    413: ("Too large", "invalid_request_error"),
    422: ("Cannot be processed", "invalid_request_error"),
    429: ("Too much at once", "rate_limit_error"),
    500: ("Internal error", "api_error"),
    503: ("Not available", "api_error"),
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": _TITLES[status][0], "content": {"application/problem+json": {}}}
    for status in (401, 403, 404, 408, 409, 413, 422, 429, 503)
}
"""For the OpenAPI document."""


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    param: str | None = None,
    errors: Sequence[Mapping[str, Any]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error response."""
    title, type_ = _TITLES.get(status, ("Error", "api_error"))
    body = Problem(
        type=f"urn:uniapl:error:{code}",
        title=title,
        status=status,
        detail=detail,
        error=ErrorMember(message=detail, type=type_, code=code, param=param),
        errors=[dict(error) for error in errors],
    )
    return JSONResponse(
        body.model_dump(mode="json", exclude_defaults=True) | {"error": body.error.model_dump()},
        status,
        dict(headers or {}),
        "application/problem+json",
    )


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


def field_problems(error: ErrorDetails, body: Any) -> list[dict[str, Any]]:
    """A pydantic error as fields and reasons; our own validators begin their messages with the field.

    Args:
        error: its `loc` begins with the place: `body`, `query`.
        body: what was sent.
    """
    place, *rest = error["loc"]
    inside = field_path({**error, "loc": tuple(rest)}, body) if place == "body" else ".".join(map(str, rest))
    location = [inside] if inside else []
    reason = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        reason = "unknown key; see the API's description for the keys that exist"
    if error["type"] == "json_invalid":
        return [{"param": None, "reason": f"the body is not JSON: {error.get('ctx', {}).get('error', reason)}"}]
    if error["type"] in ("model_attributes_type", "model_type") and not location:
        reason = "send the spec as a JSON object, with the header content-type: application/json"
        return [{"param": None, "reason": reason}]
    if error["type"] == "value_error":
        raised = error.get("ctx", {}).get("error")
        told = raised.told if isinstance(raised, Contradictions) else [reason]
        return [_named(location, each) for each in told]
    return [{"param": ".".join(location) or None, "reason": reason}]


def _named(location: list[str], told: str) -> dict[str, Any]:
    field, separator, reason = told.partition(": ")
    if separator and " " not in field:
        return {"param": ".".join([*location, field]), "reason": reason}
    return {"param": ".".join(location) or None, "reason": told}
