"""Conversion of tool definitions and tool calls: OpenAI's (both generations), and ShareGPT's texts."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from uniapl.spec.importers.fields import RowError

TOOL_ROLES = ("tool", "function", "observation", "ipython", "environment", "tool_response", "function_response")
"""Names of the role whose turns are results of tools."""
CALL_ROLES = ("tool_call", "function_call")
"""Names of the role whose turns are tool calls as JSON text."""


def tool_definitions(given: Any, field: str) -> list[dict[str, Any]]:
    """Tool definitions as a list of `{"type": "function", "function": {"name": …}}`; empty without definitions.

    Raises:
        RowError: they are neither a list nor its JSON text, or one has no name.
    """
    found = _parsed(given, field)
    tools = [_function(tool, f"{field}.{i}") for i, tool in enumerate(found if isinstance(found, list) else [found])]
    return tools if found else []


def tool_calls(turn: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Consume the calls of an assistant turn: `tool_calls`, or OpenAI's older `function_call`.

    Raises:
        RowError: a call has no name.
    """
    given = turn.pop("tool_calls", None)
    field = f"{where}tool_calls"
    if not given:
        given, field = turn.pop("function_call", None), f"{where}function_call"
    if not given:
        return []
    calls = _parsed(given, field)
    return [_function(call, f"{field}.{i}") for i, call in enumerate(calls if isinstance(calls, list) else [calls])]


def called(text: Any, where: str) -> list[dict[str, Any]]:
    """The calls of a turn whose text is the JSON of a call, or of a list of calls.

    Raises:
        RowError: it is not.
    """
    calls = _parsed(text, where)
    return [_function(call, where) for call in (calls if isinstance(calls, list) else [calls])]


def _function(given: Any, where: str) -> dict[str, Any]:
    """One definition or call in OpenAI's nested form, without nulls."""
    given = _without_nulls(_parsed(given, where))
    if isinstance(given, dict) and isinstance(given.get("name"), str):
        if "input_schema" in given and "parameters" not in given:  # Anthropic's name
            given = {("parameters" if name == "input_schema" else name): item for name, item in given.items()}
        given = {"type": "function", "function": given}
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise RowError(
            f'{where}: must be {{"type": "function", "function": {{"name": …}}}}; write it in OpenAI\'s format, or '
            "remove the row"
        )
    return {"type": "function", **given}


def _without_nulls(given: Any) -> Any:
    """Without the null keys of a call or definition; its arguments and its schema are unchanged."""
    if not isinstance(given, dict):
        return given
    return {key: _without_nulls(item) if key == "function" else item for key, item in given.items() if item is not None}


def _parsed(given: Any, where: str) -> Any:
    if not isinstance(given, str):
        return given
    if not given.strip():
        return []
    try:
        return from_json(given)
    except ValueError:
        raise RowError(f"{where}: {given!r:.60} is not JSON; write it as JSON, or remove the row") from None
