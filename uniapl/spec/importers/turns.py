"""Conversion of conversation turns of other tools: OpenAI, TRL, ShareGPT."""

from __future__ import annotations

from typing import Any

from uniapl.spec.importers.fields import RowError
from uniapl.spec.importers.tools import CALL_ROLES, TOOL_ROLES, called, tool_calls

ROLES = {
    **{"developer": "system", "human": "user", "prompter": "user"},
    **dict.fromkeys(("gpt", "chatgpt", "bot", "model", "ai", *CALL_ROLES), "assistant"),
    **dict.fromkeys(TOOL_ROLES, "tool"),
}
"""Alternative names of roles."""
TRAINED = ("weight", "loss_weight", "loss", "train", "training", "trainable", "train_on_turn", "train_on")
"""Fields that mark turns for training; 0 or false excludes a turn."""
MASKED = ("mask", "masked")
"""Fields that exclude a turn if set."""
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def switch(value: Any) -> bool | None:
    """Boolean value of a mark such as true, 1, "true" or "1.0"; `None` if it is neither true nor false."""
    if isinstance(value, str):
        text = value.strip().lower()
        if text in WORDS:
            return WORDS[text]
        try:
            value = float(text)
        except ValueError:
            return None
    if not isinstance(value, (int, float)):
        return None
    return True if value == 1 else False if value <= 0 else None


def refuse_untrained(fields: dict[str, Any], where: str) -> None:
    """Remove training marks from a turn's fields.

    Raises:
        RowError: a mark excludes the answer from training, or is neither 0 nor 1.
    """
    for name in (*TRAINED, *MASKED):
        if fields.get(name) is None:
            continue
        value = fields.pop(name)
        wanted = switch(value)
        if wanted is None:
            raise RowError(f"{where}{name}: {value!r:.60} is neither 0 nor 1; write 1, or remove the row")
        if wanted is (name in MASKED):
            raise RowError(
                f"{where}{name}: {value!r:.60} marks an answer that must not be imitated; remove the answer to keep "
                "the prompt, or remove the row"
            )


def read_turns(given: Any, field: str, ignored: set[str]) -> Any:
    """A conversation as a list of roles and contents; other values unchanged, for `DatasetRow` to reject.

    Empty system turns are dropped.

    Args:
        given: value of the field.
        field: name of the field.
        ignored: receives the paths of ignored fields of turns.

    Raises:
        RowError: a turn is not supported, or excluded from training.
    """
    if not isinstance(given, list):
        return given
    turns = []
    for number, turn in enumerate(given, start=1):
        read = _turn(turn, field, f"{field}.{number - 1}.", ignored, last=number == len(given))
        if isinstance(read, dict) and read.get("role") == "system" and not read.get("content"):
            ignored.add(f"{field}[]")
        else:
            turns.append(read)
    return turns


def _turn(turn: Any, field: str, where: str, ignored: set[str], *, last: bool) -> Any:
    if not isinstance(turn, dict):
        return turn
    left = {name: value for name, value in turn.items() if value is not None}
    given = left.pop("role", None) or left.pop("from", None)
    role = ROLES.get(given.lower(), given.lower()) if isinstance(given, str) else given
    content = left.pop("content", None)
    content = left.pop("value", None) if content is None else content
    calls = tool_calls(left, where) if role == "assistant" else []
    if isinstance(given, str) and given.lower() in CALL_ROLES:
        content, calls = "", called(content, f"{where}content")
    if content is None and left.get("refusal"):
        raise RowError(f"{where}refusal: has no `content`; write its text into `content`, or remove the row")
    _refuse_shape(role, content, calls, left, where)
    read = {
        "role": role,
        "tool_calls": calls or None,
        "content": _text(content, where, f"{field}[].content[].", ignored),
    }
    if (calls or role == "tool") and read["content"] is None:
        read["content"] = ""
    if role == "assistant":
        read["weight"] = _weight(left, where, answer=last)
    if role == "tool":
        read |= {name: str(left.pop(name)) for name in ("tool_call_id", "name") if name in left}
    ignored |= {f"{field}[].{name}" for name, value in left.items() if value not in ("", [], {})}
    return {name: value for name, value in read.items() if value is not None}


def _refuse_shape(role: Any, content: Any, calls: Any, left: dict[str, Any], where: str) -> None:
    """Reject a turn without role or text that has other fields, which may contain them."""
    if role is None and content is None and left:
        raise RowError(
            f"{where.rstrip('.')}: has the fields {', '.join(map(repr, list(left)[:5]))}; write the turn as "
            '{"role": "user" or "assistant", "content": "…"}'
        )
    if role != "assistant" and (left.get("tool_calls") or left.get("function_call")):
        raise RowError(f"{where}role: {role!r:.60} cannot call tools; set it to 'assistant'")


def _weight(left: dict[str, Any], where: str, *, answer: bool) -> int | None:
    """Consume the training mark of an assistant turn.

    Raises:
        RowError: it is the turn to imitate, and the mark excludes it or is neither 0 nor 1.
    """
    if answer:
        refuse_untrained(left, where)
        return None
    for name in (*TRAINED, *MASKED):
        wanted = switch(left.get(name))
        if wanted is not None:
            del left[name]
            return int(wanted is not (name in MASKED))
    return None


def _text(content: Any, where: str, path: str, ignored: set[str]) -> Any:
    """The text of a content, joined from its parts."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        part = {"type": "text", "text": part} if isinstance(part, str) else part
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else part
            raise RowError(f"{where}content: part {kind!r:.60} is not text; replace it with text, or remove the row")
        texts.append(part["text"])
        ignored |= {path + name for name, value in part.items() if name not in ("type", "text") and value is not None}
    return "".join(texts)
