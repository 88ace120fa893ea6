"""Tool definitions and tool calls of a row, as chat templates take them."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json

from uniapl.errors import DatasetError
from uniapl.spec.dataset import DatasetRow


def template_turns(row: DatasetRow) -> list[dict[str, Any]]:
    """The turns of a prompt, with the arguments of tool calls as objects instead of JSON text."""
    turns = [message.turn() for message in row.messages]
    for turn in turns:
        if "tool_calls" in turn:
            turn["tool_calls"] = [call | {"function": _arguments(call["function"])} for call in turn["tool_calls"]]
    return turns


def refuse_unrendered(row: DatasetRow, prompt: str, name: str) -> None:
    """Check that a rendered prompt contains the names of all tools and calls, and the results of the calls.

    Raises:
        DatasetError: the chat template leaves one out.
    """
    if not row.uses_tools:
        return
    calls = [call for message in row.messages for call in message.tool_calls or []]
    texts = [tool["function"]["name"] for tool in (*(row.tools or []), *calls)]
    texts += [message.content.strip() for message in row.messages if message.role == "tool"]
    for text in texts:
        if text not in prompt and json.dumps(text, ensure_ascii=False)[1:-1] not in prompt:
            raise DatasetError(
                f"row {name}: the student's chat template does not render {text!r:.100} of the row's tools",
                param="data.chat_template",
                hint="use a student, or a data.chat_template, that supports tools, or remove the row",
            )


def _arguments(function: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(function.get("arguments"), str):
        return function
    try:
        return function | {"arguments": from_json(function["arguments"])}
    except ValueError:
        return function
