"""What the SDK raises.

UniaplClientError
├── APIConnectionError       the service could not be reached
├── APIStatusError           the service answered with an error
│   ├── NotFoundError        404
│   ├── ConflictError        409
│   └── InvalidRequestError  400, 413, 422
├── JobFailed                a job that was waited for ended failed or cancelled
└── ChecksumError            a downloaded file is not what the service has
"""

from __future__ import annotations

from typing import Any

import httpx

from uniapl.spec.resources import Job


class UniaplClientError(Exception):
    """Base of everything the SDK raises."""


class APIConnectionError(UniaplClientError):
    """The service could not be reached."""


class APIStatusError(UniaplClientError):
    """The service answered with an error.

    Attributes:
        status_code: HTTP status.
        code: stable identifier.
        param: the field at fault, or ``None``.
        errors: every problem, where there are several (fields of a spec, lines of a dataset).
    """

    def __init__(self, message: str, *, status_code: int, code: str, param: str | None, errors: list[Any]) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.code = code
        self.param = param
        self.errors = errors


class NotFoundError(APIStatusError):
    """404: no such resource."""


class ConflictError(APIStatusError):
    """409: the resource is in a state that does not allow it."""


class InvalidRequestError(APIStatusError):
    """400, 413 or 422: the request has to be changed."""


class JobFailed(UniaplClientError):
    """A job that was waited for did not succeed.

    Attributes:
        job: the job, with its error.
    """

    def __init__(self, job: Job) -> None:
        reason = f": {job.error.message}" if job.error else ""
        super().__init__(f"job {job.id} {job.state}{reason}")
        self.job = job


class ChecksumError(UniaplClientError):
    """A downloaded file is not what the service has."""


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: InvalidRequestError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidRequestError,
    422: InvalidRequestError,
}


def from_response(response: httpx.Response) -> APIStatusError:
    """The error that an unsuccessful response stands for; its body must have been read."""
    try:
        body = response.json()
        error = body["error"]
        message, code, param = str(error["message"]), str(error["code"]), error.get("param")
        errors = list(body.get("errors", []))
    except (ValueError, KeyError, TypeError):
        message, code, param, errors = f"HTTP {response.status_code}: {response.text[:200]}", "unknown", None, []
    kind = _BY_STATUS.get(response.status_code, APIStatusError)
    return kind(message, status_code=response.status_code, code=code, param=param, errors=errors)
