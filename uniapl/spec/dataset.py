"""Dataset rows: a prompt with an optional reference answer and an optional verifiable reward."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import from_json

from uniapl.spec.base import Input, Text, field_path
from uniapl.spec.reward import Reward


def first_problem(error: ValidationError, line: str | bytes | dict[str, Any]) -> str:
    """The first validation error of a row, as `field: reason`.

    Args:
        error: from validating `line` as a `DatasetRow`.
        line: JSON text, or the parsed object.
    """
    first = error.errors()[0]
    given = line if isinstance(line, dict) or first["type"] == "json_invalid" else from_json(line)
    where = field_path(first, given)
    reason = first["msg"].removeprefix("Value error, ")
    return f"{where}: {reason}" if where else reason


class Message(Input):
    """One turn of a prompt."""

    role: Literal["system", "user", "assistant"]
    """Role of the turn's author."""
    content: Annotated[Text, Field(min_length=1)]
    """Text of the turn."""


class DatasetRow(Input):
    """One JSON object of a JSONL dataset.

    A row with a `reference` can be used for imitation (role `sft`), a row with a `reward` for exploration (role `rl`),
    a row with both for both. The discriminator needs rows with a `reference`.
    """

    id: Annotated[Text, Field(min_length=1, max_length=128)] | None = None
    """Identifier chosen by the caller; appears in errors and samples."""
    messages: Annotated[list[Message], Field(min_length=1)]
    """The prompt as chat turns; the last turn has role `user`."""
    reference: Annotated[Text, Field(min_length=1)] | None = None
    """Reference answer of the teacher."""
    reward: Reward | None = None
    """Verifiable reward of an answer to the prompt."""
    tags: list[Text] = []
    """Free labels, stored with the row."""

    @model_validator(mode="after")
    def _a_prompt_ends_with_the_user(self) -> Self:
        if self.messages[-1].role != "user":
            raise ValueError("messages: the last turn must have role 'user'; move the teacher's answer to `reference`")
        return self
