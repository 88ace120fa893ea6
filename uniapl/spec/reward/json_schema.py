"""JSON-schema reward, and validation of its schema.

The rules are those of the 2020-12 meta-schema (https://json-schema.org/draft/2020-12/schema), implemented with pydantic
so that uploads are validated without further dependencies. References must stay inside the schema: nothing is fetched.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, field_validator

from uniapl.spec.base import Input
from uniapl.spec.reward.pattern import check_pattern

MAX_CHARACTERS = 100_000


def _unique(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("contains a duplicate; remove it")
    return values


_Kind = Literal["array", "boolean", "integer", "null", "number", "object", "string"]
_Names = Annotated[list[str], AfterValidator(_unique)]
_Count = Annotated[int, Field(ge=0)]
_KINDS: list[tuple[Any, list[str]]] = [
    (_Kind | Annotated[list[_Kind], Field(min_length=1), AfterValidator(_unique)], ["type"]),
    (Literal["https://json-schema.org/draft/2020-12/schema"], ["$schema"]),
    (str, ["$id", "$anchor", "$dynamicAnchor", "$comment", "title", "description", "format"]),
    (str, ["contentEncoding", "contentMediaType"]),
    (Annotated[str, AfterValidator(check_pattern)], ["pattern"]),
    (bool, ["uniqueItems", "deprecated", "readOnly", "writeOnly"]),
    (float, ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]),
    (Annotated[float, Field(gt=0)], ["multipleOf"]),
    (_Count, ["minLength", "maxLength", "minItems", "maxItems", "minContains", "maxContains"]),
    (_Count, ["minProperties", "maxProperties"]),
    (_Names, ["required"]),
    (dict[str, _Names], ["dependentRequired"]),
    (list[Any], ["enum", "examples"]),
]
_VALUES: dict[str, TypeAdapter[Any]] = {key: TypeAdapter(kind) for kind, keys in _KINDS for key in keys}
"""Validator of each keyword's value."""
_SCHEMA = {"not", "if", "then", "else", "items", "contains", "propertyNames", "contentSchema"}
_SCHEMA |= {"additionalProperties", "unevaluatedItems", "unevaluatedProperties"}
_SCHEMA_LIST = {"allOf", "anyOf", "oneOf", "prefixItems"}
_SCHEMA_DICT = {"$defs", "definitions", "properties", "patternProperties", "dependentSchemas"}


def _children(key: str, value: Any) -> list[tuple[str, Any]]:
    """Subschemas of a keyword, with their paths."""
    if key in _SCHEMA:
        return [(key, value)]
    if key in _SCHEMA_LIST:
        if not isinstance(value, list) or not value:
            raise ValueError("must be a list of at least one schema")
        return [(f"{key}.{i}", schema) for i, schema in enumerate(value)]
    if key in _SCHEMA_DICT:
        if not isinstance(value, dict):
            raise ValueError("must be an object of schemas by name")
        return [(f"{key}.{name}", schema) for name, schema in value.items()]
    return []


def _check_reference(reference: Any, root: Any) -> None:
    """Check that a reference points into the schema."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise ValueError(
            f"{reference!r} points outside the schema, and references are not fetched; "
            "copy the definition to $defs and refer to it as '#/$defs/name'"
        )
    place = root
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        try:
            place = place[int(name)] if isinstance(place, list) else place[name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ValueError(f"{reference!r} is not defined in the schema; define it in $defs") from None


def _check_keyword(key: str, value: Any, root: Any) -> None:
    """Check the value of a keyword."""
    if key in ("$ref", "$dynamicRef"):
        _check_reference(value, root)
    elif key == "patternProperties" and isinstance(value, dict):
        for pattern in value:
            check_pattern(pattern)
    elif key in _VALUES:
        try:
            _VALUES[key].validate_python(value, strict=True)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def check_schema(schema: Any, root: Any, path: str = "") -> None:
    """Check that a schema is valid under draft 2020-12 and self-contained.

    Args:
        schema: the schema or a subschema.
        root: the whole schema, in which references are resolved.
        path: path of the subschema, each key followed by a dot.

    Raises:
        ValueError: the first error, with its path.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise ValueError(f"{path.rstrip('.')}: a schema must be an object, true or false")
    for key, value in schema.items():
        try:
            _check_keyword(key, value, root)
            children = _children(key, value)
        except ValueError as error:
            raise ValueError(f"{path}{key}: {error}") from None
        for child_path, child in children:
            check_schema(child, root, f"{path}{child_path}.")


class JsonSchemaReward(Input):
    """JSON schema: 1 if the answer, optionally in one code fence, is JSON that is valid under the schema, else 0."""

    type: Literal["json_schema"] = "json_schema"
    json_schema: dict[str, Any] | bool
    """JSON schema of draft 2020-12; `$ref` must point into the schema."""

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any] | bool) -> dict[str, Any] | bool:
        if len(json.dumps(schema)) > MAX_CHARACTERS:
            raise ValueError(f"the schema has more than {MAX_CHARACTERS} characters; shorten it")
        check_schema(schema, schema)
        return schema
