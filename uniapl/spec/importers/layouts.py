"""Layouts of conversations: columns, pairs, alternating texts, JSON texts, and turns with content blocks for tools."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json

ASKED = ("input", "human", "user", "question", "instruction", "query", "prompt")
"""Names of the user's text in a pair."""
ANSWERED = ("output", "assistant", "bot", "gpt", "chatgpt", "answer", "response", "model", "moss")
"""Names of the assistant's text in a pair."""
_ROLE = ("role", "from")
MAX_LITERAL = 100_000
"""Maximum length, in characters, of a text that is parsed as a Python literal."""
_LITERAL = re.compile(r"\[?\s*\{\s*'")
TURN = 'a turn {"role": "user" or "assistant", "content": "…"}'
"""Description of a turn, for errors."""


def turn_list(given: Any) -> Any:
    """A conversation as a list of turns; values without a known layout are unchanged.

    Layouts are `{"role": […], "content": […]}`, JSON text of a list, a list of JSON texts, a list of texts that begins
    with the user's, and a list of pairs such as `{"input": …, "output": …}`.
    """
    if isinstance(given, str):
        given = _parsed(given)
    if isinstance(given, dict):
        given = _from_columns(given)
    if not isinstance(given, list) or not given:
        return given
    if all(isinstance(item, str) for item in given):
        turns = [_parsed(item) for item in given]
        return turns if all(isinstance(turn, dict) for turn in turns) else _alternating(given)
    return [turn for item in given for turn in _from_pair(item)]


def turns_in_text(given: Any) -> Any:
    """The turns of a text that encodes a list of turns; other values unchanged."""
    turns = _parsed(given) if isinstance(given, str) else None
    if not isinstance(turns, list) or not turns:
        return given
    return turns if all(isinstance(turn, dict) and set(_ROLE) & turn.keys() for turn in turns) else given


def is_conversation(given: Any) -> bool:
    """Whether a value has a layout of a conversation, other than a text."""
    turns = turn_list(given) if isinstance(given, (dict, list)) else None
    return isinstance(turns, list) and any(isinstance(turn, dict) and set(_ROLE) & turn.keys() for turn in turns)


def without_tool_blocks(turn: Any) -> list[Any]:
    """A turn whose `tool_use` blocks are `tool_calls`, after a turn of role `tool` for each `tool_result` block."""
    content = turn.get("content") if isinstance(turn, dict) else None
    blocks = [(_kind(block), block) for block in content] if isinstance(content, list) else []
    uses = [block for kind, block in blocks if kind == "tool_use"]
    results = [block for kind, block in blocks if kind == "tool_result"]
    if not uses and not results:
        return [turn]
    rest = [block for kind, block in blocks if kind not in ("tool_use", "tool_result")]
    turn = {**turn, "content": rest or ""}
    if uses:
        turn["tool_calls"] = [_call(block) for block in uses]
    return [*map(_result, results), *([turn] if rest or uses else [])]


def _kind(block: Any) -> Any:
    return block.get("type") if isinstance(block, dict) else None


def _call(block: dict[str, Any]) -> dict[str, Any]:
    function = {"name": block.get("name"), "arguments": block.get("input") or {}}
    return {"id": block.get("id"), "type": "function", "function": function}


def _result(block: dict[str, Any]) -> dict[str, Any]:
    others = {name: value for name, value in block.items() if name not in ("type", "tool_use_id", "content")}
    return {**others, "role": "tool", "tool_call_id": block.get("tool_use_id"), "content": block.get("content") or ""}


def _parsed(text: str) -> Any:
    """The list or object of a JSON text or a Python literal; other texts unchanged. No code is evaluated."""
    begin = text.lstrip()[:MAX_LITERAL]
    if not begin.startswith(("[", "{")):
        return text
    try:
        return from_json(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text.strip()) if _LITERAL.match(begin) and len(text) < MAX_LITERAL else text
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def _from_columns(given: dict[str, Any]) -> Any:
    """Rows of a table that is stored by columns, as Arrow's sequences of structs are exported."""
    columns = {name: column for name, column in given.items() if column is not None}
    is_table = bool(set(_ROLE) & columns.keys()) and all(isinstance(column, list) for column in columns.values())
    if not is_table or len({len(column) for column in columns.values()}) != 1:
        return given
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _alternating(texts: Iterable[str]) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def _from_pair(item: Any) -> list[Any]:
    """The turns of an item such as `{"input": …, "output": …}`, with its system text; other items unchanged."""
    if not isinstance(item, dict) or set(_ROLE) & item.keys():
        return [item]
    names = {name.lower(): name for name in item}
    asked = next((names[name] for name in ASKED if name in names), None)
    answered = next((names[name] for name in ANSWERED if name in names), None)
    if asked is None or answered is None:
        return [item]
    rest = {name: value for name, value in item.items() if name not in (asked, answered, "system")}
    system, answer = item.get("system"), item[answered]
    return [
        *([{"role": "system", "content": system}] if system else []),
        {**rest, "role": "user", "content": item[asked]},
        *([{"role": "assistant", "content": answer}] if answer is not None else []),
    ]
