"""IFEval checks: one answer that follows and one that does not, per constraint type; and the bundled dataset."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.conftest import ROOT
from uniapl.data.encoding import load_rows
from uniapl.rewards import ifeval
from uniapl.rewards.ifeval import CHECKS
from uniapl.rewards.verify import final_answer, reward_of
from uniapl.spec.reward import IfevalReward, RewardOptions
from uniapl.spec.reward.constraints import IFEVAL

pytestmark = pytest.mark.unit

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["Moon", "tide"]}, "the moon pulls a TIDE", "the moon"),
    ("keywords:frequency", {"keyword": "sea", "frequency": 2, "relation": "at least"}, "Sea and seaside", "the sea"),
    ("keywords:frequency", {"keyword": "sea", "frequency": 2, "relation": "less than"}, "one sea", "sea, sea"),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "a category", "a Cat!"),
    ("keywords:letter_frequency", {"letter": "Z", "let_frequency": 2, "let_relation": "at least"}, "Zigzag", "zoo"),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 2, "let_relation": "less than"}, "oh!", "oh!!"),
    (
        "language:response_language",
        {"language": "de"},
        "Das ist ein ganz gewöhnlicher deutscher Satz über das Wetter.",
        "This is quite an ordinary English sentence about the weather.",
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": "less than"},
        "Dr. Ng came at 5 p.m. yesterday. She left.",
        "One. Two. Three.",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", "one\n\ntwo"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "***\none\n***\ntwo\n***", "one *** *** two"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "don't go", "two words"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
        'First.\n\n"then, it rained',
        "Then.\n\nIt rained",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] of [town]", "[name of town"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP. S. call me", "Bye. PS call me"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "p.p.s. one more", "P.S. one"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n - b", "* a\n* b\n- c"),
    ("detectable_format:constrained_response", {}, "Hm. My answer is maybe.", "Maybe."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and **b**", "*a* and ** **"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Part", "num_sections": 2},
        "Part 1 a\nPart 2 b",
        "Part one\nPart 2",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', "{'a': 1}"),
    ("detectable_format:title", {}, "<<A Day>>\ntext", "<<>> <A Day>"),
    ("combination:two_responses", {}, "one ****** two", "one ****** one"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Why so?"}, "why so? Because.", "Because. Why so?"),
    ("startend:end_checker", {"end_phrase": "The end."}, 'It was "fun". THE END."', "The end. Really."),
    ("startend:quotation", {}, ' "quoted" ', '"half'),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "NASA and ESA",
        "NASA and Esa",
    ),
    ("change_case:english_capital", {}, "THIS IS A PLAIN ENGLISH SENTENCE.", "THIS IS A PLAIN ENGLISH SENTENCe."),
    ("change_case:english_lowercase", {}, "this is a plain english sentence.", "This is a plain english sentence."),
    ("punctuation:no_comma", {}, "no comma here", "one, two"),
]


def followed(answer: str, reward: IfevalReward, *, loose: bool = False) -> list[bool]:
    """The verdicts of the original checkers."""
    return ifeval.followed(answer, reward, loose=loose, reading="published")


def reward(name: str, arguments: dict[str, Any]) -> IfevalReward:
    return IfevalReward(instruction_id_list=[name], kwargs=[arguments])


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), CASES)
def test_a_check_tells_followed_from_not(name: str, arguments: dict[str, Any], good: str, bad: str) -> None:
    assert followed(good, reward(name, arguments)) == [True]
    assert followed(bad, reward(name, arguments)) == [False]


def test_every_constraint_type_has_a_check_and_a_case() -> None:
    assert set(CHECKS) == set(IFEVAL) == {case[0] for case in CASES}
    assert len(CHECKS) == 25


def test_an_empty_answer_follows_nothing() -> None:
    assert followed("  \n", reward("punctuation:no_comma", {})) == [False]


QUIRKS: list[tuple[str, dict[str, Any], str, bool]] = [
    # what a keyword's regular expression does to it: the dot is any character
    ("keywords:existence", {"keywords": ["U.S."]}, "a bUgSy day", True),
    ("keywords:frequency", {"keyword": " tide ", "frequency": 2, "relation": "at least"}, "tidetide", True),
    # forbidden words are whole words, and `_` belongs to a word
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "cat_like", True),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "cat-like", False),
    # Punkt: an initial and "Mr." end no sentence, "..." before a lower-case letter neither; that leaves one
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "less than"},
        "Mr. J. Doe ... went.",
        True,
    ),
    # words: "well-known" has two runs of \w, "it's" too; four in all
    ("length_constraints:number_words", {"num_words": 4, "relation": "at least"}, "well-known: it's", True),
    ("length_constraints:number_words", {"num_words": 5, "relation": "at least"}, "well-known: it's", False),
    # six asterisks are two dividers with nothing between
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one ****** two", False),
    # an empty first paragraph is not counted, but is still the one that is looked at
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "then"},
        "\n\nThen",
        False,
    ),
    # the apostrophe ends the word; only the leading quotes are dropped, the single ones first
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "don"},
        "'\"Don't go",
        True,
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "don"},
        "\"'Don't go",
        False,
    ),
    # letter by letter "ΣΑΣ" becomes "σασ", as a whole word it would become "σας"
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "σασ"},
        "ΣΑΣ",
        True,
    ),
    # a word is what Python's `re` finds, where a vowel sign of Hindi is no letter: ह, द
    ("length_constraints:number_words", {"num_words": 2, "relation": "at least"}, "हिंदी", True),
    # an empty placeholder counts; one over two lines does not
    ("detectable_content:number_placeholders", {"num_placeholders": 1}, "[]", True),
    ("detectable_content:number_placeholders", {"num_placeholders": 1}, "[a\nb]", False),
    # "P.S." requires its second dot, "P.P.S" none
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "p.s see", False),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "p.p.s see", True),
    ("detectable_content:postscript", {"postscript_marker": "PS:"}, "see ps: this", True),
    # a divider *** or a bold line is no starred bullet, but --- is a dashed one
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "***\n**bold**\n---", True),
    # **a** is found once as `**`-pair with a, and its inner stars enclose nothing: one highlight
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "**a**", False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "*a\nb*", False),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        "Section1Section 2",
        True,
    ),
    ("detectable_format:json_format", {}, "NaN", True),
    ("detectable_format:json_format", {}, "```\n3\n```", True),
    ("detectable_format:json_format", {}, "Here: {}", False),
    ("detectable_format:title", {}, "<<a>>>", True),
    ("detectable_format:title", {}, "<<\n>>", False),
    ("combination:two_responses", {}, "******one******two******", True),
    ("combination:two_responses", {}, "one************two", False),
    ("startend:end_checker", {"end_phrase": " Bye. "}, 'so BYE.""\n', True),
    ("startend:quotation", {}, '"', False),
    # "U.S." and "A" are tokens in capitals, "-" is not; "IBM-like" is one token and is not
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 3, "capital_relation": "less than"},
        "U.S. A - IBM-like",
        True,
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "U.S. A - IBM-like",
        True,
    ),
    # without letters there is no upper case, and the language is not asked for
    ("change_case:english_capital", {}, "123", False),
    ("language:response_language", {"language": "en"}, "123", True),
]


@pytest.mark.parametrize(("name", "arguments", "answer", "follows"), QUIRKS)
def test_the_originals_quirks_are_kept(name: str, arguments: dict[str, Any], answer: str, follows: bool) -> None:
    assert followed(answer, reward(name, arguments)) == [follows]


LOOSE: list[tuple[str, str, bool, bool]] = [
    ("startend:quotation", 'Here it is:\n"text"', False, True),
    ("startend:quotation", '"text"\nThat was it.', False, True),
    ("startend:quotation", 'Here:\n"text"\nThat was it.', False, True),
    ("startend:quotation", '*"text"*', False, True),
    ("startend:quotation", 'Here:\n*"text"*\nDone.', False, True),
    # only one line goes at each end
    ("startend:quotation", 'Well,\nhere:\n"text"', False, False),
    # the empty line at the end is the last line: the answer is not stripped before it is cut
    ("startend:quotation", '"text"\nDone.\n', False, False),
    # without its only line the answer is empty, and nothing follows no constraint
    ("punctuation:no_comma", "one, two", False, False),
    ("punctuation:no_comma", "***", True, True),
    # the strict reading counts too: without asterisks there is no divider left
    ("combination:two_responses", "one ****** two", True, True),
]


@pytest.mark.parametrize(("name", "answer", "strictly", "loosely"), LOOSE)
def test_loose_drops_first_line_last_line_and_asterisks(name: str, answer: str, strictly: bool, loosely: bool) -> None:
    assert followed(answer, reward(name, {})) == [strictly]
    assert followed(answer, reward(name, {}), loose=True) == [loosely]


def test_loose_judges_each_constraint_on_its_own_variant() -> None:
    # without the first line there is no comma; without the last one there are quotation marks
    both = IfevalReward(instruction_id_list=["punctuation:no_comma", "startend:quotation"], kwargs=[{}, {}])
    answer = '"Well, yes."\nNo'
    assert followed(answer, both) == [False, False]
    assert followed(answer, both, loose=True) == [True, True]
    assert reward_of(answer, both, RewardOptions(loose=True, aggregate="strict")) == 1.0
    assert reward_of(answer, both, RewardOptions(aggregate="strict")) == 0.0


def test_a_pattern_that_breaks_only_in_its_place_is_refused() -> None:
    # flags may stand at the start alone, and a forbidden word is put between word boundaries
    with pytest.raises(ValidationError, match=r"forbidden_words: .* is not a regular expression"):
        reward("keywords:forbidden_words", {"forbidden_words": ["(?i)cat"]})
    assert followed("CAT", reward("keywords:existence", {"keywords": ["(?i)cat"]})) == [True]


def test_every_public_ifeval_prompt_can_be_verified() -> None:
    path = os.environ.get("UNIAPL_IFEVAL_PROMPTS")
    if path is None or not Path(path).is_file():
        pytest.skip("set UNIAPL_IFEVAL_PROMPTS to a JSONL file of IFEval prompts")
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    for row in rows:
        asked = IfevalReward(instruction_id_list=row["instruction_id_list"], kwargs=row["kwargs"])
        strictly, loosely = (followed(row["prompt"], asked, loose=loose) for loose in (False, True))
        assert len(strictly) == len(loosely) == len(row["instruction_id_list"])
        assert all(loose or not strict for strict, loose in zip(strictly, loosely, strict=True))
    assert rows


def test_the_reward_is_the_share_followed_or_all_of_them() -> None:
    both = IfevalReward(instruction_id_list=["punctuation:no_comma", "startend:quotation"], kwargs=[{}, {}])
    assert reward_of(final_answer("plain"), both, RewardOptions()) == 0.5
    assert reward_of(final_answer("plain"), both, RewardOptions(aggregate="strict")) == 0.0
    assert reward_of(final_answer('"plain"'), both, RewardOptions(aggregate="strict")) == 1.0


def test_reasoning_is_not_verified() -> None:
    assert final_answer("<think>well, well, well</think>\nplain") == "plain"
    assert final_answer("\nplain\n") == "\nplain\n"  # IFEval counts these lines
    assert (
        reward_of(final_answer("<think>a, b</think>plain"), reward("punctuation:no_comma", {}), RewardOptions()) == 1.0
    )


def test_unfinished_reasoning_is_no_answer() -> None:
    assert final_answer("<think>a plan without any comma") == ""
    assert reward_of(final_answer("<think>a plan"), reward("punctuation:no_comma", {}), RewardOptions()) == 0.0


def test_a_bottomless_json_is_no_json() -> None:
    assert followed("[" * 5000, reward("detectable_format:json_format", {})) == [False]


def test_arguments_are_converted_to_their_types() -> None:
    # files that have been through a table carry numbers as text or floats
    sent = {"num_words": "3", "relation": "at least"}
    assert followed("one two three", reward("length_constraints:number_words", sent)) == [True]


@pytest.mark.parametrize(("split", "at_least"), [("train", 200), ("heldout", 30)])
def test_every_bundled_reference_follows_its_constraints(split: str, at_least: int) -> None:
    rows = load_rows(ROOT / "examples" / "data" / f"{split}.jsonl")
    assert len(rows) >= at_least
    for row in rows:
        assert row.reference is not None
        assert row.reward is not None
        assert 1 <= len(row.reward.instruction_id_list) <= 3
        assert all(followed(row.reference, row.reward)), row.id


def test_the_bundled_splits_share_no_prompt_and_are_no_template() -> None:
    splits = [load_rows(ROOT / "examples" / "data" / f"{s}.jsonl") for s in ("train", "heldout")]
    train, held_out = ({row.messages[-1].content for row in rows} for rows in splits)
    assert train & held_out == set()
    openings = [" ".join(prompt.split()[:3]).lower() for prompt in train]
    assert max(openings.count(opening) for opening in set(openings)) <= 4
    assert len({row.id for rows in splits for row in rows}) == sum(map(len, splits))
    used = {name for row in splits[0] if row.reward for name in row.reward.instruction_id_list}
    assert used == set(CHECKS)
