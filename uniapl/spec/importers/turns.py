"""Turns of a conversation as other tools write them: OpenAI, TRL, ShareGPT."""

from __future__ import annotations

from typing import Any

from uniapl.spec.importers.fields import RowError

ROLES = {
    **{"developer": "system", "human": "user"},
    **dict.fromkeys(("gpt", "chatgpt", "bot", "model"), "assistant"),
}
"""Other names of ours."""
TOOL_ROLES = ("tool", "function", "tool_call", "function_call", "observation", "ipython", "environment")
TRAINED = ("weight", "loss_weight", "loss", "train", "training", "trainable", "train_on_turn", "train_on")
"""Fields with which tools mark what is trained on: 0 or false is not."""
MASKED = ("mask", "masked")
"""Fields that mark the contrary."""
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def switch(value: Any) -> bool | None:
    """Whether a mark is set: true, 1, "true", "1.0"; `None` where it is neither that nor its contrary."""
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
    """Take the marks out of what describes an answer.

    Raises:
        RowError: a mark forbids imitating the answer, or is neither 0 nor 1.
    """
    for name in (*TRAINED, *MASKED):
        if fields.get(name) is None:
            continue
        value = fields.pop(name)
        wanted = switch(value)
        if wanted is None:
            raise RowError(f"{where}{name}: {value!r:.60} is neither 0 nor 1; write 1, or leave the row out")
        if wanted is (name in MASKED):
            raise RowError(
                f"{where}{name}: {value!r:.60} marks an answer that must not be imitated; remove the answer to keep "
                "the prompt, or leave the row out"
            )


def read_turns(given: Any, field: str, ignored: set[str]) -> Any:
    """A conversation as roles and contents; what is none is itself, for the row's own check to refuse.

    An empty system turn is left out. A last turn of the assistant is one to imitate.

    Args:
        given: the field's value.
        field: its name.
        ignored: gets the paths of what turns have besides.

    Raises:
        RowError: a turn cannot be trained on as it is meant.
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
    role = left.pop("role", None) or left.pop("from", None)
    role = ROLES.get(role, role) if isinstance(role, str) else role
    content = left.pop("content", None)
    content = left.pop("value", None) if content is None else content
    _refuse_tools(role, left, where)
    if content is None and left.get("refusal"):
        raise RowError(f"{where}refusal: a refusal is no answer; write its text into `content`, or leave the row out")
    if last and role == "assistant":
        refuse_untrained(left, where)
    read = {"role": role, "content": _text(content, where, f"{field}[].content[].", ignored)}
    ignored |= {f"{field}[].{name}" for name, value in left.items() if value not in ("", [], {})}
    return {name: value for name, value in read.items() if value is not None}


def _refuse_tools(role: Any, left: dict[str, Any], where: str) -> None:
    if role in TOOL_ROLES:
        raise RowError(
            f"{where}role: turns of a {role!r} are not known; write its content into a turn of the user, or leave the "
            "row out"
        )
    for name in ("tool_calls", "function_call"):
        if left.get(name):
            raise RowError(
                f"{where}{name}: calls of tools are not trained on; write the call into `content`, or leave the row out"
            )


def _text(content: Any, where: str, path: str, ignored: set[str]) -> Any:
    """A content's text, which may come in parts."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        part = {"type": "text", "text": part} if isinstance(part, str) else part
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else part
            raise RowError(
                f"{where}content: a part {kind!r:.60} is no text; describe it in words, or leave the row out"
            )
        texts.append(part["text"])
        ignored |= {path + name for name, value in part.items() if name not in ("type", "text") and value is not None}
    return "".join(texts)
