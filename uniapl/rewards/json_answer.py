"""Validation of an answer against a JSON schema."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from jsonschema import Draft202012Validator
from referencing import Registry

from uniapl.rewards.text_answer import unfenced


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def is_valid(answer: str, schema: dict[str, Any] | bool) -> bool:
    """Whether the answer, optionally in a code fence, is JSON that is valid under the schema (draft 2020-12).

    Raises:
        jsonschema.exceptions.SchemaError: the schema is invalid.
        referencing.exceptions.Unresolvable: a reference points outside the schema; nothing is fetched.
    """
    Draft202012Validator.check_schema(schema)
    try:
        instance = json.loads(unfenced(answer), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    registry: Registry[Any] = Registry()  # empty: the default registry fetches references
    return bool(Draft202012Validator(schema, registry=registry).is_valid(instance))
