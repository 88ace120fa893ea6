"""IFEval's constraint types by what their words demand, where the published checkers decide otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable

from uniapl.rewards.constraints.texts import (
    count_word,
    holds,
    in_language,
    is_english,
    paragraphs,
    plain_words,
)


def keyword_existence(answer: str, keywords: list[str]) -> bool:
    """All keywords occur; they are literal texts."""
    return all(count_word(answer, word) or word.strip().casefold() in answer.casefold() for word in keywords)


def keyword_frequency(answer: str, keyword: str, frequency: int, relation: str) -> bool:
    """The number of occurrences as a whole word satisfies the relation."""
    return holds(count_word(answer, keyword), relation, frequency)


def forbidden_words(answer: str, forbidden_words: list[str]) -> bool:
    """None of the words occurs as a whole word; words that end with a sign, such as `C#`, are found too."""
    return not any(count_word(answer, word) for word in forbidden_words)


def response_language(answer: str, language: str) -> bool:
    """The whole answer is in the language."""
    return in_language(answer, language)


def number_paragraphs(answer: str, num_paragraphs: int) -> bool:
    """Exactly this many paragraphs between dividers `***`; bold italics is no divider."""
    parts = re.split(r"(?:^|(?<=\s))\*\s?\*\s?\*(?=\s|$)", answer)
    return sum(1 for part in parts if part.strip()) == num_paragraphs


def nth_paragraph_first_word(answer: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Exactly this many paragraphs with text, and the n-th of them begins with the word or words."""
    found = paragraphs(answer)
    if len(found) != num_paragraphs or nth_paragraph > len(found):
        return False
    wanted = [word.casefold() for word in plain_words(first_word)]
    begun = re.sub(r"[.,?!;:\"“”]", " ", found[nth_paragraph - 1])
    return [word.casefold() for word in plain_words(begun)[: len(wanted)]] == wanted


def number_placeholders(answer: str, num_placeholders: int) -> bool:
    """At least this many placeholders in square brackets; links and check boxes are none."""
    return len(re.findall(r"\[[^\[\]\n]*\w[^\[\]\n]*\](?!\()", answer)) >= num_placeholders


def number_bullet_lists(answer: str, num_bullets: int) -> bool:
    """Exactly this many bullet points, `* ` or `- `; rules such as `---` are none."""
    return len(re.findall(r"^[ \t]*[*-][ \t]+(?![*\- \t]+$)\S.*$", answer, flags=re.MULTILINE)) == num_bullets


def number_highlighted_sections(answer: str, num_highlights: int) -> bool:
    """At least this many non-empty `*highlighted*` parts; the asterisks of bullet points are none."""
    text = re.sub(r"^[ \t]*\*[ \t]+", "", answer, flags=re.MULTILINE)
    found = re.findall(r"(\*{1,3})([^\n*]+)\1", text)
    return sum(1 for _, part in found if part.strip()) >= num_highlights


def multiple_sections(answer: str, section_spliter: str, num_sections: int) -> bool:
    """At least this many sections, each begun by the splitter and a number."""
    return len(re.findall(rf"(?<!\w){re.escape(section_spliter.strip())}\s?\d+", answer, re.IGNORECASE)) >= num_sections


def quotation(answer: str) -> bool:
    """The whole answer is in double quotation marks, straight or curly."""
    text = answer.strip()
    return len(text) > 1 and text[0] in '"“' and text[-1] in '"”'


def english_capital(answer: str) -> bool:
    """The answer is English, in capital letters only."""
    return answer.isupper() and is_english(answer)


def english_lowercase(answer: str) -> bool:
    """The answer is English, without capital letters."""
    return answer.islower() and is_english(answer)


IFEVAL: dict[str, Callable[..., bool]] = {
    "keywords:existence": keyword_existence,
    "keywords:frequency": keyword_frequency,
    "keywords:forbidden_words": forbidden_words,
    "language:response_language": response_language,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:multiple_sections": multiple_sections,
    "startend:quotation": quotation,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
}
"""Checks that replace the published ones."""
