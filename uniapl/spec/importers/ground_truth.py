"""Ground truths as other tools write them, as rewards of ours: constraints of IF-RLVR and IFEval, numbers."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

from pydantic_core import from_json

from uniapl.spec.importers.fields import RowError

MAX_LITERAL = 100_000
"""Longest text, in characters, that is read as a list of constraints."""
_MATHEMATICS = re.compile(r"(?<![a-z])(gsm8k|math)(?![a-z])", re.IGNORECASE)
"""Names of datasets whose ground truths are values."""

# Whatever strange literal a row holds, the compiler's opinion of it is nothing for our log.
warnings.filterwarnings("ignore", category=SyntaxWarning, module="<unknown>")


def truth_reward(truth: Any, field: str, sources: list[Any], ignored: set[str]) -> dict[str, Any]:
    """A reward of a ground truth.

    Args:
        truth: constraints, or a value.
        field: its name.
        sources: what the row has about its origin; a value is one of mathematics if they name it.
        ignored: gets the paths of what constraints have besides.

    Raises:
        RowError: it is neither.
    """
    if _MATHEMATICS.search(" ".join(map(str, sources))):
        return {"type": "math", "answer": _value(truth, field)}
    found = _literal(truth, field)
    names: list[Any] = []
    arguments: list[Any] = []
    for part in found if isinstance(found, list) else [found]:
        part = _literal(part, field)
        if not isinstance(part, dict) or not isinstance(part.get("instruction_id"), list):
            raise RowError(
                f'{field}: must be a list of {{"instruction_id": […], "kwargs": […]}}, as in IF-RLVR; to verify '
                f"mathematics name its source in `dataset` (gsm8k, math), or give the row "
                f'`reward`: {{"type": "math", "answer": "…"}} instead'
            )
        reward = ifeval_reward(part["instruction_id"], part.get("kwargs"), field)
        names += reward["instruction_id_list"]
        arguments += reward["kwargs"]
        ignored |= {f"{field}[].{name}" for name in part if name not in ("instruction_id", "kwargs")}
    return {"type": "ifeval", "instruction_id_list": names, "kwargs": arguments}


def ifeval_reward(names: Any, kwargs: Any, field: str) -> dict[str, Any]:
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


def _value(truth: Any, field: str) -> str:
    """The text of a value, which may be the only one of a list."""
    if isinstance(truth, str) and truth.lstrip().startswith("["):
        try:
            found = _literal(truth, field)
        except RowError:  # an interval, such as [0, \infty)
            return truth
        truth = found if isinstance(found, list) and len(found) == 1 and isinstance(found[0], str) else truth
    if isinstance(truth, list) and len(truth) == 1:
        truth = truth[0]
    if isinstance(truth, bool) or not isinstance(truth, (str, int, float)):
        raise RowError(f"{field}: must be one value of mathematics, as text or number")
    return str(truth)


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
