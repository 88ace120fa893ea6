"""What the SDK raises.

UniaplClientError
├── APIConnectionError             the service could not be reached (also a ConnectionError)
│   └── APITimeoutError            it did not answer in time (also a TimeoutError)
├── APIStatusError                 the service answered with an error
│   ├── AuthenticationError        401
│   ├── PermissionDeniedError      403 (also a PermissionError)
│   ├── NotFoundError              404
│   ├── ConflictError              409
│   ├── InvalidRequestError        400, 413, 422
│   ├── RateLimitError             429
│   └── ServerError                5xx
├── APIResponseValidationError     the answer is not what this client understands
├── VersionError                   client and service do not go together
├── JobFailed                      a job that was waited for ended failed or cancelled
├── JobTimeout                     a job that was waited for is not over yet (also a TimeoutError)
└── ChecksumError                  a file is not what the service has
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uniapl_client._retry import is_retried, retry_after_s

if TYPE_CHECKING:  # the command line shows its help without them
    import httpx

    from uniapl.spec.resources import Job


class UniaplClientError(Exception):
    """Base of everything the SDK raises.

    Attributes:
        message: what is wrong, and what to do about it.
        code: stable identifier.
        param: the field at fault, or ``None``.
        status: HTTP status, or ``None`` where the service did not answer.
        request_id: what the operator finds the request by, or ``None``.
        should_retry: whether the same request may succeed later.
        retry_after_s: seconds that the service wants to be left alone, or ``None`` where it has not said.
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
    """The service could not be reached."""

    code = "connection_error"
    should_retry = True


class APITimeoutError(APIConnectionError, TimeoutError):
    """The service did not answer in time."""

    code = "timeout"


class APIStatusError(UniaplClientError):
    """The service answered with an error.

    Attributes:
        errors: every problem, where there are several (fields of a spec, lines of a dataset).
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
        """HTTP status, by the name that other SDKs use."""
        return self.status


class AuthenticationError(APIStatusError):
    """401: the API key is missing, wrong, expired or revoked."""


class PermissionDeniedError(APIStatusError, PermissionError):
    """403: the API key lacks a scope."""


class NotFoundError(APIStatusError):
    """404: no such resource."""


class ConflictError(APIStatusError):
    """409: the resource is in a state that does not allow it."""


class InvalidRequestError(APIStatusError):
    """400, 413 or 422: the request has to be changed."""


class RateLimitError(APIStatusError):
    """429: too many requests; `.retry_after_s` says when to come back."""


class ServerError(APIStatusError):
    """5xx: the service failed."""


class APIResponseValidationError(UniaplClientError):
    """The answer is not what this client understands."""

    code = "invalid_answer"


class VersionError(UniaplClientError):
    """Client and service do not go together.

    Attributes:
        client_version: this package's.
        server_version: the service's.
    """

    code = "version_mismatch"
    client_version = ""
    server_version = ""


class JobFailed(UniaplClientError):
    """A job that was waited for did not succeed.

    Attributes:
        job: the job, with its error.
    """

    def __init__(self, job: Job) -> None:
        reason = f": {job.error.message}" if job.error else ""
        super().__init__(f"job {job.id} {job.state}{reason}")
        self.args = (job,)  # what it is made from when it has crossed a process
        self.job = job
        self.code = job.error.code if job.error else f"job_{job.state}"
        self.param = job.error.param if job.error else None


class JobTimeout(UniaplClientError, TimeoutError):
    """A job that was waited for is not over yet; it goes on.

    Attributes:
        job: the job as it was last seen.
    """

    code = "job_timeout"

    def __init__(self, job: Job, timeout_s: float) -> None:
        super().__init__(f"job {job.id} is {job.state} after {timeout_s:g} s; it goes on, wait for it again")
        self.args = (job, timeout_s)
        self.job = job


class ChecksumError(UniaplClientError):
    """A file is not what the service has."""

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
    """The error that an unsuccessful response stands for; its body must have been read."""
    status = response.status_code
    message = f"HTTP {status}: {response.text[:200]}"
    given: dict[str, Any] = {}
    try:
        body = response.json()
        error = body["error"]
        message = str(error["message"])
        given = {"code": str(error["code"]), "param": error.get("param"), "errors": list(body.get("errors", []))}
    except (ValueError, KeyError, TypeError):
        pass  # a proxy's, say
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else APIStatusError)
    found = kind(message, status=status, request_id=response.headers.get("x-request-id"), **given)
    found.should_retry = is_retried(status, response.headers)
    found.retry_after_s = retry_after_s(response.headers)
    return found
