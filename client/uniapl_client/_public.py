"""Public names of the SDK."""

from uniapl.spec.dataset import DatasetRow
from uniapl.spec.estimate import Estimate, RenderedRow, Validation
from uniapl.spec.job import JobSpec
from uniapl.spec.resources import (
    Alias,
    Checkpoint,
    Dataset,
    DatasetPreview,
    DatasetStatistics,
    Job,
    JobEvent,
    MetricPoint,
    Model,
    Sample,
    Secret,
)
from uniapl.spec.stored import RawObject
from uniapl_client._async.client import AsyncClient
from uniapl_client._sync.client import Client
from uniapl_client.errors import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ChecksumError,
    ConflictError,
    InvalidRequestError,
    JobFailed,
    JobTimeout,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UniaplClientError,
    VersionError,
)
from uniapl_client.events import Reported, StateChanged, StreamEvent, StreamReset

__all__ = [
    "APIConnectionError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "Alias",
    "AsyncClient",
    "AuthenticationError",
    "Checkpoint",
    "ChecksumError",
    "Client",
    "ConflictError",
    "Dataset",
    "DatasetPreview",
    "DatasetRow",
    "DatasetStatistics",
    "Estimate",
    "InvalidRequestError",
    "Job",
    "JobEvent",
    "JobFailed",
    "JobSpec",
    "JobTimeout",
    "MetricPoint",
    "Model",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "RawObject",
    "RenderedRow",
    "Reported",
    "Sample",
    "Secret",
    "ServerError",
    "StateChanged",
    "StreamEvent",
    "StreamReset",
    "UniaplClientError",
    "Validation",
    "VersionError",
]
