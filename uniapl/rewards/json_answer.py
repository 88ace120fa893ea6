"""Whether an answer is JSON of a given form."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from jsonschema import Draft202012Validator
from referencing import Registry

from uniapl.rewards.text_answer import unfenced


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def is_valid(answer: str, schema: dict[str, Any] | bool) -> bool:
    """Whether the answer, perhaps in a code fence, is JSON under the schema (draft 2020-12).

    Raises:
        jsonschema.exceptions.SchemaError: the schema is invalid.
        referencing.exceptions.Unresolvable: it refers to something outside itself, which is never fetched.
    """
    Draft202012Validator.check_schema(schema)
    try:
        instance = json.loads(unfenced(answer), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    registry: Registry[Any] = Registry()  # an empty one: the default would ask the network
    return bool(Draft202012Validator(schema, registry=registry).is_valid(instance))
