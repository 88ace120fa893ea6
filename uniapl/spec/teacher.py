"""Sources of reference answers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from uniapl.spec.base import Count, Input, Name, ServerAddress

SECRET_NAME = r"^[a-z0-9][a-z0-9._-]{0,95}$"
"""Pattern of secret names."""


class DatasetTeacher(Input):
    """Reference answers from the dataset rows (`reference`)."""

    type: Literal["dataset"] = "dataset"


class OpenAITeacher(Input):
    """Missing reference answers are generated before training by a server with OpenAI's chat completions API.

    Answers are cached by endpoint, model, sampling options and messages, so a resumed or repeated job sends no request
    twice. Reasoning up to `</think>` is removed.
    """

    type: Literal["openai"] = "openai"
    base_url: ServerAddress
    """Address including the API version, such as `https://api.openai.com/v1`; no user, password or query."""
    model: Name
    """Model name on that server."""
    api_key_secret: Annotated[str, Field(pattern=SECRET_NAME)] | None = None
    """Name of the secret with the API key (`PUT /secrets/{name}`); omit it for servers without authentication. A spec
    never contains the key itself."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,90}_API_KEY$")] | None = None
    """Name of the environment variable with the API key, such as `OPENAI_API_KEY`; only for `python -m uniapl train`.
    The service rejects it. The name must end with `_API_KEY`, so that no other variable can be sent to a server."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature of the answers. If the server rejects the parameter, as OpenAI's reasoning models do, it is
    omitted, and an event reports that the server's default applies."""
    max_tokens: Count = 2048
    """Maximum answer length in the teacher's tokens, including hidden reasoning. A truncated answer fails the job and
    is not used. If the server rejects `max_tokens`, `max_completion_tokens` is sent instead."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    """Maximum number of concurrent requests."""
    max_requests: Count = 10_000
    """Maximum number of requests per run, including retries. When it is reached the job fails; received answers stay
    cached."""
    max_total_tokens: Count = 10_000_000
    """Maximum number of prompt and completion tokens per run, as counted by the server. Requests in flight when it is
    reached still complete."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Timeout of one request, in seconds."""
    max_retries: Annotated[int, Field(ge=0, le=100)] = 6
    """Maximum number of retries of one request after 429, 5xx or a connection failure; `Retry-After` is honoured."""

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        if self.api_key_secret is not None and self.api_key_env is not None:
            raise ValueError("api_key_env: excludes api_key_secret; remove one of them")
        return self


Teacher = Annotated[DatasetTeacher | OpenAITeacher, Field(discriminator="type")]
