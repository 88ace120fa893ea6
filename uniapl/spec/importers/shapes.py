"""Conversion of field names of Alpaca, Dolly, GSM8K and OpenAI's preferences."""

from __future__ import annotations

import re
from typing import Any

from uniapl.spec.importers.fields import RowError

SHAPE_FIELDS = (
    *("instruction", "input", "context", "output", "response", "history", "question", "answer"),
    *("preferred_output",),
)
"""Fields of these formats."""
_GSM8K = re.compile(r"\n?####\s*(\S[^\n]*?)\s*$")
"""The final value of a GSM8K answer."""
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
"""A thousands separator, as opposed to a comma between list items."""


def with_usual_names(fields: dict[str, Any]) -> dict[str, Any]:
    """The row with `prompt`, `completion`, `chosen` and `reward` if it has one of these formats, else unchanged.

    Raises:
        RowError: the row contains unsupported parts of such a format.
    """
    row = {name: value for name, value in fields.items() if value is not None}
    if any(name in row for name in ("prompt", "messages", "conversations", "completion", "chosen", "reference")):
        return row
    if isinstance(row.get("instruction"), str):
        return _alpaca(row)
    if isinstance(row.get("question"), str) and isinstance(row.get("answer"), str):
        return _gsm8k(row)
    if isinstance(row.get("input"), dict) and "preferred_output" in row:
        return _preference(row)
    return row


def _alpaca(row: dict[str, Any]) -> dict[str, Any]:
    if row.get("history"):
        raise RowError("history: earlier turns are not supported; write the conversation as `messages`")
    texts = [row.pop("instruction")]
    for name in ("input", "context"):
        if isinstance(row.get(name), str):
            texts.append(row.pop(name))
    answer = next((row.pop(name) for name in ("output", "response") if name in row), None)
    return row | {"prompt": "\n\n".join(text for text in texts if text.strip()), "completion": answer}


def _gsm8k(row: dict[str, Any]) -> dict[str, Any]:
    """Use an answer that ends with `#### 7` as completion, and the value as reward."""
    value = _GSM8K.search(row["answer"])
    if value is None:
        return row
    reward = {"type": "math", "answer": _THOUSANDS.sub("", value[1])}
    usual = {"prompt": row.pop("question"), "completion": row.pop("answer")}
    return {"reward": reward} | row | usual


def _preference(row: dict[str, Any]) -> dict[str, Any]:
    asked, preferred = row.pop("input"), row.pop("preferred_output")
    if asked.get("tools"):
        raise RowError(
            "input.tools: tool definitions are not supported; write them into a system turn and remove the field, or "
            "remove the row"
        )
    left = {f"input.{name}": value for name, value in asked.items() if name not in ("messages", "tools")}
    return row | left | {"prompt": asked.get("messages"), "chosen": preferred}
