"""Conversion of other tools' rows into dataset rows; ignored fields are reported, and no answer is lost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from uniapl.spec.dataset import DatasetRow, first_problem
from uniapl.spec.importers.fields import FieldReader, IgnoredFields, RowError
from uniapl.spec.importers.ground_truth import ifeval_reward, truth_reward
from uniapl.spec.importers.shapes import SHAPE_FIELDS, with_usual_names
from uniapl.spec.importers.turns import TRAINED, read_turns, refuse_untrained, switch

__all__ = ["FIELDS", "IgnoredFields", "Row", "RowError", "parse_row", "read_row"]

KNOWN = (
    "`messages` with `reference` and `reward` (UniAPL), `messages` that end with an assistant turn (TRL), "
    "`prompt` with `completion` or `chosen` (TRL), `messages` with `ground_truth` (IF-RLVR), "
    "or `prompt` with `instruction_id_list` and `kwargs` (IFEval)"
)
"""Supported sets of fields, for errors."""
CONVERT = (
    'rename it to `completion` if it is the answer to imitate, convert it to `reward`: {"type": "math", "answer": "…"} '
    "or another reward if answers are verified by it, or remove it"
)
ANSWERS = ("reference", "completion", "chosen")
CONVERSATIONS = ("messages", "conversations", "conversation")
SYSTEM = ("system", "system_prompt")
TOOLS = ("tools", "functions")
SOURCES = ("dataset", "data_source", "ability")
"""Fields with the source of a ground truth."""
FIELDS = (
    *(*DatasetRow.model_fields, *ANSWERS, *CONVERSATIONS, *SYSTEM, *TOOLS, *SOURCES, *TRAINED, *SHAPE_FIELDS),
    *("prompt", "label", "ground_truth", "reward_model", "instruction_id_list", "kwargs", "key"),
)
"""Fields with a known meaning."""
_TYPED = ("messages", "reference", "reward", "tags", "completion")
"""Fields whose misspellings are rejected."""
_ANSWER = re.compile(
    "answer|solution|gold|truth|label|output|response|target|reward|chosen|rejected|preferred|completion|reference|"
    "expected|correct|verif|grader|checker|reply|demonstration|test_case|tests|(^|_)gt(_|$)",
    re.IGNORECASE,
)
"""Names of fields that may contain an answer or a ground truth."""


@dataclass(frozen=True)
class Row:
    """A parsed line."""

    row: DatasetRow
    """The dataset row."""
    line: bytes
    """The row as JSON with the fields of `DatasetRow`."""
    ignored: frozenset[str] = frozenset()
    """Paths of its ignored fields."""


def parse_row(line: str | bytes) -> tuple[DatasetRow, bytes]:
    """The row and its JSON from `read_row`, without the ignored fields.

    Raises:
        RowError: the line is not JSON, or no set of fields matches.
    """
    read = read_row(line)
    return read.row, read.line


def read_row(line: str | bytes) -> Row:
    """Parse one line with any supported set of fields.

    Raises:
        RowError: the line is not JSON, no set of fields matches, its answer is marked as not to be imitated, or an
            answer is in an unsupported field.
    """
    try:
        row = DatasetRow.model_validate_json(line)
        read = Row(row, line.encode() if isinstance(line, str) else line)
    except ValidationError as error:
        given = None if error.errors()[0]["type"] == "json_invalid" else from_json(line)
        if not isinstance(given, dict):
            raise RowError(first_problem(error, line)) from None
        read = _converted(given)
    if read.row.reference is not None and not any(c.isprintable() and not c.isspace() for c in read.row.reference):
        raise RowError("reference: is blank; write the answer, or remove the field")
    return read


def _converted(fields: dict[str, Any]) -> Row:
    reader = FieldReader(with_usual_names(fields))
    converted = _convert(reader)
    unread = reader.unread()
    _refuse_slips(unread)
    try:
        row = DatasetRow.model_validate(converted)
    except ValidationError as error:
        raise RowError(first_problem(error, converted)) from None
    if row.reference is None and row.reward is None:
        _refuse_lost(unread)
    return Row(row, row.model_dump_json(exclude_unset=True).encode(), frozenset({*unread, *reader.ignored}))


def _refuse_slips(unread: list[str]) -> None:
    for name in [name for name in unread if name not in FIELDS]:
        for meant in get_close_matches(name.lower(), _TYPED, n=1, cutoff=0.82):
            raise RowError(f"{name:.100}: unknown field; rename it to `{meant}` if that is meant, or remove it")


def _refuse_lost(unread: list[str]) -> None:
    """Reject a row without reference and reward that seems to have an answer in an ignored field."""
    for name in unread:
        if _ANSWER.search(name):
            raise RowError(f"{name:.100}: ignored field, and the row has no `reference` and no `reward`; {CONVERT}")


def _convert(reader: FieldReader) -> dict[str, Any]:
    _refuse_marks(reader)
    row: dict[str, Any] = {name: reader.take(name) for name in ("reward", "tags", "reference") if name in reader}
    identity = reader.take("id", "key")
    if identity is not None:
        is_number = isinstance(identity, (int, float)) and not isinstance(identity, bool)
        row["id"] = str(identity) if is_number else identity
    row["messages"], answer = _conversation(reader, imitates="reference" not in row)
    if answer is not None:
        row["reference"] = answer
    if "reward" not in row and (reward := _reward(reader)) is not None:
        row["reward"] = reward
    return row


def _refuse_marks(reader: FieldReader) -> None:
    """Reject answers marked as bad, and tool definitions."""
    label = switch(reader.peek("label"))
    if label is False:
        raise RowError(
            f"label: {str(reader.peek('label')).lower():.60} marks a bad completion, which must not be imitated; "
            "remove the row, or rename the field if it has another meaning"
        )
    if "completion" in reader and (given_label := reader.take("label")) is not None and label is None:
        raise RowError(f"label: {given_label!r:.60} is neither true nor false; write true, or remove the row")
    for name in TRAINED:
        if switch(reader.peek(name)) is False:
            refuse_untrained({name: reader.peek(name)}, "")
    for name in TOOLS:
        if reader.peek(name):
            raise RowError(
                f"{name}: tool definitions are not supported; write them into a system turn and remove the field, or "
                "remove the row"
            )
        reader.take(name)


def _conversation(reader: FieldReader, *, imitates: bool) -> tuple[Any, Any]:
    """The turns of the prompt, and the answer to imitate if `imitates`."""
    name = next((name for name in CONVERSATIONS if name in reader), "messages")
    talk = read_turns(reader.peek(name), name, reader.ignored)
    prompt = reader.take("prompt")
    prompt = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    prompt = read_turns(prompt, "prompt", reader.ignored)
    if talk is None and prompt is None and not isinstance(reader.peek("chosen"), list):
        names = ", ".join(f"{name!r:.100}" for name in reader.unread()[:20]) or "(none)"
        raise RowError(f"unknown fields {names}; use {KNOWN}")
    field = next((field for field in ("completion", "chosen") if field in reader), None) if imitates else None
    if field is not None:
        turns, answer = _joined(talk if prompt is None else prompt, reader.take(field), field, reader)
        last = [{"role": "assistant", "content": answer}]
        if prompt is None or talk == turns or (isinstance(turns, list) and talk == turns + last):
            reader.take(name)
    else:
        turns, answer = _split(talk, prompt, name, imitates=imitates)
        reader.take(name)
    return _with_system(turns, reader), answer


def _split(talk: Any, prompt: Any, name: str, *, imitates: bool) -> tuple[Any, Any]:
    """Split a conversation, or a prompt, into the turns before the answer, and the answer."""
    if talk is not None and prompt is not None and not _begins(talk, prompt):
        raise RowError(f"prompt: does not occur in {name}; remove one of the two")
    turns = prompt if talk is None else talk
    if not imitates or not _answered(turns):
        return turns, None
    *turns, last = turns
    return turns, last.get("content") or ""  # an empty reference is rejected by DatasetRow


def _answered(turns: Any) -> bool:
    """Whether a conversation ends with an assistant turn after other turns."""
    last = turns[-1] if isinstance(turns, list) and len(turns) > 1 else None
    return isinstance(last, dict) and last.get("role") == "assistant"


def _begins(turns: Any, prompt: Any) -> bool:
    """Whether a conversation begins with the prompt's turns, or has a user turn equal to a one-turn prompt."""
    if not isinstance(turns, list) or not isinstance(prompt, list):
        return False
    if turns[: len(prompt)] == prompt:
        return True
    asked = [_content(turn).strip() for turn in turns if isinstance(turn, dict) and turn.get("role") == "user"]
    return len(prompt) == 1 and isinstance(prompt[0], dict) and _content(prompt[0]).strip() in asked


