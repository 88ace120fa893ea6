"""What `jobs.stream` yields."""

from __future__ import annotations

from typing import Annotated, Literal

from httpx_sse import ServerSentEvent
from pydantic import Field, TypeAdapter, ValidationError

from uniapl.spec.resources import JobEvent, JobState, Output
from uniapl_client.errors import APIResponseValidationError


class StateChanged(JobEvent):
    """A transition of the job."""

    type: Literal["state"] = "state"

    @property
    def state(self) -> JobState | str:
        """The state it is in from here on."""
        found: JobState | str = self.data["state"]
        return found


class Reported(JobEvent):
    """A message of the trainer or the worker."""

    type: Literal["message"] = "message"


class StreamReset(Output):
    """The service does not have the events that were asked for, and goes on after number `after`.

    That may lie before the events that were seen last: a service that was restored from a backup counts anew.
    """

    type: Literal["reset"] = "reset"
    after: int
    """Number of the event before the next one."""
    reason: str = ""
    """Why, in words."""


StreamEvent = StateChanged | Reported | StreamReset
"""Told apart by `type`, or by `isinstance`; all but `StreamReset` are a `JobEvent`."""

_EVENT: TypeAdapter[StateChanged | Reported] = TypeAdapter(
    Annotated[StateChanged | Reported, Field(discriminator="type")]
)


def parse(event: ServerSentEvent) -> StreamEvent | None:
    """The typed event; `None` for a kind that this client does not know.

    Raises:
        APIResponseValidationError: it knows the kind, and not what the event says.
    """
    try:
        if event.event == "reset":
            return StreamReset.model_validate_json(event.data)
        return _EVENT.validate_json(event.data) if event.event in ("state", "message") else None
    except ValidationError as error:
        raise APIResponseValidationError(f"an event of kind {event.event!r} cannot be understood") from error
