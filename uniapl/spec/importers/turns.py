"""Conversion of conversation turns of other tools: OpenAI, TRL, ShareGPT."""

from __future__ import annotations

import json
from typing import Any

from uniapl.spec.importers.fields import RowError
from uniapl.spec.importers.layouts import TURN, without_tool_blocks
from uniapl.spec.importers.tools import CALL_ROLES, TOOL_ROLES, called, tool_calls

ROLES = {
    **{"developer": "system", "human": "user", "prompter": "user"},
    **dict.fromkeys(("gpt", "chatgpt", "bot", "chatbot", "model", "ai", *CALL_ROLES), "assistant"),
    **dict.fromkeys(TOOL_ROLES, "tool"),
}
"""Alternative names of roles."""
_ROLES = {*ROLES, "system", "user", "assistant", "tool"}
_OTHER_ROLES = ("type", "author", "speaker", "sender")
"""Names of the role, if its value is one."""
_CONTENTS = ("content", "value")
_OTHER_CONTENTS = ("parts", "message", "text")
"""Names of the content of a turn that has a role."""
_REASONING = ("thinking", "redacted_thinking", "reasoning")
"""Types of content blocks that are reported as ignored, as reasoning in a field of a turn is."""
TRAINED = (
    *("weight", "loss_weight", "loss", "loss_mask", "train", "training", "trainable", "train_on_turn", "train_on"),
    "sample_weight",
)
"""Fields that mark turns for training; 0 or false excludes a turn."""
MASKED = ("mask", "masked", "is_masked")
"""Fields that exclude a turn if set."""
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


_WITHOUT_CONTENT = ("name", "tool_call_id", "tool_calls", "function_call", *TRAINED, *MASKED)
"""Fields of turns that hold no part of a conversation's text."""
_PARTS_TRAINED = ("train_detail", "training_detail")
"""Fields that mark parts of a turn for training."""


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
    given = [part for turn in given for part in without_tool_blocks(turn)]
    for number, turn in enumerate(given, start=1):
        read = _turn(turn, field, f"{field}.{number - 1}.", ignored, last=number == len(given))
        if isinstance(read, dict) and read.get("role") == "system" and not read.get("content"):
            ignored.add(f"{field}[]")
        else:
            turns.append(read)
    return turns


def system_text(given: Any, name: str, ignored: set[str]) -> str:
    """The text of a row's system field: a text, a list of its parts, or an object with one of them.

    Raises:
        RowError: it is neither.
    """
    if isinstance(given, dict):
        given = next((given[key] for key in ("parts", "content", "text") if given.get(key) is not None), given)
    text = _text(given, f"{name}.", f"{name}[].", ignored)
    if not isinstance(text, str):
        raise RowError(f"{name}: must be a text; write the system's text, or drop it with ?map={name}:ignore")
    return text


def _turn(turn: Any, field: str, where: str, ignored: set[str], *, last: bool) -> Any:
    if not isinstance(turn, dict):
        raise RowError(f"{where.rstrip('.')}: must be {TURN}; write the turn so, or remove the row")
    left = {name: value for name, value in turn.items() if value is not None}
    given = _given_role(left)
    given = given.strip() if isinstance(given, str) else given
    role = ROLES.get(given.lower(), given.lower()) if isinstance(given, str) else given
    content = _content(left, has_role=given is not None)
    calls = tool_calls(left, where) if role == "assistant" else []
    if isinstance(given, str) and given.lower() in CALL_ROLES:
        content, calls = "", called(content, f"{where}content")
    if content is None and left.get("refusal"):
        raise RowError(f"{where}refusal: has no `content`; write its text into `content`, or remove the row")
    content = _result(content) if role == "tool" else content
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


def _given_role(left: dict[str, Any]) -> Any:
    """Consume the role of a turn, which other tools call its type, author or speaker."""
    given = left.pop("role", None) or left.pop("from", None)
    names = [name for name in _OTHER_ROLES if str(left.get(name)).lower() in _ROLES]
    return left.pop(names[0]) if given is None and names else given


