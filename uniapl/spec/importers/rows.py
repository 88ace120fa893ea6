"""Conversion of other tools' rows into dataset rows; ignored fields are reported, and no answer is lost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from uniapl.spec.dataset import DatasetRow, first_problem
from uniapl.spec.importers.fields import FieldReader, IgnoredFields, RowError
from uniapl.spec.importers.labels import row_id, row_tags
from uniapl.spec.importers.layouts import TURN, is_conversation
from uniapl.spec.importers.mapping import FieldMap
from uniapl.spec.importers.marks import ANSWERS, MARKS, refuse_marks
from uniapl.spec.importers.objects import read_object, refuse_duplicates
from uniapl.spec.importers.rewards import SOURCES, own_reward, row_reward
from uniapl.spec.importers.shapes import CONVERSATIONS, SHAPE_FIELDS, Usual, format_name, with_usual_names
from uniapl.spec.importers.tools import tool_definitions
from uniapl.spec.importers.turns import MASKED, TRAINED, read_turns, system_text
from uniapl.spec.importers.unsupported import TEMPLATE_ARGUMENTS, refuse_unsupported

__all__ = ["FIELDS", "IgnoredFields", "Row", "RowError", "parse_row", "read_row"]

KNOWN = (
    "`messages` with `reference` and `reward` (UniAPL), `messages` that end with an assistant turn (TRL), "
    "`prompt` with `completion` or `chosen` (TRL), `messages` with `ground_truth` (IF-RLVR), "
    "`prompt` with `instruction_id_list` and `kwargs` (IFEval)"
)
"""Supported sets of fields, for errors."""
CONVERT = (
    "map it with ?map={0}:reference if it is the answer to imitate, with ?map={0}:reward.math or "
    "?map={0}:reward.exact_match if answers are verified by it, or with ?map={0}:ignore if it is neither"
)
SYSTEM = ("system", "system_prompt", "systemInstruction", "system_instruction")
TOOLS = ("tools", "functions")
FIELDS = (
    *(
        *DatasetRow.model_fields,
        *ANSWERS,
        *CONVERSATIONS,
        *SYSTEM,
        *TOOLS,
        *SOURCES,
        *MARKS,
        *TRAINED,
        *MASKED,
        *SHAPE_FIELDS,
    ),
    *("prompt", "ground_truth", "reward_model", "instruction_id_list", "kwargs", "key", TEMPLATE_ARGUMENTS),
)
"""Fields with a known meaning."""
_USES = {
    **dict.fromkeys(("prompt", *CONVERSATIONS, *SYSTEM), "messages"),
    **dict.fromkeys(ANSWERS, "reference"),
    **dict.fromkeys(("reward", "ground_truth", "reward_model", "instruction_id_list", "kwargs"), "reward"),
    **dict.fromkeys(TOOLS, "tools"),
    **{"id": "id", "key": "id", "tags": "tags"},
}
"""Field of `DatasetRow` that receives each known field."""
_TYPED = ("messages", "reference", "reward", "tags", "completion")
"""Fields whose misspellings are rejected."""
_ANSWER = re.compile(
    "answer|solution|gold|truth|label|output|response|target|reward|chosen|rejected|preferred|completion|reference|"
    "expected|correct|verif|grader|checker|reply|demonstration|(^|_)(gt|tests?)(_|$)|^(code|summary|translation)$",
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
    format: str = "UniAPL"
    """Name of the recognised format."""
    uses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Where each field went: `messages`, `reference`, `reward.math` and others; empty for rows in UniAPL's format."""


def parse_row(line: str | bytes) -> tuple[DatasetRow, bytes]:
    """The row and its JSON from `read_row`, without the ignored fields.

    Raises:
        RowError: the line is not JSON, or no set of fields matches.
    """
    read = read_row(line)
    return read.row, read.line


def read_row(line: str | bytes, mapped: FieldMap | None = None) -> Row:
    """Parse one line with any supported set of fields, or with the fields that `mapped` names.

    Raises:
        RowError: the line is not JSON, no set of fields matches, its answer is marked as not to be imitated, or an
            answer is in an unsupported field.
    """
    if mapped:
        read = _mapped(line, mapped)
    else:
        try:
            row = DatasetRow.model_validate_json(line)
        except ValidationError:
            read = _converted(read_object(line))
        else:
            refuse_duplicates(line)
            read = Row(row, line.encode() if isinstance(line, str) else line)
    if read.row.reference is not None and not any(c.isprintable() and not c.isspace() for c in read.row.reference):
        raise RowError("reference: is blank; write the answer, or remove the field")
    return read


