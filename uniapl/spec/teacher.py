"""Where the reference answers come from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from uniapl.spec.base import Count, Input, Name, ServerAddress

SECRET_NAME = r"^[a-z0-9][a-z0-9._-]{0,95}$"
"""What secrets may be called."""


class DatasetTeacher(Input):
    """The teacher's answers stand in the rows, as `reference`."""

    type: Literal["dataset"] = "dataset"


class OpenAITeacher(Input):
    """A server with OpenAI's chat completions writes the answers that rows lack, before training begins.

    Each answer is cached by what was asked (endpoint, model, sampling options, messages), so a resumed or repeated job
    asks nothing twice. Reasoning up to `</think>` is left out.
    """

    type: Literal["openai"] = "openai"
    base_url: ServerAddress
    """Address up to and including the version, such as `https://api.openai.com/v1`; no user, password or query."""
    model: Name
    """The model's name at that server."""
    api_key_secret: Annotated[str, Field(pattern=SECRET_NAME)] | None = None
    """Name of the secret that holds the key (`PUT /secrets/{name}`); none for servers that ask for none. The key itself
    never enters a spec."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,90}_API_KEY$")] | None = None
    """The same for `uniapl train` without the service, which refuses it: name of the environment variable that holds
    the key, such as `OPENAI_API_KEY`. No variable that is not named as such a key can be sent to a server."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature of the answers. A server that refuses it, as OpenAI's reasoning models do, answers at its
    own default, and an event names that."""
    max_tokens: Count = 2048
    """Longest answer in the teacher's tokens, hidden reasoning included; one that reaches it is refused rather than
    imitated. A server that refuses `max_tokens` gets it as `max_completion_tokens`."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    """Requests in flight."""
    max_requests: Count = 10_000
    """Budget of requests of one run, retries included; when it is spent the job fails and the cache keeps what came."""
    max_total_tokens: Count = 10_000_000
    """Budget of prompt and completion tokens of one run, as the server counts them; requests that are in flight when
    it is reached still finish."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Longest wait for one answer, in seconds."""
    max_retries: Annotated[int, Field(ge=0, le=100)] = 6
    """Repeats of one request after 429, 5xx or a lost connection; `Retry-After` is honoured."""

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        if self.api_key_secret is not None and self.api_key_env is not None:
            raise ValueError("api_key_env: give either this or api_key_secret")
        return self


Teacher = Annotated[DatasetTeacher | OpenAITeacher, Field(discriminator="type")]
