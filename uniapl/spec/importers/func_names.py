"""Conversion of IF-RLVR's older ground truths, which name a checking function, into IFEval constraints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uniapl.spec.importers.fields import RowError

Constraint = tuple[str, dict[str, Any]]
_CHOICES = {"My answer is yes.", "My answer is no.", "My answer is maybe."}
"""Options of IFEval's `constrained_response`."""


def _same(constraint: str, **names: str) -> Callable[[dict[str, Any]], list[Constraint]]:
    """A constraint whose arguments (values) are the function's parameters (keys), renamed."""
    return lambda given: [(constraint, {ours: given[theirs] for theirs, ours in names.items()})]


def _between(constraint: str, number: str, relation: str, least: int, most: int, **others: Any) -> list[Constraint]:
    """Two constraints: at least `least`, and less than `most` + 1."""
    low = {**others, number: max(least, 0), relation: "at least"}
    return [(constraint, low), (constraint, {**others, number: most + 1, relation: "less than"})]


def _quantified(
    constraint: str, number: str, relation: str, tolerance: Callable[[int], int]
) -> Callable[[dict[str, Any]], list[Constraint]]:
    """A count with a quantifier: at least, at most, or around N (with a tolerance, as open-instruct checks it)."""

    def convert(given: dict[str, Any]) -> list[Constraint]:
        n, quantifier = int(given["N"]), given["quantifier"]
        if quantifier == "at least":
            return [(constraint, {number: n, relation: "at least"})]
        if quantifier == "at most":
            return [(constraint, {number: n + 1, relation: "less than"})]
        if quantifier == "around":
            return _between(constraint, number, relation, n - tolerance(n), n + tolerance(n))
        raise ValueError(f"quantifier {quantifier!r:.60}")

    return convert


def _keyword_frequency(given: dict[str, Any]) -> list[Constraint]:
    n = int(given["N"])
    return _between("keywords:frequency", "frequency", "relation", n, n, keyword=given["word"])


def _letter_frequency(given: dict[str, Any]) -> list[Constraint]:
    n = int(given["N"])
    return _between("keywords:letter_frequency", "let_frequency", "let_relation", n, n, letter=given["letter"])


_CONVERSIONS: dict[str, Callable[[dict[str, Any]], list[Constraint]]] = {
    "verify_keywords": _same("keywords:existence", keyword_list="keywords"),
    "verify_keyword_frequency": _keyword_frequency,
    "validate_forbidden_words": _same("keywords:forbidden_words", forbidden_words="forbidden_words"),
    "verify_letter_frequency": _letter_frequency,
    "validate_response_language": _same("language:response_language", language="language"),
    "verify_paragraph_count": _same("length_constraints:number_paragraphs", N="num_paragraphs"),
    "validate_word_constraint": _quantified(
        "length_constraints:number_words", "num_words", "relation", lambda n: max(round(n * 0.1), 1)
    ),
    "verify_sentence_constraint": _quantified(
        "length_constraints:number_sentences", "num_sentences", "relation", lambda n: 1
    ),
    "validate_paragraphs": _same(
        "length_constraints:nth_paragraph_first_word", N="num_paragraphs", first_word="first_word", i="nth_paragraph"
    ),
    "verify_postscript": _same("detectable_content:postscript", postscript_marker="postscript_marker"),
    "validate_placeholders": _same("detectable_content:number_placeholders", N="num_placeholders"),
    "verify_bullet_points": _same("detectable_format:number_bullet_lists", N="num_bullets"),
    "validate_title": _same("detectable_format:title"),
    "validate_highlighted_sections": _same("detectable_format:number_highlighted_sections", N="num_highlights"),
    "validate_sections": _same(
        "detectable_format:multiple_sections", N="num_sections", section_splitter="section_spliter"
    ),
    "validate_json_format": _same("detectable_format:json_format"),
    "validate_repeat_prompt": _same("combination:repeat_prompt", original_prompt="prompt_to_repeat"),
    "validate_two_responses": _same("combination:two_responses"),
    "validate_uppercase": _same("change_case:english_capital"),
    "validate_lowercase": _same("change_case:english_lowercase"),
    "validate_frequency_capital_words": _quantified(
        "change_case:capital_word_frequency", "capital_frequency", "capital_relation", lambda n: 0
    ),
    "validate_end": _same("startend:end_checker", end_phrase="end_phrase"),
    "validate_quotation": _same("startend:quotation"),
    "validate_no_commas": _same("punctuation:no_comma"),
}
"""Constraints by the name of open-instruct's checking function (RLVR-IFeval's `ground_truth`)."""


def function_reward(truth: dict[str, Any], field: str) -> dict[str, Any]:
    """The reward of a ground truth such as `{"func_name": "validate_title", "N": null}`.

    Raises:
        RowError: the function is unknown, or an argument is missing.
    """
    name, given = truth["func_name"], {key: value for key, value in truth.items() if value is not None}
    if name == "validate_choice" and isinstance(options := given.get("options"), list):
        if set(map(str, options)) != _CHOICES:
            return {"type": "exact_match", "answer": options}
        return {"type": "ifeval", "instruction_id_list": ["detectable_format:constrained_response"], "kwargs": [{}]}
    if name not in _CONVERSIONS:
        raise RowError(
            f"{field}.func_name: {name!r:.60} is unknown; write the constraints as "
            '`reward`: {"type": "ifeval", "instruction_id_list": […], "kwargs": […]}'
        )
    try:
        found = _CONVERSIONS[name](given)
    except (KeyError, TypeError, ValueError) as error:
        raise RowError(f"{field}: {name} lacks a valid argument ({error}); add it, or remove the row") from None
    return {
        "type": "ifeval",
        "instruction_id_list": [constraint for constraint, _ in found],
        "kwargs": [arguments for _, arguments in found],
    }