def _mapped(line: str | bytes, mapped: FieldMap) -> Row:
    given = read_object(line)
    moved = mapped.apply(given)
    read = _converted(moved.fields)
    uses = {name: tuple(targets) for name, targets in moved.uses.items()}
    own = set(moved.uses) | {target.partition(".")[0] for targets in moved.uses.values() for target in targets}
    kept = {name: targets for name, targets in read.uses.items() if name not in own}
    return Row(read.row, read.line, read.ignored | moved.ignored, format_name(given), kept | uses)


def _converted(fields: dict[str, Any]) -> Row:
    usual = with_usual_names(fields)
    reader = FieldReader(usual.row)
    try:
        converted = _convert(reader)
    except RowError as error:
        raise RowError(usual.source(str(error))) from None
    if converted.get("reference") == "":
        raise RowError(usual.source("reference: is empty; write the answer, or remove the field to keep the prompt"))
    unread = reader.unread()
    _refuse_slips(unread)
    try:
        row = DatasetRow.model_validate(converted)
    except ValidationError as error:
        raise RowError(first_problem(error, converted)) from None
    if row.reference is None and row.reward is None:
        _refuse_lost(unread)
    line = row.model_dump_json(exclude_unset=True).encode()
    ignored = frozenset(given for path in (*unread, *reader.ignored) for given in usual.given(path)) | usual.ignored
    return Row(row, line, ignored, format_name(fields), _uses(usual, reader, row))


def _uses(usual: Usual, reader: FieldReader, row: DatasetRow) -> dict[str, tuple[str, ...]]:
    """Where each field went that was read."""

    def where(name: str) -> str:
        to = _USES.get(name, name)
        return f"reward.{row.reward.type}" if to == "reward" and row.reward is not None else to

    renamed = {to for names in usual.uses.values() for to in names}
    direct = {
        name: (where(name),) for name in usual.row if name in _USES and name not in reader and name not in renamed
    }
    return direct | {name: tuple(dict.fromkeys(map(where, names))) for name, names in usual.uses.items()}


def _refuse_slips(unread: list[str]) -> None:
    for name in [name for name in unread if name not in FIELDS]:
        for meant in get_close_matches(name.lower(), _TYPED, n=1, cutoff=0.82):
            raise RowError(f"{name:.100}: unknown field; rename it to `{meant}` if that is meant, or remove it")


def _refuse_lost(unread: list[str]) -> None:
    """Reject a row without reference and reward that seems to have an answer in an ignored field."""
    for name in unread:
        if _ANSWER.search(name) and not name.lower().endswith(("_id", "_ids")):
            raise RowError(
                f"{name:.100}: ignored field, and the row has no `reference` and no `reward`; "
                f"{CONVERT.format(name[:100])}"
            )


def _convert(reader: FieldReader) -> dict[str, Any]:
    refuse_marks(reader)
    refuse_unsupported(reader)
    row: dict[str, Any] = {}
    if not isinstance(reader.peek("reward"), (int, float)) and "reward" in reader:  # a number is a score
        row["reward"] = own_reward(reader.take("reward"))
    if "reference" in reader:
        row["reference"] = reader.take("reference")
    if (tags := row_tags(reader)) is not None:
        row["tags"] = tags
    if (identity := row_id(reader)) is not None:
        row["id"] = identity
    if tools := _tools(reader):
        row["tools"] = tools
    row["messages"], answer = _conversation(reader, imitates="reference" not in row)
    if answer is not None:
        row["reference"] = answer
    if "reward" not in row and (reward := row_reward(reader)) is not None:
        row["reward"] = reward
    return row


def _tools(reader: FieldReader) -> list[dict[str, Any]]:
    name = next((name for name in TOOLS if name in reader), None)
    return tool_definitions(reader.take(name), name) if name is not None else []


