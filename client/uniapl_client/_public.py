"""Public names of the SDK."""

from uniapl.spec.dataset import DatasetRow
from uniapl.spec.estimate import Estimate, RenderedRow, SpecProblem, TimeEstimate, Validation
from uniapl.spec.health import Health
from uniapl.spec.job import JobSpec, MixEntry
from uniapl.spec.objective import Adversarial, Grpo, Sft
from uniapl.spec.resources import (
    Alias,
    Checkpoint,
    Dataset,
    DatasetPreview,
    DatasetStatistics,
    Job,
    JobError,
    JobEvent,
    JobState,
    MetricPoint,
    Model,
    Sample,
    Secret,
)
from uniapl.spec.reward.options import RewardOptions
from uniapl.spec.stored import RawObject
from uniapl.spec.training import DataOptions, Evaluation, Lora, Optimizer, Resources, Rollout, Schedule
from uniapl.spec.weights import Stage
from uniapl_client._async.client import AsyncClient
from uniapl_client._spec_fields import JobFields
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
    "Adversarial",
    "Alias",
    "AsyncClient",
    "AuthenticationError",
    "Checkpoint",
    "ChecksumError",
    "Client",
    "ConflictError",
    "DataOptions",
    "Dataset",
    "DatasetPreview",
    "DatasetRow",
    "DatasetStatistics",
    "Estimate",
    "Evaluation",
    "Grpo",
    "Health",
    "InvalidRequestError",
    "Job",
    "JobError",
    "JobEvent",
    "JobFailed",
    "JobFields",
    "JobSpec",
    "JobState",
    "JobTimeout",
    "Lora",
    "MetricPoint",
    "MixEntry",
    "Model",
    "NotFoundError",
    "Optimizer",
    "PermissionDeniedError",
    "RateLimitError",
    "RawObject",
    "RenderedRow",
    "Reported",
    "Resources",
    "RewardOptions",
    "Rollout",
    "Sample",
    "Schedule",
    "Secret",
    "ServerError",
    "Sft",
    "SpecProblem",
    "Stage",
    "StateChanged",
    "StreamEvent",
    "StreamReset",
    "TimeEstimate",
    "UniaplClientError",
    "Validation",
    "VersionError",
]
