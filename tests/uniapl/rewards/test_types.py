"""What each kind of reward pays for an answer."""

from __future__ import annotations

import json
import socket
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema.exceptions import SchemaError

from uniapl.errors import RewardError
from uniapl.rewards.verify import final_answer, reward_of
from uniapl.spec.reward import (
    ExactMatchReward,
    IfevalReward,
    JsonSchemaReward,
    LengthBandReward,
    MathReward,
    RegexReward,
    Reward,
    RewardOptions,
    RewardPart,
    WeightedSumReward,
)

pytestmark = pytest.mark.unit

PLAIN = RewardOptions()
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"$ref": "#/$defs/age"}},
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}

CASES: list[tuple[Reward, str, float]] = [
    (MathReward(answer="42"), "Adding both gives 42.", 1),
    (MathReward(answer="42"), "Adding both gives 43.", 0),
    (MathReward(answer="42"), "It may be 41, so \\boxed{42}. Not 40.", 1),  # the box comes first
    (MathReward(answer="42"), "I do not know.", 0),
    (MathReward(answer="\\frac{1}{2}"), "so it is 0.5", 1),
    (MathReward(answer="$\\frac{1}{2}$"), "so it is $\\frac{2}{4}$", 1),
    (MathReward(answer="1/3"), "0.34", 0),
    (MathReward(answer="x^2+2x+1"), "It factors as $(x+1)^2$.", 1),
    (MathReward(answer="\\{1, 2\\}"), "The roots are $\\{2, 1\\}$.", 1),
    (MathReward(answer="1,234"), "It costs $1234$ francs.", 1),
    (JsonSchemaReward(json_schema=PERSON), '{"name": "Ada", "age": 36}', 1),
    (JsonSchemaReward(json_schema=PERSON), '```json\n{"name": "Ada"}\n```\n', 1),
    (JsonSchemaReward(json_schema=PERSON), '{"name": "Ada", "age": -1}', 0),
    (JsonSchemaReward(json_schema=PERSON), '{"age": 36}', 0),
    (JsonSchemaReward(json_schema=PERSON), 'Here you are: {"name": "Ada"}', 0),
    (JsonSchemaReward(json_schema=True), "[1, 2", 0),
    (JsonSchemaReward(json_schema=True), "NaN", 0),  # Python reads it, but it is no JSON
    (JsonSchemaReward(json_schema=True), "[" * 5000, 0),
    (JsonSchemaReward(json_schema=False), "1", 0),
    (RegexReward(pattern="ye+s"), "Oh yeees!", 1),
    (RegexReward(pattern="ye+s"), "Oh YES!", 0),
    (RegexReward(pattern="(?i)ye+s"), "Oh YES!", 1),
    (RegexReward(pattern="ye+s", full=True), " yes\n", 1),
    (RegexReward(pattern="ye+s", full=True), "yes!", 0),
    (ExactMatchReward(answer="New  York"), "\nNew York ", 1),
    (ExactMatchReward(answer="New York"), "new york", 0),
    (ExactMatchReward(answer="Straße", ignore_case=True), "STRASSE", 1),
    (ExactMatchReward(answer=["Paris", "Paris, France"]), "Paris, France", 1),
    (ExactMatchReward(answer=["Paris", "Paris, France"]), "Paris France", 0),
    # words: 2 of at least 4 is a half; 6 with at most 4 leaves 2 - 6/4; from twice the most on there is nothing
    (LengthBandReward(at_least=4), "two words", 0.5),
    (LengthBandReward(at_least=2, at_most=4), "just three words", 1),
    (LengthBandReward(at_most=4), "one two three four five six", 0.5),
    (LengthBandReward(at_most=1), "one two", 0),
    (LengthBandReward(at_most=1), "one two three", 0),
    (LengthBandReward(unit="characters", at_least=4), " abc ", 0.75),
]


@pytest.mark.parametrize(("reward", "answer", "pays"), CASES)
def test_a_reward_pays_what_it_says(reward: Reward, answer: str, pays: float) -> None:
    assert reward_of(answer, reward, PLAIN) == pays


def test_a_weighted_sum_is_a_mean() -> None:
    parts = [
        RewardPart(weight=3, reward=MathReward(answer="4")),  # right: 1
        RewardPart(weight=1, reward=LengthBandReward(at_least=4)),  # two of four words: 0.5
        RewardPart(weight=4, reward=RegexReward(pattern="never")),  # 0
    ]
    # (3*1 + 1*0.5 + 4*0) / 8
    assert reward_of("Exactly 4", WeightedSumReward(parts=parts), PLAIN) == 0.4375


