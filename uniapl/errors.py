"""Errors with a stable code that users or operators can act on.

    UniaplError
    ├── SpecError            invalid_spec          the job spec contradicts itself or the data
    ├── MisfitError          does_not_fit          the job needs more memory than any worker has
    ├── VllmMissingError     vllm_missing          the job names a vLLM server, and no worker has vLLM
    ├── LibraryMissingError  library_missing       the job needs an optional library that no worker has
    ├── SamplerRefusedError  sampler_refused       the job names the trainer's process, and every worker samples by vLLM
    ├── DatasetError         invalid_dataset       a dataset row cannot be used
    ├── ModelError           model_not_loadable    a student or discriminator cannot be loaded
    ├── RewardError          reward_failed         rewards could not be computed
    ├── ScoreError           discriminator_failed  the discriminator returned an unusable score
    ├── TeacherError         teacher_failed        the teacher sent no usable answer, or a budget is spent
    ├── ServerError          server_failed         a model server sent no usable reply within the retry time
    ├── CheckpointError      invalid_checkpoint    a checkpoint is incomplete or altered
    ├── DivergedError        diverged              the loss or the gradient is no longer finite
    ├── UnhealthyError       unhealthy             a failure signature of `health.stop_on` was detected
    ├── DeviceError          gpu_unusable          torch cannot use the machine's GPU
    └── DiskFullError        disk_full             a file could not be written for lack of space

HTTP statuses and exit statuses are assigned by the API and the trainer's entry point.
"""

from __future__ import annotations


class UniaplError(Exception):
    """Base class of all errors that are not bugs of UniAPL.

    Attributes:
        code: stable identifier, which never changes after a release.
        hint: suggested fix, or ``None``.
        param: path of the field at fault (``dataset_mix.0.role``), or ``None``.
    """

    code = "uniapl_error"

    def __init__(self, message: str, *, param: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.hint = hint


class SpecError(UniaplError):
    """The job spec contradicts itself, or the data it names."""

    code = "invalid_spec"


class MisfitError(UniaplError):
    """The job needs more memory than any worker has."""

    code = "does_not_fit"


class VllmMissingError(UniaplError):
    """The job names a vLLM server that no worker can start."""

    code = "vllm_missing"


class LibraryMissingError(UniaplError):
    """An option of the job needs a library that is not installed."""

    code = "library_missing"

    @staticmethod
    def bitsandbytes(why: str) -> LibraryMissingError:
        """The error for moments in 8 bits without bitsandbytes; `why` is the end of a sentence."""
        return LibraryMissingError(
            f"optimizer.moments '8bit' needs bitsandbytes, and {why}",
            param="optimizer.moments",
            hint="set optimizer.moments to 'float32', or run pip install 'bitsandbytes>=0.50' where the trainer runs",
        )


class SamplerRefusedError(UniaplError):
    """The job names the trainer's process as sampler, and every worker has a GPU and vLLM."""

    code = "sampler_refused"


class DatasetError(UniaplError):
    """A dataset row cannot be used."""

    code = "invalid_dataset"


class ModelError(UniaplError):
    """A student or discriminator cannot be loaded."""

    code = "model_not_loadable"


class RewardError(UniaplError):
    """Rewards could not be computed."""

    code = "reward_failed"


class ScoreError(UniaplError):
    """The discriminator returned a score that must not be used in a gradient."""

    code = "discriminator_failed"


class TeacherError(UniaplError):
    """The teacher sent no usable answer, or its request budget is spent."""

    code = "teacher_failed"


class ServerError(UniaplError):
    """The server of a discriminator or sampler sent no usable reply within the retry time."""

    code = "server_failed"


class CheckpointError(UniaplError):
    """A checkpoint is incomplete or altered."""

    code = "invalid_checkpoint"


class DivergedError(UniaplError):
    """The loss or the gradient norm is no longer finite."""

    code = "diverged"


class UnhealthyError(UniaplError):
    """A failure signature of `health.stop_on` was detected."""

    code = "unhealthy"


class DeviceError(UniaplError):
    """Torch cannot use the machine's GPU: the driver is too old, or torch was built for another platform."""

    code = "gpu_unusable"


class DiskFullError(UniaplError):
    """A file could not be written: the disk is full, or a quota or the file size limit is reached."""

    code = "disk_full"
