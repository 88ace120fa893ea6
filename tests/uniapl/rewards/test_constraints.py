"""Constraint types in both readings: worked examples, and where the readings differ."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.uniapl.rewards.constraint_examples import IF_RLVR, IFBENCH
from uniapl.rewards.ifeval import PUBLISHED, REPAIRED, Reading, followed
from uniapl.rewards.verify import reward_of
from uniapl.spec.reward import IFEVAL_ARGUMENTS, IfevalReward, RewardOptions, constraints

pytestmark = pytest.mark.unit


def reward(name: str, arguments: dict[str, Any]) -> IfevalReward:
    return IfevalReward(instruction_id_list=[name], kwargs=[arguments])


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), IF_RLVR + IFBENCH, ids=lambda value: str(value)[:30])
def test_a_type_tells_followed_from_not(name: str, arguments: dict[str, Any], good: str, bad: str) -> None:
    assert followed(good, reward(name, arguments)) == [True]
    assert followed(bad, reward(name, arguments)) == [False]


def test_all_types_have_checks_and_examples() -> None:
    assert (len(constraints.IFEVAL), len(constraints.IF_RLVR), len(constraints.IFBENCH)) == (25, 29, 58)
    assert set(PUBLISHED) == set(REPAIRED) == set(IFEVAL_ARGUMENTS)
    assert {name for name, *_ in IF_RLVR} == set(constraints.IF_RLVR)
    assert {name for name, *_ in IFBENCH} == set(constraints.IFBENCH)


DIFFERENCES: list[tuple[str, dict[str, Any], str, bool, bool]] = [
    # type, arguments, answer, published, repaired
    ("change_case:english_capital", {}, "MY DOG IS A GOOD BOY.", False, True),
    ("change_case:english_capital", {}, "THE MEETING STARTS AT NINE IN THE MORNING.", False, True),
    ("change_case:english_capital", {}, "LE CHIEN EST DANS LA MAISON AVEC NOUS.", False, False),
    ("change_case:english_lowercase", {}, "der hund ist in dem haus mit uns allen.", False, False),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        "One.\n\n\n\nThen two.",
        False,
        True,
    ),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "* one\n\n---\n", False, True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "-5 degrees", True, False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "* one *", True, False),
    ("detectable_content:number_placeholders", {"num_placeholders": 1}, "[ ] to do", True, False),
    ("keywords:frequency", {"keyword": "sea", "frequency": 1, "relation": "at least"}, "seaside", True, False),
    ("keywords:forbidden_words", {"forbidden_words": ["C#"]}, "I write C# daily", True, False),
    ("startend:quotation", {}, "“Quoted”", False, True),
    ("keywords:word_once", {"keyword": "sea"}, "sea and seaside", False, True),
    ("keywords:exclude_word_harder", {"keyword": "sea"}, "The sea.", True, False),
    ("keywords:palindrome", {}, "I see a sea", True, False),
    ("count:count_unique", {}, "Sea, land, lake", False, True),
    ("first_word:first_word_answer", {"first_word": "well"}, "Well, yes.", False, True),
    ("format:line_indent", {}, "one line", True, False),
    ("format:title_case", {}, "The Sound of Rain", False, True),
    ("format:sub-bullets", {}, "no bullets", True, False),
    ("ratio:sentence_words", {}, "We go on. We go by. We go up.", True, False),
    ("count:numbers", {"N": 1}, "about 3-4", True, False),
    ("custom:date_format_list", {}, "1793-00-45", True, False),
]


@pytest.mark.parametrize(("name", "arguments", "answer", "published", "repaired"), DIFFERENCES)
def test_the_readings_differ_where_the_original_does_not_do_what_it_says(
    name: str, arguments: dict[str, Any], answer: str, published: bool, repaired: bool
) -> None:
    assert followed(answer, reward(name, arguments), reading="published") == [published]
    assert followed(answer, reward(name, arguments), reading="repaired") == [repaired]


@pytest.mark.parametrize(("reading", "earned"), [("published", 0.0), ("repaired", 1.0)])
def test_the_option_selects_the_reading(reading: Reading, earned: float) -> None:
    shout = reward("change_case:english_capital", {})
    assert reward_of("MY DOG IS A GOOD BOY.", shout, RewardOptions(ifeval=reading)) == earned
    assert RewardOptions().ifeval == "repaired"


def test_a_word_in_a_list_of_one_is_the_word() -> None:
    assert followed("Sea.", reward("first_word:first_word_answer", {"first_word": ["sea"]})) == [True]


@pytest.mark.parametrize("answer", ["a" * 5000, "a. " * 1500, "\n" * 5000 + "x", "* " * 2500, "<<[(\"'" * 1000])
@pytest.mark.parametrize("reading", ["published", "repaired"])
def test_no_type_takes_long(answer: str, reading: Reading) -> None:
    slow = []
    for name, arguments, *_ in IF_RLVR + IFBENCH:
        begun = time.process_time()
        followed(answer, reward(name, arguments), reading=reading)
        slow += [(name, took)] if (took := time.process_time() - begun) > 3 else []
    assert not slow