def test_the_options_reach_the_parts_of_a_sum() -> None:
    ifeval = IfevalReward(instruction_id_list=["punctuation:no_comma", "startend:quotation"], kwargs=[{}, {}])
    summed = WeightedSumReward(parts=[RewardPart(weight=1, reward=ifeval)])
    answer = 'Here:\n"yes, one"'  # with a comma, quoted after its first line
    assert reward_of(answer, summed, PLAIN) == 0.0
    assert reward_of(answer, summed, RewardOptions(loose=True)) == 0.5 + 0.5  # the first line alone has no comma
    assert reward_of('"yes, one"', summed, PLAIN) == 0.5
    assert reward_of('"yes, one"', summed, RewardOptions(aggregate="strict")) == 0.0


@pytest.mark.parametrize(
    "reward", [RegexReward(pattern=".*"), LengthBandReward(at_most=5), JsonSchemaReward(json_schema=True)]
)
def test_a_blank_answer_earns_nothing(reward: Reward) -> None:
    assert reward_of(" \n", reward, PLAIN) == 0.0
    assert reward_of(final_answer("<think>still at it"), reward, PLAIN) == 0.0


def test_a_gold_answer_that_is_no_mathematics_says_so() -> None:
    with pytest.raises(RewardError, match=r"'\$\$' is not mathematics; write it as"):
        reward_of("3", MathReward(answer="$$"), PLAIN)


def test_a_schema_is_never_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: asked.append(address) or [])
    # past the check of rows, which would refuse it
    reward = JsonSchemaReward.model_construct(json_schema={"$ref": "http://127.0.0.1:9/schema.json"})
    with pytest.raises(Exception, match="Unresolvable"):
        reward_of("{}", reward, PLAIN)
    assert asked == []


def test_an_invalid_schema_pays_nobody() -> None:
    reward = JsonSchemaReward.model_construct(json_schema={"type": "strin"})
    with pytest.raises(SchemaError):
        reward_of("{}", reward, PLAIN)


ANSWERS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet='*"\n ,.{}[]$\\-<>#aB1', max_size=40),
    st.sampled_from(['{"name": "x"}', "$\\frac{1}{0}$", "\\boxed{}", "1/0", "<<t>>", "*a*\n***\nP.S. b"]),
)
WORDS = st.integers(1, 30)
REWARDS: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["1", "1/2", "x+1", "\\sqrt{2}"]).map(lambda gold: MathReward(answer=gold)),
    st.builds(JsonSchemaReward, json_schema=st.sampled_from([True, PERSON])),
    st.builds(RegexReward, pattern=st.sampled_from(["a", "^$", "\\d+"]), full=st.booleans()),
    st.builds(ExactMatchReward, answer=st.sampled_from(["a", ["1", "B"]]), ignore_case=st.booleans()),
    st.tuples(WORDS, WORDS).map(lambda pair: LengthBandReward(at_least=min(pair), at_most=max(pair))),
    st.just(IfevalReward(instruction_id_list=["punctuation:no_comma", "startend:quotation"], kwargs=[{}, {}])),
)


@settings(max_examples=200)
@given(ANSWERS, st.lists(st.tuples(st.floats(1e-6, 1e6), REWARDS), min_size=1, max_size=4), st.booleans())
def test_every_reward_is_between_0_and_1_and_a_sum_between_its_parts(
    answer: str, parts: list[tuple[float, Any]], loose: bool
) -> None:
    options = RewardOptions(loose=loose)
    paid = [reward_of(answer, reward, options) for _, reward in parts]
    assert all(0 <= value <= 1 for value in paid)
    summed = WeightedSumReward(parts=[RewardPart(weight=weight, reward=reward) for weight, reward in parts])
    total = reward_of(answer, summed, options)
    assert 0 <= total <= 1
    assert min(paid) - 1e-12 <= total <= max(paid) + 1e-12


@settings(max_examples=60)
@given(st.integers(-50, 50), st.integers(1, 50), st.integers(1, 9))
def test_a_fraction_equals_itself_however_it_is_written(p: int, q: int, k: int) -> None:
    reward = MathReward(answer=str(Fraction(p, q)))
    assert reward_of(f"Thus \\boxed{{\\frac{{{k * p}}}{{{k * q}}}}}.", reward, PLAIN) == 1.0
    assert reward_of(f"Thus \\boxed{{\\frac{{{k * p + k}}}{{{k * q}}}}}.", reward, PLAIN) == 0.0


@given(st.integers(1, 60), st.integers(0, 40), st.integers(0, 200))
def test_a_length_pays_more_the_nearer_it_is_to_the_band(low: int, width: int, n: int) -> None:
    band = LengthBandReward(at_least=low, at_most=low + width)

    def pays(count: int) -> float:
        return reward_of("a " * count, band, PLAIN)

    if low <= n <= low + width:
        assert pays(n) == 1
    elif n < low:
        assert pays(n) < 1
        assert pays(n) < pays(n + 1)
    else:
        assert pays(n) < 1
        assert pays(n) <= pays(n - 1)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_valid_under_true(value: Any) -> None:
    assert reward_of(f"```json\n{json.dumps(value)}\n```", JsonSchemaReward(json_schema=True), PLAIN) == 1.0
