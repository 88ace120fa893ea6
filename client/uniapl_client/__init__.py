"""Python SDK of the UniAPL training service."""

from uniapl.spec.job import JobSpec
from uniapl.spec.resources import Checkpoint, Dataset, Job, JobEvent, MetricPoint, Model, Sample
from uniapl_client.client import Client
from uniapl_client.errors import (
    APIConnectionError,
    APIStatusError,
    ChecksumError,
    ConflictError,
    InvalidRequestError,
    JobFailed,
    NotFoundError,
    UniaplClientError,
)

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "Checkpoint",
    "ChecksumError",
    "Client",
    "ConflictError",
    "Dataset",
    "InvalidRequestError",
    "Job",
    "JobEvent",
    "JobFailed",
    "JobSpec",
    "MetricPoint",
    "Model",
    "NotFoundError",
    "Sample",
    "UniaplClientError",
]
