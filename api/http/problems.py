"""Problem responses: `application/problem+json` (RFC 9457) with OpenAI's `error` member inside.

RFC 9457's members serve people and generic tools; `error{message, type, code, param}` serves clients of OpenAI's API,
which read nothing else. An unexpected exception becomes a 500 without details (`api.http.middleware`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails

from uniapl.spec.base import field_path
from uniapl.spec.job import Contradictions


class Unauthenticated(Exception):
    """The request has no valid key."""


class Forbidden(Exception):
    """The caller is identified but not allowed to do this."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BodyRefused(Exception):
    """The body is malformed, exceeds a limit, or does not arrive in time."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class ErrorMember(BaseModel):
    """The error in the format of OpenAI's API."""

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
    """The kind of problem."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong, and what to do about it."""
    error: ErrorMember
    """The same error for clients of OpenAI's API."""
    errors: list[dict[str, Any]] = []
    """Every problem where there can be several: fields of a spec, lines of a dataset."""


_TITLES = {
    400: ("Bad request", "invalid_request_error"),
    401: ("Not authenticated", "authentication_error"),
    403: ("Not allowed", "permission_error"),
    404: ("Not found", "not_found_error"),
    405: ("Method not allowed", "invalid_request_error"),
    408: ("Request timeout", "invalid_request_error"),
    409: ("Conflict", "conflict_error"),
    410: ("Gone", "not_found_error"),
    413: ("Content too large", "invalid_request_error"),
    422: ("Unprocessable content", "invalid_request_error"),
    429: ("Too many requests", "rate_limit_error"),
    500: ("Internal error", "api_error"),
    503: ("Service unavailable", "api_error"),
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


def field_problems(error: ErrorDetails, body: Any) -> list[dict[str, Any]]:
    """A pydantic error as fields and reasons; validators of `uniapl.spec` begin their messages with the field.

    Args:
        error: its `loc` begins with the place: `body`, `query`.
        body: the body of the request.
    """
    place, *rest = error["loc"]
    inside = field_path({**error, "loc": tuple(rest)}, body) if place == "body" else ".".join(map(str, rest))
    location = [inside] if inside else []
    reason = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        reason = "unknown key; see the API documentation for the supported keys"
    if error["type"] == "json_invalid":
        return [{"param": None, "reason": f"the body is not JSON: {error.get('ctx', {}).get('error', reason)}"}]
    if error["type"] in ("model_attributes_type", "model_type") and not location:
        reason = "the body is not a JSON object; send one, with the header content-type: application/json"
        return [{"param": None, "reason": reason}]
    if error["type"] == "value_error":
        raised = error.get("ctx", {}).get("error")
        messages = raised.messages if isinstance(raised, Contradictions) else [reason]
        return [_split_field(location, message) for message in messages]
    return [{"param": ".".join(location) or None, "reason": reason}]


def _split_field(location: list[str], message: str) -> dict[str, Any]:
    field, separator, reason = message.partition(": ")
    if separator and " " not in field:
        return {"param": ".".join([*location, field]), "reason": reason}
    return {"param": ".".join(location) or None, "reason": message}
