"""One line of a dataset: a prompt, perhaps the teacher's answer, perhaps a way to verify an answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import from_json

from uniapl.spec.base import Input, Text, field_path
from uniapl.spec.reward import Reward


def first_problem(error: ValidationError, line: str | bytes | dict[str, Any]) -> str:
    """What is wrong with a line, or with what stood there, that is no `DatasetRow`: field and reason."""
    first = error.errors()[0]
    given = line if isinstance(line, dict) or first["type"] == "json_invalid" else from_json(line)
    where = field_path(first, given)
    reason = first["msg"].removeprefix("Value error, ")
    return f"{where}: {reason}" if where else reason


class Message(Input):
    """One turn of the conversation that forms the prompt."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: Annotated[Text, Field(min_length=1)]
    """What is said."""


class DatasetRow(Input):
    """One JSON object of a JSONL dataset.

    A row with a `reference` can be imitated (role `sft`); a row with a `reward` can be explored (role `rl`); a
    row with both serves both, and lets the discriminator compare the student's answer with the teacher's.
    """

    id: Annotated[Text, Field(min_length=1, max_length=128)] | None = None
    """The caller's own name for the row; shown in errors and samples."""
    messages: Annotated[list[Message], Field(min_length=1)]
    """The prompt, as chat turns; the last one is the user's."""
    reference: Annotated[Text, Field(min_length=1)] | None = None
    """The teacher's answer."""
    reward: Reward | None = None
    """How an answer is verified."""
    tags: list[Text] = []
    """Free labels, kept with the row."""

    @model_validator(mode="after")
    def _a_prompt_ends_with_the_user(self) -> Self:
        if self.messages[-1].role != "user":
            raise ValueError("messages: the last turn must have role 'user'; put the teacher's answer into `reference`")
        return self
