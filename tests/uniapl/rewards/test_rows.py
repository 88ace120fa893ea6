"""What a row may ask to be verified: every malformed reward is refused when the row is read, with field and remedy."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import ValidationError

from tests.conftest import ROOT
from uniapl.spec.dataset import DatasetRow, first_problem
from uniapl.spec.reward import JsonSchemaReward
from uniapl.spec.reward.json_schema import check_schema

pytestmark = pytest.mark.unit

GOOD: list[dict[str, Any]] = [
    {"type": "ifeval", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
    {"type": "math", "answer": "\\frac{1}{2}"},
    {"type": "json_schema", "json_schema": {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": ["null", "string"]}}}},
    {"type": "json_schema", "json_schema": True},
    {"type": "regex", "pattern": "(?i)^yes", "full": True},
    {"type": "exact_match", "answer": "Paris"},
    {"type": "exact_match", "answer": ["Paris", "paris, France"], "ignore_case": True},
    {"type": "length_band", "at_least": 5},
    {"type": "length_band", "unit": "characters", "at_least": 5, "at_most": 5},
    {
        "type": "weighted_sum",
        "parts": [
            {"weight": 2, "reward": {"type": "math", "answer": "3"}},
            {"weight": 0.5, "reward": {"type": "length_band", "at_most": 40}},
        ],
    },
]


def problem(reward: Any) -> str:
    """The error of an upload of a row with this reward."""
    line = json.dumps({"messages": [{"role": "user", "content": "hi"}], "reward": reward})
    with pytest.raises(ValidationError) as caught:
        DatasetRow.model_validate_json(line)
    return first_problem(caught.value, line)


@pytest.mark.parametrize("reward", GOOD)
def test_a_reward_survives_the_journey_through_a_file(reward: dict[str, Any]) -> None:
    row = DatasetRow.model_validate({"messages": [{"role": "user", "content": "hi"}], "reward": reward})
    assert row.reward is not None
    assert row.reward.type == reward["type"]
    sent = row.model_dump_json(exclude_unset=True)
    assert json.loads(sent)["reward"] == reward
    assert DatasetRow.model_validate_json(sent) == row


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        ({"answer": "3"}, "reward: type: is missing; set it to `ifeval`"),
        ({"type": "maths", "answer": "3"}, "'maths' .* 'ifeval', 'math', 'json_schema'"),
        ({"type": "math"}, "reward.answer: Field required"),
        ({"type": "math", "answer": 3}, "reward.answer: Input should be a valid string"),
        ({"type": "math", "answer": " "}, "reward.answer: is blank; write the text"),
        ({"type": "math", "answer": "3", "gold": "3"}, "reward.gold: Extra inputs"),
        ({"type": "regex"}, "reward.pattern: Field required"),
        ({"type": "regex", "pattern": "("}, "reward.pattern: '\\(' is not a regular expression: .*escape"),
        ({"type": "regex", "pattern": "(" * 5000}, "reward.pattern: .* is not a regular expression"),
        ({"type": "regex", "pattern": "a{99999999999}"}, "reward.pattern: .* repetition number is too large"),
        ({"type": "regex", "pattern": "a", "full": "perhaps"}, "reward.full: "),
        ({"type": "exact_match", "answer": []}, "reward.answer: List should have at least 1 item"),
        ({"type": "exact_match", "answer": ["a", ""]}, "reward.answer.1: is blank"),
        ({"type": "exact_match", "answer": 3}, "reward.answer: Input should be a valid string"),
        ({"type": "length_band"}, "reward: at_least: is missing, and so is at_most"),
        ({"type": "length_band", "at_least": 0}, "reward.at_least: .* greater than or equal to 1"),
        ({"type": "length_band", "at_least": 9, "at_most": 2}, "at_least: 9 exceeds at_most=2; exchange"),
        (
            {"type": "length_band", "unit": "lines", "at_most": 2},
            "reward.unit: Input should be 'words' or 'characters'",
        ),
        ({"type": "weighted_sum", "parts": []}, "reward.parts: List should have at least 1 item"),
        (
            {"type": "weighted_sum", "parts": [{"weight": 0, "reward": GOOD[1]}]},
            "reward.parts.0.weight: .* greater than 0",
        ),
        (
            {"type": "weighted_sum", "parts": [{"weight": 1, "reward": GOOD[-1]}]},
            "reward.parts.0.reward: Input tag 'weighted_sum'",
        ),
        (
            {"type": "weighted_sum", "parts": [{"weight": 1, "reward": {"type": "regex", "pattern": "["}}]},
            "reward.parts.0.reward.pattern: ",
        ),
    ],
)
def test_a_malformed_reward_is_refused(reward: Any, expected: str) -> None:
    assert re.search(expected, problem(reward))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ("object", "Input should be"),
        ({"type": "strin"}, "type: Input should be 'array', 'boolean'"),
        ({"properties": {"age": {"minimum": "3"}}}, "properties.age.minimum: Input should be a valid number"),
        ({"items": [{"type": "string"}]}, "items: a schema must be an object"),
        ({"allOf": []}, "allOf: must be a list of at least one schema"),
        ({"properties": ["a"]}, "properties: must be an object of schemas by name"),
        ({"required": ["a", "a"]}, "required: contains a duplicate; remove it"),
        ({"minLength": -1}, "minLength: .* greater than or equal to 0"),
        ({"minLength": True}, "minLength: Input should be a valid integer"),
        ({"multipleOf": 0}, "multipleOf: .* greater than 0"),
        ({"pattern": "("}, "pattern: .* is not a regular expression"),
        ({"patternProperties": {"(": {}}}, "patternProperties: .* is not a regular expression"),
        ({"$ref": "https://example.org/a.json"}, r"\$ref: .* are not fetched; copy the definition to \$defs"),
        ({"items": {"$ref": "other.json"}}, r"items.\$ref: 'other.json' points outside"),
        ({"$ref": "#/$defs/missing"}, r"\$ref: .* is not defined in the schema; define it"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, r"\$schema: .*2020-12"),
        ({"enum": ["x" * 100_000]}, "the schema has more than 100000 characters; shorten it"),
    ],
)
def test_a_schema_that_is_none_is_refused(schema: Any, expected: str) -> None:
    message = problem({"type": "json_schema", "json_schema": schema})
    assert re.match(f"reward.json_schema: {expected}", message)


LEAVES = st.one_of(
    st.sampled_from(["string", "object", "(", "a", "nonsense"]),
    st.integers(-2, 2),
    st.booleans(),
    st.none(),
    st.just(0.5),
    st.lists(st.sampled_from(["string", "null", "a", "a"]), max_size=3),
)
VALUES = ["type", "enum", "const", "pattern", "required", "dependentRequired", "uniqueItems", "minimum", "multipleOf"]
VALUES += ["minLength", "maxItems", "maxProperties", "title", "format", "$comment", "examples", "deprecated", "unknown"]
PARTS = ["not", "if", "items", "contains", "additionalProperties", "propertyNames", "allOf", "oneOf", "prefixItems"]
PARTS += ["properties", "patternProperties", "$defs", "dependentSchemas", "unevaluatedItems"]
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(VALUES + PARTS), inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "(", "[b]"]), inner, max_size=2),
        st.lists(inner, max_size=2),
    ),
    max_leaves=12,
)


@settings(max_examples=500)
@given(SCHEMAS.filter(lambda schema: isinstance(schema, dict | bool)))
def test_a_schema_is_valid_exactly_if_the_meta_schema_says_so(schema: Any) -> None:
    try:
        Draft202012Validator.check_schema(schema)
        valid = True
    except SchemaError:
        valid = False
    try:
        check_schema(schema, schema)
        accepted = True
    except ValueError:
        accepted = False
    assert accepted == valid


def test_the_schema_of_a_pydantic_model_is_accepted() -> None:
    # a big real one, with $defs, anyOf, const, defaults and nested references
    schema = DatasetRow.model_json_schema()
    schema["$defs"]["IfevalReward"].pop("discriminator", None)
    assert JsonSchemaReward(json_schema=schema).json_schema == schema


@pytest.mark.integration
def test_rows_are_read_without_torch_and_without_any_verifier() -> None:
    heavy = ["torch", "sympy", "latex2sympy2_extended", "jsonschema", "nltk", "langdetect"]
    code = f"import sys, uniapl.spec.dataset; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