def _conversation(reader: FieldReader, *, imitates: bool) -> tuple[Any, Any]:
    """The turns of the prompt, and the answer to imitate if `imitates`."""
    name = next((name for name in CONVERSATIONS if name in reader), "messages")
    talk = _turns(reader.peek(name), name, reader)
    prompt = reader.take("prompt")
    prompt = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    prompt = read_turns(prompt, "prompt", reader.ignored)
    if talk is None and prompt is None and not isinstance(reader.peek("chosen"), list):
        names = ", ".join(f"{name!r:.100}" for name in reader.unread()[:20]) or "(none)"
        mapped = next((f"{name:.100}:messages" for name in reader.unread() if is_conversation(reader.peek(name))), None)
        raise RowError(f"unknown fields {names}; use {KNOWN}, or map the fields, as in ?map={mapped or 'text:prompt'}")
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


def _turns(given: Any, name: str, reader: FieldReader) -> Any:
    """The turns of a conversation's field; `None` if it is absent.

    Raises:
        RowError: it has no known layout.
    """
    if given is not None and not isinstance(given, list):
        raise RowError(f"{name}: must be a list, each item {TURN}; write it so, or drop it with ?map={name}:ignore")
    return read_turns(given, name, reader.ignored)


def _split(talk: Any, prompt: Any, name: str, *, imitates: bool) -> tuple[Any, Any]:
    """Split a conversation, or a prompt, into the turns before the answer, and the answer."""
    if talk is not None and prompt is not None and not _begins(talk, prompt):
        raise RowError(f"prompt: does not occur in {name}; remove one of the two")
    turns = prompt if talk is None else talk
    if not imitates or not _answered(turns):
        return turns, None
    *turns, last = turns
    return turns, _text(last, f"{'prompt' if talk is None else name}.{len(turns)}.")


def _answered(turns: Any) -> bool:
    """Whether a conversation ends with an assistant turn after other turns."""
    last = turns[-1] if isinstance(turns, list) and len(turns) > 1 else None
    return isinstance(last, dict) and last.get("role") == "assistant"


def _continues(turns: Any) -> bool:
    """Whether several turns begin and end with the assistant's, as answers that use tools do."""
    return _answered(turns) and isinstance(turns[0], dict) and turns[0].get("role") == "assistant"


def _text(turn: Mapping[str, Any], where: str) -> str:
    """The text of the answer to imitate; an empty one is rejected by `DatasetRow`.

    Raises:
        RowError: the answer calls a tool.
    """
    if turn.get("tool_calls"):
        raise RowError(
            f"{where}tool_calls: the answer to imitate calls a tool, which cannot be a reference; remove this turn, or "
            "add the tool's result and the final answer"
        )
    return turn.get("content") or ""


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
    turns = read_turns([answer] if isinstance(answer, dict) else answer, field, reader.ignored)
    whole = isinstance(turns, list) and len(turns) > 1 and _answered(turns)
    if whole and (prompt is None or _begins(turns[:-1], prompt)):
        *prompt, last = turns
        return prompt, _text(last, f"{field}.{len(prompt)}.")
    if isinstance(prompt, list) and _continues(turns):
        return [*prompt, *turns[:-1]], _text(turns[-1], f"{field}.{len(turns) - 1}.")
    if not isinstance(turns, list) or len(turns) != 1 or not isinstance(turns[0], dict):
        raise RowError(
            f"{field}: must be a text, a list of one assistant turn, or the whole conversation including the prompt; "
            "remove the other turns, or drop `prompt` with ?map=prompt:ignore if the conversation contains it"
        )
    if turns[0].get("role") != "assistant":
        role = turns[0].get("role")
        raise RowError(f"{field}.0.role: must be 'assistant', not {role!r:.60}; write the assistant's answer")
    return prompt, _text(turns[0], f"{field}.0.")


def _with_system(turns: Any, reader: FieldReader) -> Any:
    """The turns, with the row's system text in front if they have no system turn."""
    name = next((name for name in SYSTEM if name in reader), None)
    begins = isinstance(turns, list) and turns and isinstance(turns[0], dict)
    if name is None or not begins or turns[0].get("role") == "system":
        return turns
    system = system_text(reader.take(name), name, reader.ignored)
    return [{"role": "system", "content": system}, *turns] if system else turns