def _content(turn: Mapping[str, Any]) -> str:
    return str(turn.get("content"))


def _joined(prompt: Any, answer: Any, field: str, reader: FieldReader) -> tuple[Any, Any]:
    """The prompt's turns, and the text of its completion: a text, one turn, or the whole conversation.

    A plain text may begin with the space that separates it from its prompt; it is stripped.
    """
    if isinstance(answer, str) and prompt is not None:
        return prompt, answer.strip()
    turns = read_turns(answer, field, reader.ignored)
    whole = isinstance(turns, list) and len(turns) > 1 and _answered(turns)
    if whole and (prompt is None or _begins(turns[:-1], prompt)):
        *prompt, last = turns
        return prompt, last.get("content") or ""
    if not isinstance(turns, list) or len(turns) != 1 or not isinstance(turns[0], dict):
        raise RowError(
            f"{field}: must be a text, a list of one assistant turn, or the whole conversation including the prompt; "
            "remove the other turns"
        )
    if turns[0].get("role") != "assistant":
        role = turns[0].get("role")
        raise RowError(f"{field}.0.role: must be 'assistant', not {role!r:.60}; write the assistant's answer")
    return prompt, turns[0].get("content") or ""


def _with_system(turns: Any, reader: FieldReader) -> Any:
    """The turns, with the row's system text in front if they have no system turn."""
    name = next((name for name in SYSTEM if name in reader), None)
    begins = isinstance(turns, list) and turns and isinstance(turns[0], dict)
    if name is None or not isinstance(reader.peek(name), str) or not begins or turns[0].get("role") == "system":
        return turns
    system = reader.take(name)
    return [{"role": "system", "content": system}, *turns] if system else turns


def _reward(reader: FieldReader) -> dict[str, Any] | None:
    if "instruction_id_list" in reader:
        return ifeval_reward(reader.take("instruction_id_list"), reader.take("kwargs"), "kwargs")
    sources = [reader.peek(name) for name in SOURCES if name in reader]
    if "ground_truth" in reader:
        reward = truth_reward(reader.take("ground_truth"), "ground_truth", sources, reader.ignored)
    elif isinstance(model := reader.peek("reward_model"), dict) and model.get("ground_truth") is not None:
        reader.take("reward_model")
        reward = truth_reward(model["ground_truth"], "reward_model.ground_truth", sources, reader.ignored)
        reader.ignored |= {f"reward_model.{name}" for name in model if name != "ground_truth"}
    else:
        return None
    for name in SOURCES:
        reader.take(name)
    return reward
