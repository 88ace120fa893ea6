"""Checks of instruction following: the 25 types of IFEval (arXiv:2311.07911) as published, and all types by reading.

The functions of this module have the semantics of the original checkers, including their quirks: keywords are regular
expressions, sentences come from Punkt, a failed language detection counts as followed. Each check is a function of the
answer and the arguments in `uniapl.spec.reward.IFEVAL_ARGUMENTS`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Literal

from uniapl.rewards.constraints.bench import IFBENCH_WORDS
from uniapl.rewards.constraints.layout import IFBENCH_LAYOUT
from uniapl.rewards.constraints.repaired import IFEVAL as REPAIRED_IFEVAL
from uniapl.rewards.constraints.repaired_more import REST
from uniapl.rewards.constraints.texts import holds, is_language, sentences, word_tokens
from uniapl.rewards.constraints.training import IF_RLVR
from uniapl.rewards.text_answer import unfenced
from uniapl.spec.reward import IfevalReward
from uniapl.spec.reward.ifeval import PATTERNS

Reading = Literal["published", "repaired"]


def keyword_existence(answer: str, keywords: list[str]) -> bool:
    """All keywords occur."""
    return all(re.search(PATTERNS["keywords"](keyword), answer, flags=re.IGNORECASE) for keyword in keywords)


def keyword_frequency(answer: str, keyword: str, frequency: int, relation: str) -> bool:
    """The number of occurrences of the keyword satisfies the relation."""
    found = re.findall(PATTERNS["keyword"](keyword), answer, flags=re.IGNORECASE)
    return holds(len(found), relation, frequency)


def forbidden_words(answer: str, forbidden_words: list[str]) -> bool:
    """None of the words occurs as a whole word."""
    patterns = [PATTERNS["forbidden_words"](word) for word in forbidden_words]
    return not any(re.search(pattern, answer, flags=re.IGNORECASE) for pattern in patterns)


def letter_frequency(answer: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    """The number of occurrences of the letter, ignoring case, satisfies the relation."""
    return holds(Counter(answer.lower())[letter.strip().lower()], let_relation, let_frequency)


def response_language(answer: str, language: str) -> bool:
    """The whole answer is in the language (ISO 639-1)."""
    return is_language(answer, language)


def number_sentences(answer: str, num_sentences: int, relation: str) -> bool:
    """The number of sentences, by Punkt, satisfies the relation."""
    return holds(len(sentences(answer)), relation, num_sentences)


def number_paragraphs(answer: str, num_paragraphs: int) -> bool:
    """Exactly this many paragraphs, separated by the markdown divider `***`."""
    paragraphs = re.split(r"\s?\*\*\*\s?", answer)
    if any(not paragraph.strip() for paragraph in paragraphs[1:-1]):
        return False
    return sum(1 for paragraph in paragraphs if paragraph.strip()) == num_paragraphs


def number_words(answer: str, num_words: int, relation: str) -> bool:
    r"""The number of words, runs of `\w`, satisfies the relation."""
    return holds(len(re.findall(r"\w+", answer)), relation, num_words)


def nth_paragraph_first_word(answer: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Exactly this many paragraphs, separated by empty lines, and the n-th begins with the word."""
    paragraphs = re.split(r"\n\n", answer)
    count = sum(1 for paragraph in paragraphs if paragraph.strip())
    if nth_paragraph > count:
        return False
    paragraph = paragraphs[nth_paragraph - 1].strip()
    if not paragraph:
        return False
    word = paragraph.split()[0].lstrip("'").lstrip('"')
    bare = re.split(r"[.,?!'\"]", word, maxsplit=1)[0]
    # per letter, as in the original: lower() of a whole Greek word ends in a final sigma
    return count == num_paragraphs and "".join(letter.lower() for letter in bare) == first_word.lower()


def number_placeholders(answer: str, num_placeholders: int) -> bool:
    """At least this many placeholders in square brackets."""
    return len(re.findall(r"\[.*?\]", answer)) >= num_placeholders


def postscript(answer: str, postscript_marker: str) -> bool:
    """The answer has a postscript that begins with the marker."""
    patterns = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}
    pattern = patterns.get(postscript_marker.strip(), PATTERNS["postscript_marker"](postscript_marker))
    return bool(re.findall(pattern, answer.lower(), flags=re.MULTILINE))


