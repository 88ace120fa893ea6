"""Dataset rows: a prompt with an optional reference answer and an optional verifiable reward."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
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


def _function(given: dict[str, Any]) -> dict[str, Any]:
    function = given.get("function")
    if given.get("type") != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError('must be {"type": "function", "function": {"name": …}}; write it in OpenAI\'s format')
    return given


Function = Annotated[dict[str, Any], AfterValidator(_function)]
"""A tool definition or a tool call in OpenAI's format."""


class Message(Input):
    """One turn of a prompt."""

    role: Literal["system", "user", "assistant", "tool"]
    """Role of the turn's author; a turn of role `tool` is a tool's result."""
    tool_calls: Annotated[list[Function], Field(min_length=1)] | None = None
    """Tool calls of an assistant turn, `{"type": "function", "function": {"name", "arguments"}}`."""
    content: Text
    """Text of the turn; may be empty beside tool calls, and in a tool's result."""
    tool_call_id: Text | None = None
    """Id of the call that a tool's result belongs to."""
    name: Text | None = None
    """Name of the tool that a result is from."""
    weight: Literal[0, 1] | None = None
    """0 for an assistant turn that must not be imitated."""

    def turn(self) -> dict[str, Any]:
        """The turn for chat templates and servers: without absent fields and `weight`."""
        return self.model_dump(exclude_none=True, exclude={"weight"})

    @field_validator("content")
    @classmethod
    def _a_turn_has_a_content(cls, content: str, info: ValidationInfo) -> str:
        if not content and not info.data.get("tool_calls") and info.data.get("role") != "tool":
            raise ValueError("is empty; write the turn's text, or remove the turn")
        return content

    @model_validator(mode="after")
    def _only_tools_have_results(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"tool_calls: a turn of role {self.role!r} cannot call tools; use role 'assistant'")
        if self.role != "tool" and (self.tool_call_id or self.name):
            raise ValueError("tool_call_id and name: belong to turns of role 'tool'; remove them from this turn")
        if self.weight is not None and self.role != "assistant":
            raise ValueError("weight: belongs to turns of role 'assistant'; remove it from this turn")
        return self


class DatasetRow(Input):
    """One JSON object of a JSONL dataset.

    A row with a `reference` can be used for imitation (role `sft`), a row with a `reward` for exploration (role `rl`),
    a row with both for both. The discriminator needs rows with a `reference`.
    """

    id: Annotated[Text, Field(min_length=1, max_length=128)] | None = None
    """Identifier chosen by the caller; appears in errors and samples."""
    messages: Annotated[list[Message], Field(min_length=1)]
    """The prompt as chat turns; the last turn has role `user`, or `tool`."""
    tools: Annotated[list[Function], Field(min_length=1)] | None = None
    """Tools that the conversation may call, `{"type": "function", "function": {"name", "parameters"}}`."""
    reference: Annotated[Text, Field(min_length=1)] | None = None
    """Reference answer of the teacher."""
    reward: Reward | None = None
    """Verifiable reward of an answer to the prompt."""
    tags: list[Text] = []
    """Free labels, stored with the row."""

    @property
    def uses_tools(self) -> bool:
        """Whether the conversation defines tools, calls them, or has their results."""
        return bool(self.tools) or any(turn.tool_calls or turn.role == "tool" for turn in self.messages)

    @model_validator(mode="after")
    def _a_prompt_ends_with_the_user(self) -> Self:
        if self.messages[-1].role not in ("user", "tool"):
            raise ValueError("messages: the last turn must have role 'user'; move the teacher's answer to `reference`")
        if not any(message.role == "user" for message in self.messages):
            raise ValueError("messages: no turn has role 'user'; add the user's question")
        return self
