"""Conversion of other tools' ground truths into rewards: IF-RLVR and IFEval constraints, mathematical values."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

from pydantic_core import from_json

from uniapl.spec.importers.fields import RowError
from uniapl.spec.importers.func_names import function_reward

MAX_LITERAL = 100_000
"""Maximum length, in characters, of a text that is parsed as a list of constraints."""
_MATHEMATICS = re.compile(
    r"(?<![a-z])(gsm\d*k?|(deep|numina|omni|meta|open|orca|big|poly)?-?_?math(s|ematics)?|numina|aime|amc|olympiads?|"
    r"olympiadbench|dapo|deepscaler|minerva|open-?r1)(?![a-z])",
    re.IGNORECASE,
)
"""Names of datasets whose ground truths are mathematical values."""

# `ast.literal_eval` warns about odd literals in rows; the warnings would only fill the log.
warnings.filterwarnings("ignore", category=SyntaxWarning, module="<unknown>")


def truth_reward(truth: Any, field: str, sources: list[Any], ignored: set[str]) -> dict[str, Any]:
    """The reward of a ground truth.

    Args:
        truth: constraints, or a mathematical value.
        field: name of the field, for errors.
        sources: fields of the row about its origin; they decide between constraints and mathematics.
        ignored: receives the paths of ignored parts of constraints.

    Raises:
        RowError: it is neither.
    """
    if _MATHEMATICS.search(" ".join(map(str, sources))):
        return {"type": "math", "answer": _value(truth, field)}
    found = _literal(truth, field)
    names: list[Any] = []
    arguments: list[Any] = []
    parts = [_literal(part, field) for part in (found if isinstance(found, list) else [found])]
    for part in parts:
        if isinstance(part, dict) and isinstance(part.get("func_name"), str):
            reward = function_reward(part, field)
            if reward["type"] != "ifeval" and len(parts) == 1:
                return reward
            part = {"instruction_id": reward.get("instruction_id_list"), "kwargs": reward.get("kwargs")}
        if not isinstance(part, dict) or not isinstance(part.get("instruction_id"), list):
            raise RowError(
                f'{field}: must be a list of {{"instruction_id": […], "kwargs": […]}}, as in IF-RLVR; for mathematics '
                f"map it with ?map={field}:reward.math, or set `dataset` to its source (gsm8k, math)"
            )
        reward = ifeval_reward(part["instruction_id"], part.get("kwargs"), field)
        names += reward["instruction_id_list"]
        arguments += reward["kwargs"]
        ignored |= {f"{field}[].{name}" for name in part if name not in ("instruction_id", "kwargs")}
    return {"type": "ifeval", "instruction_id_list": names, "kwargs": arguments}


def ifeval_reward(names: Any, kwargs: Any, field: str) -> dict[str, Any]:
    """An IFEval reward; null arguments, and null in place of all arguments, are dropped."""
    found = _literal(kwargs, field)
    found = [{}] * len(names) if found is None and isinstance(names, list) else found
    if not isinstance(found, list):
        raise RowError(f"{field}: must be a list; write one object of arguments per constraint")
    without_nulls = [
        {name: value for name, value in arguments.items() if value is not None}
        if isinstance(arguments, dict)
        else ({} if arguments is None else arguments)
        for arguments in found
    ]
    return {"type": "ifeval", "instruction_id_list": names, "kwargs": without_nulls}


def _value(truth: Any, field: str) -> str:
    """The text of a mathematical value, or of the only item of a list."""
    if isinstance(truth, str) and truth.lstrip().startswith("["):
        try:
            found = _literal(truth, field)
        except RowError:  # an interval, such as [0, \infty)
            return truth
        truth = found if isinstance(found, list) and len(found) == 1 and isinstance(found[0], str) else truth
    if isinstance(truth, list) and len(truth) == 1:
        truth = truth[0]
    if isinstance(truth, bool) or not isinstance(truth, (str, int, float)):
        raise RowError(f"{field}: must be one mathematical value; write it as text or number")
    return str(truth)


def _literal(value: Any, field: str) -> Any:
    """The value of a JSON text or a Python literal; other values unchanged. No code is evaluated."""
    if not isinstance(value, str):
        return value
    if len(value) > MAX_LITERAL:
        raise RowError(f"{field}: is longer than {MAX_LITERAL} characters; shorten it")
    try:
        return from_json(value)
    except ValueError:
        pass
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise RowError(
            f"{field}: is neither JSON nor a Python literal; write it as JSON, or map it, as in "
            f"?map={field}:reward.exact_match"
        ) from None
