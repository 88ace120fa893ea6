"""Typed events of `jobs.stream`."""

from __future__ import annotations

from typing import Annotated, Literal

from httpx_sse import ServerSentEvent
from pydantic import Field, TypeAdapter, ValidationError

from uniapl.spec.resources import JobEvent, JobState, Output
from uniapl_client.errors import APIResponseValidationError


class StateChanged(JobEvent):
    """A state transition of the job."""

    type: Literal["state"] = "state"

    @property
    def state(self) -> JobState | str:
        """The new state."""
        found: JobState | str = self.data["state"]
        return found


class Reported(JobEvent):
    """A message of the trainer or the worker."""

    type: Literal["message"] = "message"


class StreamReset(Output):
    """The requested events do not exist; the stream continues after number `after`.

    `after` may be less than the last received number, after a restore of the service from a backup.
    """

    type: Literal["reset"] = "reset"
    after: int
    """Number after which the stream continues."""
    reason: str = ""
    """Reason of the reset."""


StreamEvent = StateChanged | Reported | StreamReset
"""Discriminated by `type` or `isinstance`; all except `StreamReset` are subclasses of `JobEvent`."""

_EVENT: TypeAdapter[StateChanged | Reported] = TypeAdapter(
    Annotated[StateChanged | Reported, Field(discriminator="type")]
)


def parse(event: ServerSentEvent) -> StreamEvent | None:
    """The typed event; `None` for an unknown kind.

    Raises:
        APIResponseValidationError: the data of a known kind is invalid.
    """
    try:
        if event.event == "reset":
            return StreamReset.model_validate_json(event.data)
        return _EVENT.validate_json(event.data) if event.event in ("state", "message") else None
    except ValidationError as error:
        raise APIResponseValidationError(f"the service sent an invalid event of kind {event.event!r}") from error
