"""Celery transports that validate messages: any message that is not a job notification is dropped.

With kombu's own transports a message that cannot be parsed terminates the worker.
"""

from __future__ import annotations

import base64
import logging
from typing import Annotated, Any, Literal

from kombu.exceptions import ChannelError
from kombu.transport import filesystem, redis
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

UNREADABLE = (ValueError, RecursionError, ChannelError)
"""kombu's errors for a message that is not JSON, is nested too deeply, or is not a file."""
logger = logging.getLogger(__name__)


class _Headers(BaseModel):
    task: Literal["uniapl.run_job"]
    id: str
    eta: None = None  # a delayed message would occupy the prefetch window


class _Delivery(BaseModel):
    exchange: str
    routing_key: str


class _Properties(BaseModel):
    delivery_tag: str
    delivery_info: _Delivery
    body_encoding: Literal["base64"]


class _Message(BaseModel):
    """The parts of a message that kombu and Celery access unchecked, and that all job notifications share."""

    model_config = ConfigDict(strict=True)

    headers: _Headers
    properties: _Properties
    content_type: Literal["application/json"] = Field(alias="content-type")
    content_encoding: Literal["utf-8"] = Field(alias="content-encoding")
    body: str = Field(max_length=10_000)

    @field_validator("body")
    @classmethod
    def _is_a_job_id(cls, body: str) -> str:
        _BODY.validate_json(base64.b64decode(body))
        return body


_BODY = TypeAdapter(tuple[tuple[str], Annotated[dict[str, Any], Field(max_length=0)], dict[str, None]])
"""Positional arguments, named arguments, and callbacks, of which there are none."""


class _MessageFilter:
    """Mixin for a transport: delivers valid messages only."""

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            _Message.model_validate(message)
        except ValidationError as error:
            logger.warning("dropped an invalid message: %s", error)
        else:
            super()._deliver(message, queue)  # type: ignore[misc]


class _RedisChannel(redis.Channel):
    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except UNREADABLE as error:
            logger.warning("dropped an unreadable message: %s", error)
            return True

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        return _unless_unreadable(super()._get, queue)


class RedisTransport(_MessageFilter, redis.Transport):  # type: ignore[misc]
    """`redis://`"""

    Channel = _RedisChannel


class _FolderChannel(filesystem.Channel):
    def _get(self, queue: str, timeout: float | None = None) -> Any:
        return _unless_unreadable(super()._get, queue)


class FolderTransport(_MessageFilter, filesystem.Transport):  # type: ignore[misc]
    """`filesystem://`"""

    Channel = _FolderChannel


def _unless_unreadable(get: Any, queue: str) -> Any:
    """The next message, or `None` if it is unreadable; the filter drops `None`."""
    try:
        return get(queue)
    except UNREADABLE as error:
        logger.warning("dropped an unreadable message: %s", error)
        return None
