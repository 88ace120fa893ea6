"""The errors a user can act on, each with a stable code.

    UniaplError
    ├── SpecError            invalid_spec          the job spec contradicts itself or the data
    ├── MisfitError          does_not_fit          the job needs more memory than any worker has
    ├── DatasetError         invalid_dataset       a dataset row cannot be used
    ├── ModelError           model_not_loadable    a student or discriminator cannot be loaded
    ├── RewardError          reward_failed         a reward could not be computed
    ├── ScoreError           discriminator_failed  the discriminator answered something unusable
    ├── TeacherError         teacher_failed        the teacher's server gave no usable answer, or a budget is spent
    ├── ServerError          server_failed         a model's server gave no usable answer for too long
    ├── CheckpointError      invalid_checkpoint    a checkpoint is torn or altered
    ├── DivergedError        diverged              the loss or the gradient is no longer finite
    ├── UnhealthyError       unhealthy             a failure signature began that the job was told to stop on
    ├── DeviceError          gpu_unusable          the machine has a GPU, and torch cannot use it
    └── DiskFullError        disk_full             a file could not be written for want of space

The file knows no HTTP status and no exit code; the API and the trainer's entry point map these.
"""

from __future__ import annotations


class UniaplError(Exception):
    """Base of every error that is not a bug of ours.

    Attributes:
        code: stable identifier, never reworded once released.
        hint: what the user can do about it, or ``None``.
        param: dotted name of the field at fault (``dataset_mix.0.role``), or ``None``.
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


class DatasetError(UniaplError):
    """A dataset row cannot be used."""

    code = "invalid_dataset"


class ModelError(UniaplError):
    """A student or discriminator cannot be loaded."""

    code = "model_not_loadable"


class RewardError(UniaplError):
    """A reward could not be computed."""

    code = "reward_failed"


class ScoreError(UniaplError):
    """The discriminator answered something that must not reach a gradient."""

    code = "discriminator_failed"


class TeacherError(UniaplError):
    """The teacher's server gave no usable answer, or the budget for asking it is spent."""

    code = "teacher_failed"


class ServerError(UniaplError):
    """The server of a discriminator or sampler gave no usable answer, however often it was asked."""

    code = "server_failed"


class CheckpointError(UniaplError):
    """A checkpoint is torn or altered."""

    code = "invalid_checkpoint"


class DivergedError(UniaplError):
    """The loss or the gradient norm is no longer finite."""

    code = "diverged"


class UnhealthyError(UniaplError):
    """A failure signature began that `health.stop_on` names."""

    code = "unhealthy"


class DeviceError(UniaplError):
    """The machine has a GPU that torch cannot use: the driver is too old, or the build of torch is another's."""

    code = "gpu_unusable"


class DiskFullError(UniaplError):
    """A file could not be written: the disk is full, or a quota or the largest file allowed is reached."""

    code = "disk_full"
