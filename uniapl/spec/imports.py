"""Rows as other tools write them, as rows of ours: the fields of TRL, IF-RLVR and IFEval."""

from __future__ import annotations

import ast
import warnings
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from uniapl.spec.dataset import DatasetRow, first_problem

KNOWN = (
    "`messages` with `reference` and `reward` (ours), `messages` whose last turn is the assistant's (TRL), "
    "`prompt` with `completion` or `chosen` (TRL), `messages` with `ground_truth` (IF-RLVR), "
    "or `prompt` with `instruction_id_list` and `kwargs` (IFEval)"
)
"""The sets of fields that are understood, for errors."""
FIELDS = (
    *DatasetRow.model_fields,
    *("prompt", "completion", "chosen", "label", "ground_truth", "instruction_id_list", "kwargs", "key"),
)
"""Every field that is read; other tools' further fields are ignored."""
MAX_LITERAL = 100_000
"""Longest text, in characters, that is read as a list of constraints."""

# Whatever strange literal a row holds, the compiler's opinion of it is nothing for our log.
warnings.filterwarnings("ignore", category=SyntaxWarning, module="<unknown>")


class RowError(ValueError):
    """A line is no row; the text names the field and the reason."""


def parse_row(line: str | bytes) -> tuple[DatasetRow, bytes]:
    """Read one line, whichever known set of fields it has.

    Returns:
        The row, and the line that says the same in our own fields.

    Raises:
        RowError: it is not JSON, or no set of fields fits it.
    """
    try:
        row = DatasetRow.model_validate_json(line)
        return row, line.encode() if isinstance(line, str) else line
    except ValidationError as error:
        problem = error
    given = None if problem.errors()[0]["type"] == "json_invalid" else from_json(line)
    if not isinstance(given, dict) or not _is_foreign(given):
        raise RowError(first_problem(problem, line))
    converted = _convert({name: value for name, value in given.items() if value is not None})
    try:
        row = DatasetRow.model_validate(converted)
    except ValidationError as error:
        raise RowError(first_problem(error, converted)) from None
    return row, row.model_dump_json(exclude_unset=True).encode()


def _is_foreign(row: dict[str, Any]) -> bool:
    """Whether other tools' fields are there, or nothing at all that we know."""
    marks = {"prompt", "completion", "chosen", "ground_truth", "instruction_id_list"}
    return bool(marks & row.keys()) or "messages" not in row or (_answered(row["messages"]) and "reference" not in row)


def _answered(messages: Any) -> bool:
    """Whether a conversation goes on to the assistant's answer."""
    last = messages[-1] if isinstance(messages, list) and len(messages) > 1 else None
    return isinstance(last, dict) and last.get("role") == "assistant"


def _convert(given: dict[str, Any]) -> dict[str, Any]:
    if given.get("label") is False:
        raise RowError("label: false marks a bad completion, which must not be imitated; leave the row out")
    row: dict[str, Any] = {name: given[name] for name in ("id", "reward", "tags", "reference") if name in given}
    if "key" in given:
        row.setdefault("id", str(given["key"]))
    row["messages"] = _prompt(given)
    answer = given.get("completion", given.get("chosen"))
    if answer is not None and answer is not row["messages"]:
        row["reference"] = _answer(answer)
    elif "reference" not in row and _answered(row["messages"]):
        *row["messages"], last = row["messages"]
        row["reference"] = _text(last)
    reward = _reward(given)
    if reward is not None:
        row["reward"] = reward
    return row


def _prompt(given: dict[str, Any]) -> Any:
    """The conversation; a preference without `prompt` has it in both of its answers."""
    prompt = given.get("prompt", given.get("messages"))
    if prompt is None and isinstance(given.get("chosen"), list):
        prompt = given["chosen"]
    if prompt is None:
        raise RowError(f"unknown fields {', '.join(map(repr, given)) or '(none)'}; a row has {KNOWN}")
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return prompt


def _answer(answer: Any) -> Any:
    """The text of a completion, which may be one turn of a conversation.

    A plain one begins with the space that parts it from its prompt; in a conversation there is none.
    """
    if isinstance(answer, str):
        return answer.strip()
    if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], dict):
        return _text(answer[0])
    raise RowError("completion: must be a text, or a list of one turn of the assistant; later turns are not imitated")


def _text(turn: dict[str, Any]) -> Any:
    """What a turn says; nothing is no answer, and is refused as such."""
    return turn.get("content") or ""


def _reward(given: dict[str, Any]) -> dict[str, Any] | None:
    if "instruction_id_list" in given:
        return _ifeval(given["instruction_id_list"], given.get("kwargs"), "kwargs")
    if "ground_truth" not in given:
        return None
    truth = _literal(given["ground_truth"], "ground_truth")
    names: list[Any] = []
    arguments: list[Any] = []
    for part in truth if isinstance(truth, list) else [truth]:
        part = _literal(part, "ground_truth")
        if not isinstance(part, dict) or not isinstance(part.get("instruction_id"), list):
            raise RowError('ground_truth: must be a list of {"instruction_id": […], "kwargs": […]}, as in IF-RLVR')
        reward = _ifeval(part["instruction_id"], part.get("kwargs"), "ground_truth")
        names += reward["instruction_id_list"]
        arguments += reward["kwargs"]
    return {"type": "ifeval", "instruction_id_list": names, "kwargs": arguments}


def _ifeval(names: Any, kwargs: Any, field: str) -> dict[str, Any]:
    """A reward of constraints; what other tools fill with nulls, or leave null as a whole, is left out."""
    found = _literal(kwargs, field)
    found = [{}] * len(names) if found is None and isinstance(names, list) else found
    if not isinstance(found, list):
        raise RowError(f"{field}: must be a list with the arguments of each constraint")
    without_nulls = [
        {name: value for name, value in arguments.items() if value is not None}
        if isinstance(arguments, dict)
        else ({} if arguments is None else arguments)
        for arguments in found
    ]
    return {"type": "ifeval", "instruction_id_list": names, "kwargs": without_nulls}


def _literal(value: Any, field: str) -> Any:
    """What a text of JSON or of a Python literal stands for; anything else is itself. Nothing is evaluated."""
    if not isinstance(value, str):
        return value
    if len(value) > MAX_LITERAL:
        raise RowError(f"{field}: is longer than {MAX_LITERAL} characters")
    try:
        return from_json(value)
    except ValueError:
        pass
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise RowError(f"{field}: is neither JSON nor a Python literal") from None