def _content(left: dict[str, Any], *, has_role: bool) -> Any:
    """Consume the content of a turn; `None` if absent."""
    names = [*_CONTENTS, *(_OTHER_CONTENTS if has_role else ())]
    if has_role and isinstance(left.get("data"), dict) and not any(name in left for name in names):
        left |= left.pop("data")
    return next((left.pop(name) for name in names if left.get(name) is not None), None)


def _result(content: Any) -> Any:
    """A tool's result as text or parts of content: other values as JSON."""
    is_parts = isinstance(content, list) and all(
        isinstance(part, str) or (isinstance(part, dict) and {"type", "text"} & part.keys()) for part in content
    )
    return (
        content if content is None or isinstance(content, str) or is_parts else json.dumps(content, ensure_ascii=False)
    )


def _refuse_shape(role: Any, content: Any, calls: Any, left: dict[str, Any], where: str) -> None:
    """Reject a turn without role or text that has other fields, which may contain them."""
    if role is None and content is None and left:
        raise RowError(
            f"{where.rstrip('.')}: has the fields {', '.join(map(repr, list(left)[:5]))}; write the turn as "
            '{"role": "user" or "assistant", "content": "…"}'
        )
    lost = [name for name, value in left.items() if name not in _WITHOUT_CONTENT and value not in ("", [], {})]
    if content is None and not calls and lost:
        raise RowError(
            f"{where.rstrip('.')}: has no `content`, but {', '.join(map(repr, lost[:5]))}; write the turn's text into "
            "`content`, or remove the row"
        )
    if content is not None and not isinstance(content, (str, list)):
        raise RowError(f"{where}content: must be a text, not {content!r:.60}; write it as text, or remove the row")
    if role != "assistant" and (left.get("tool_calls") or left.get("function_call")):
        raise RowError(f"{where}role: {role!r:.60} cannot call tools; set it to 'assistant'")


def _weight(left: dict[str, Any], where: str, *, answer: bool) -> int | None:
    """Consume the training mark of an assistant turn.

    Raises:
        RowError: it is the turn to imitate, and the mark excludes it or is neither 0 nor 1.
    """
    if answer:
        refuse_untrained(left, where)
        _refuse_parts(left, where)
        return None
    for name in (*TRAINED, *MASKED):
        wanted = switch(left.get(name))
        if wanted is not None:
            del left[name]
            return int(wanted is not (name in MASKED))
    return None


def _refuse_parts(left: dict[str, Any], where: str) -> None:
    """Reject an answer that is only in part to be imitated, or is only the beginning of one."""
    for name in _PARTS_TRAINED:
        parts = left.get(name)
        if isinstance(parts, list) and any(isinstance(p, dict) and switch(p.get("train")) is False for p in parts):
            raise RowError(
                f"{where}{name}: excludes a part of the answer, and answers are imitated as a whole; remove the field "
                "to imitate all of it, or remove the row"
            )
    if (prefix := left.pop("prefix", None)) not in (None, False):
        raise RowError(
            f"{where}prefix: {prefix!r:.60} marks the beginning of an answer, not a whole one; write the whole answer "
            "and remove the field, or remove the row"
        )


def _text(content: Any, where: str, path: str, ignored: set[str]) -> Any:
    """The text of a content, joined from its parts."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        part = {"type": "text", "text": part} if isinstance(part, str) else part
        if isinstance(part, dict) and part.get("type") in _REASONING:
            ignored.add(f"{path}{part['type']}")
            continue
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            kind = part.get("type") or next(iter(part), None) if isinstance(part, dict) else part
            raise RowError(f"{where}content: part {kind!r:.60} is not text; replace it with text, or remove the row")
        texts.append(part["text"])
        ignored |= {path + name for name, value in part.items() if name not in ("type", "text") and value is not None}
    return "".join(texts)
