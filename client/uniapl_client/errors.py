"""Exceptions of the SDK.

UniaplClientError
├── APIConnectionError             no response from the service (also a ConnectionError)
│   └── APITimeoutError            timeout (also a TimeoutError)
├── APIStatusError                 error response
│   ├── AuthenticationError        401
│   ├── PermissionDeniedError      403 (also a PermissionError)
│   ├── NotFoundError              404
│   ├── ConflictError              409
│   ├── InvalidRequestError        400, 413, 422
│   ├── RateLimitError             429
│   └── ServerError                5xx
├── APIResponseValidationError     invalid response
├── VersionError                   incompatible versions of client and service
├── JobFailed                      a job failed or was cancelled during `wait`
├── JobTimeout                     a job did not finish within the timeout of `wait` (also a TimeoutError)
└── ChecksumError                  a downloaded file does not match its checksum
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uniapl_client._retry import is_retried, retry_after_s

if TYPE_CHECKING:  # keeps `uniapl --help` fast
    import httpx

    from uniapl.spec.resources import Job


class UniaplClientError(Exception):
    """Base class of the SDK's exceptions.

    Attributes:
        message: the problem and the suggested fix.
        code: stable identifier.
        param: path of the field at fault, or ``None``.
        status: HTTP status, or ``None`` without a response.
        request_id: id of the request in the service's log, or ``None``.
        should_retry: whether the same request may succeed later.
        retry_after_s: wait required by the service, in seconds, or ``None``.
    """

    code = "client_error"
    param: str | None = None
    status: int | None = None
    request_id: str | None = None
    should_retry = False
    retry_after_s: float | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        known = f"{self.code}, request {self.request_id}" if self.request_id else self.code
        return f"{self.message} ({known})"


class APIConnectionError(UniaplClientError, ConnectionError):
    """No response from the service."""

    code = "connection_error"
    should_retry = True


class APITimeoutError(APIConnectionError, TimeoutError):
    """No response within the timeout."""

    code = "timeout"


class APIStatusError(UniaplClientError):
    """An error response of the service.

    Attributes:
        errors: all problems, if there are several (fields of a spec, lines of a dataset).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 500,
        code: str = "unknown",
        param: str | None = None,
        errors: list[Any] | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.errors = errors or []
        self.request_id = request_id

    @property
    def status_code(self) -> int | None:
        """HTTP status; an alias of `status`, as in other SDKs."""
        return self.status


class AuthenticationError(APIStatusError):
    """401: the API key is missing, wrong, expired or revoked."""


class PermissionDeniedError(APIStatusError, PermissionError):
    """403: the API key lacks a scope."""


class NotFoundError(APIStatusError):
    """404: no such resource."""


class ConflictError(APIStatusError):
    """409: the state of the resource does not allow the request."""


class InvalidRequestError(APIStatusError):
    """400, 413 or 422: the request is invalid."""


class RateLimitError(APIStatusError):
    """429: too many requests; `.retry_after_s` is the required wait."""


class ServerError(APIStatusError):
    """5xx: the service failed."""


class APIResponseValidationError(UniaplClientError):
    """A response that this client cannot parse."""

    code = "invalid_answer"


class VersionError(UniaplClientError):
    """The versions of client and service are incompatible.

    Attributes:
        client_version: version of this package.
        server_version: version of the service.
    """

    code = "version_mismatch"
    client_version = ""
    server_version = ""


class JobFailed(UniaplClientError):
    """A job failed or was cancelled during `wait`.

    Attributes:
        job: the job, with its error.
    """

    def __init__(self, job: Job) -> None:
        reason = f": {job.error.message}" if job.error else ""
        super().__init__(f"job {job.id} {job.state}{reason}")
        self.args = (job,)  # constructor arguments, for pickle
        self.job = job
        self.code = job.error.code if job.error else f"job_{job.state}"
        self.param = job.error.param if job.error else None


class JobTimeout(UniaplClientError, TimeoutError):
    """A job did not finish within the timeout of `wait`; it continues.

    Attributes:
        job: the last state received.
    """

    code = "job_timeout"

    def __init__(self, job: Job, timeout_s: float) -> None:
        super().__init__(f"job {job.id} is {job.state} after {timeout_s:g} s and continues; wait for it again")
        self.args = (job, timeout_s)
        self.job = job


class ChecksumError(UniaplClientError):
    """A downloaded file does not match its checksum."""

    code = "checksum_mismatch"


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
}


def from_response(response: httpx.Response) -> APIStatusError:
    """The exception of an error response, whose body must have been read."""
    status = response.status_code
    message = f"HTTP {status}: {response.text[:200]}"
    given: dict[str, Any] = {}
    try:
        body = response.json()
        error = body["error"]
        message = str(error["message"])
        given = {"code": str(error["code"]), "param": error.get("param"), "errors": list(body.get("errors", []))}
    except (ValueError, KeyError, TypeError):
        pass  # not a response of the service, but for example of a proxy
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else APIStatusError)
    found = kind(message, status=status, request_id=response.headers.get("x-request-id"), **given)
    found.should_retry = is_retried(status, response.headers)
    found.retry_after_s = retry_after_s(response.headers)
    return found