def number_bullet_lists(answer: str, num_bullets: int) -> bool:
    """Exactly this many bullet points, `* ` or `- `."""
    stars = re.findall(r"^\s*\*[^\*].*$", answer, flags=re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", answer, flags=re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


def constrained_response(answer: str) -> bool:
    """One of the three allowed answers occurs."""
    return any(option in answer for option in ("My answer is yes.", "My answer is no.", "My answer is maybe."))


def number_highlighted_sections(answer: str, num_highlights: int) -> bool:
    """At least this many non-empty `*highlighted*` parts."""
    single = [part for part in re.findall(r"\*[^\n\*]*\*", answer) if part.strip("*").strip()]
    double = [
        part for part in re.findall(r"\*\*[^\n\*]*\*\*", answer) if part.removeprefix("**").removesuffix("**").strip()
    ]
    return len(single) + len(double) >= num_highlights


def multiple_sections(answer: str, section_spliter: str, num_sections: int) -> bool:
    """At least this many sections, each begun by the splitter and a number."""
    return len(re.split(PATTERNS["section_spliter"](section_spliter), answer)) - 1 >= num_sections


def json_format(answer: str) -> bool:
    """The whole answer is JSON, optionally in a code fence."""
    try:
        json.loads(unfenced(answer))
    except (ValueError, RecursionError):  # RecursionError: deeply nested brackets
        return False
    return True


def title(answer: str) -> bool:
    """The answer has a title in double angle brackets."""
    return any(found.lstrip("<").rstrip(">").strip() for found in re.findall(r"<<[^\n]+>>", answer))


def two_responses(answer: str) -> bool:
    """Two different answers, separated by six asterisks."""
    parts = answer.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    given = [part.strip() for part in parts if part.strip()]
    return len(given) == 2 and given[0] != given[1]


def repeat_prompt(answer: str, prompt_to_repeat: str) -> bool:
    """The answer begins with the prompt, word for word."""
    return answer.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_checker(answer: str, end_phrase: str) -> bool:
    """The answer ends with the phrase."""
    return answer.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def quotation(answer: str) -> bool:
    """The whole answer is in double quotation marks."""
    text = answer.strip()
    return len(text) > 1 and text[0] == '"' and text[-1] == '"'


def capital_word_frequency(answer: str, capital_frequency: int, capital_relation: str) -> bool:
    """The number of all-capital words satisfies the relation."""
    return holds(sum(1 for word in word_tokens(answer) if word.isupper()), capital_relation, capital_frequency)


def english_capital(answer: str) -> bool:
    """The answer is English, in capital letters only."""
    return answer.isupper() and is_language(answer, "en")


def english_lowercase(answer: str) -> bool:
    """The answer is English, without capital letters."""
    return answer.islower() and is_language(answer, "en")


def no_comma(answer: str) -> bool:
    """The answer has no comma."""
    return "," not in answer


CHECKS: dict[str, Callable[..., bool]] = {
    "keywords:existence": keyword_existence,
    "keywords:frequency": keyword_frequency,
    "keywords:forbidden_words": forbidden_words,
    "keywords:letter_frequency": letter_frequency,
    "language:response_language": response_language,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:number_words": number_words,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:json_format": json_format,
    "detectable_format:title": title,
    "combination:two_responses": two_responses,
    "combination:repeat_prompt": repeat_prompt,
    "startend:end_checker": end_checker,
    "startend:quotation": quotation,
    "change_case:capital_word_frequency": capital_word_frequency,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
    "punctuation:no_comma": no_comma,
}
"""IFEval's checks as published."""
PUBLISHED: dict[str, Callable[..., bool]] = CHECKS | IF_RLVR | IFBENCH_WORDS | IFBENCH_LAYOUT
"""Checks of all types that decide as the original checkers do."""
REPAIRED: dict[str, Callable[..., bool]] = PUBLISHED | REPAIRED_IFEVAL | REST
"""Checks of all types that decide by the words of the constraint."""


def variants(answer: str) -> list[str]:
    """Variants of the answer for loose evaluation: without first line, last line or both, each also without `*`."""
    lines = answer.split("\n")
    shorter = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    return [text for kept in (answer, *shorter) for text in (kept, kept.replace("*", ""))]


def followed(answer: str, reward: IfevalReward, *, loose: bool = False, reading: Reading = "repaired") -> list[bool]:
    """Whether the answer follows each constraint, in order; a blank answer follows none.

    Args:
        answer: the final answer, including leading and trailing lines.
        reward: the constraints.
        loose: whether it is sufficient that one variant of the answer follows.
        reading: whether the checks decide as the original ones do, or by the words of the constraint.
    """
    checks = PUBLISHED if reading == "published" else REPAIRED
    texts = [text for text in (variants(answer) if loose else [answer]) if text.strip()]
    return [any(checks[name](text, **arguments) for text in texts) for name, arguments in reward.constraints()]
