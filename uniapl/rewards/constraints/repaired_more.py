"""Constraint types of IF-RLVR and IFBench by what their words demand, where the published checkers differ."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

from uniapl.rewards.constraints.layout import repeat_span
from uniapl.rewards.constraints.texts import count_word, holds, lines, paragraphs, plain_words, sentences
from uniapl.rewards.constraints.training import copy_span_idx as copy_span_published

_MINOR_TEXT = """
a an the and but or nor for so yet as at by if in of off on per to up via from with into onto over than vs v
"""
_MINOR = frozenset(_MINOR_TEXT.split())
"""Words that title case may write small."""


def _folded(text: str) -> list[str]:
    return [word.casefold() for word in plain_words(text)]


def copy_span_idx(answer: str, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    """The answer is the span; its last character may be left out, as by the published checker."""
    span = {"prompt_to_repeat": prompt_to_repeat, "n_start": n_start, "n_end": n_end}
    return repeat_span(answer, **span) or copy_span_published(answer, **span)  # type: ignore[arg-type]


def sentence_hyphens(answer: str) -> bool:
    """No space follows a sentence; the next is connected by a hyphen."""
    parts = re.split(r"(?<=[.!?])-(?=\S)", answer.strip())
    return all(part == part.strip() and len(sentences(part)) == 1 for part in parts)


def no_adjacent_consecutive(answer: str) -> bool:
    """No two adjacent words begin with consecutive letters; punctuation is ignored."""
    first = [word[0] for word in _folded(answer)]
    pairs = [(a, b) for a, b in itertools.pairwise(first) if a.isalpha() and b.isalpha()]
    return all(ord(after) - ord(before) != 1 for before, after in pairs)


def square_brackets(answer: str) -> bool:
    """Every word is in square brackets, which punctuation may follow."""
    return all(re.fullmatch(r"[\"'(]*\[[^\[\]]+\][.,!?;:\"')]*", word) for word in answer.split())


def word_once(answer: str, keyword: str) -> bool:
    """The keyword occurs once as a whole word."""
    return count_word(answer, keyword) == 1


def word_count_different_numbers(answer: str, keyword: str, frequency: int, relation: str) -> bool:
    """The number of occurrences as a whole word satisfies the relation."""
    return holds(count_word(answer, keyword), relation, frequency)


def exclude_word_harder(answer: str, keyword: str) -> bool:
    """The keyword does not occur as a whole word, whatever stands beside it."""
    return count_word(answer, keyword) == 0


def two_paragraphs(answer: str) -> bool:
    """Two paragraphs with text, separated by empty lines."""
    return len(paragraphs(answer)) == 2


def first_word_sent(answer: str, first_word: str) -> bool:
    """Each sentence begins with the word, punctuation ignored."""
    return all(first_word_answer(sentence, first_word) for sentence in sentences(answer))


def first_word_answer(answer: str, first_word: str) -> bool:
    """The answer begins with the word, punctuation ignored."""
    wanted = _folded(first_word)
    return _folded(answer)[: len(wanted)] == wanted


def last_word_sent(answer: str, last_word: str) -> bool:
    """Each sentence ends with the word, punctuation ignored."""
    return all(last_word_answer(sentence, last_word) for sentence in sentences(answer))


def last_word_answer(answer: str, last_word: str) -> bool:
    """The answer ends with the word, punctuation ignored."""
    wanted = _folded(last_word)
    return _folded(answer)[-len(wanted) :] == wanted


def bigram_wrapping(answer: str) -> bool:
    """Every two words are in double angle brackets; an odd last word may stand alone."""
    mark = r"[.,!?;:]*"
    return (
        re.fullmatch(rf"(?:<<[^\s<>]+\s+[^\s<>]+>>{mark}\s*)+(?:<<[^\s<>]+>>{mark}|[^\s<>]+)?", answer.strip())
        is not None
    )


def counting_composition(answer: str, n_sent: int, n_words: int) -> bool:
    """Three paragraphs between dividers, of n sentences each, of n words each without punctuation."""
    parts = [part for part in re.split(r"\s?\*\s?\*\s?\*\s?", answer) if part.strip()]
    counts = [[len(plain_words(sentence)) for sentence in sentences(part)] for part in parts]
    return len(parts) == 3 and all(count == [n_words] * n_sent for count in counts)


def count_unique(answer: str) -> bool:
    """No word occurs twice, whatever its case; punctuation is ignored."""
    words = _folded(answer)
    return len(words) == len(set(words))


def count_increment_word(answer: str, keyword1: str, keyword2: str) -> bool:
    """The first keyword occurs once, the second twice, as whole words."""
    return (count_word(answer, keyword1), count_word(answer, keyword2)) == (1, 2)


def palindrome(answer: str) -> bool:
    """A word of three letters or more is a palindrome."""
    return any(len(word) > 2 and word.isalpha() and word == word[::-1] for word in _folded(answer))


def keyword_specific_position(answer: str, keyword: str, n: int, m: int) -> bool:
    """The m-th word of the n-th sentence is the keyword."""
    found = sentences(answer)
    return len(found) >= n and _folded(found[n - 1])[m - 1 : m] == _folded(keyword)


def start_end(answer: str) -> bool:
    """The first and the last word are the same, and nothing follows."""
    words = answer.casefold().split()
    return len(words) > 1 and _folded(words[0]) == [words[-1]]


def numbers(answer: str, N: int) -> bool:
    """Exactly n numbers; decimals and thousands are one number, ranges are two."""
    return len(re.findall(r"\d+(?:[.,]\d+)*", answer)) == N


def sentence_words(answer: str) -> bool:
    """Three sentences of one length in characters, without a word in common."""
    found = sentences(answer)
    words = [word for sentence in found for word in _folded(sentence)]
    return len(found) == 3 and len({len(s.strip()) for s in found}) == 1 and len(words) == len(set(words))


def line_indent(answer: str) -> bool:
    """Each line with text is indented more than the one before; at least two lines."""
    indents = [len(line) - len(line.lstrip()) for line in lines(answer)]
    return len(indents) > 1 and all(after > before for before, after in itertools.pairwise(indents))


def sub_bullets(answer: str) -> bool:
    """At least one bullet point `*`, and a sub-bullet `-` below each."""
    kinds = "".join(line.strip()[0] for line in lines(answer) if re.match(r"[*-]\s", line.strip()))
    return re.fullmatch(r"(?:\*-+)+", kinds) is not None


def no_bullets_bullets(answer: str) -> bool:
    """At least two sentences that end with a full stop, then at least two bullet points `*`."""
    found = lines(answer)
    begun = next((i for i, line in enumerate(found) if line.strip().startswith("*")), len(found))
    stops = sum(sentence.endswith(".") for line in found[:begun] for sentence in sentences(line.strip()))
    return stops >= 2 and len(found) - begun >= 2 and all(line.strip().startswith("*") for line in found[begun:])


def keywords_multiple(answer: str, **keywords: str) -> bool:
    """The keywords occur 1, 2, 3, 5 and 7 times as whole words."""
    ordered = [keywords[name] for name in sorted(keywords)]
    return [count_word(answer, word) for word in ordered] == [1, 2, 3, 5, 7]


def words_position(answer: str, keyword: str) -> bool:
    """The second word and the second to last are the keyword."""
    words = _folded(answer)
    return len(words) > 2 and [words[1], words[-2]] == _folded(keyword) * 2


def repeat_change(answer: str, prompt_to_repeat: str) -> bool:
    """The prompt with another first word."""
    given, asked = answer.split(), prompt_to_repeat.split()
    return bool(given) and given[0] != asked[0] and given[1:] == asked[1:]


def title_case(answer: str) -> bool:
    """Each word begins with a capital letter; articles, conjunctions and prepositions only at the beginning."""
    words = plain_words(answer)
    return not any(word[0].islower() and (i == 0 or word not in _MINOR) for i, word in enumerate(words))


def output_template(answer: str) -> bool:
    """The three labels in order."""
    return re.search(r"My Answer:.*My Conclusion:.*Future Outlook:", answer, re.DOTALL) is not None


def date_format_list(answer: str) -> bool:
    """Dates `YYYY-MM-DD` of Napoleon's life, separated by commas; months and days begin with 1."""
    month, day = "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])"
    date = rf"\s*(?:1769|17[7-9]\d|180\d|181\d|182[01])-{month}-{day}\s*"
    short = re.search(r"-(?:0[469]|11)-31|-02-3", answer)
    return short is None and re.fullmatch(rf"{date}(?:,{date})*\.?\s*", answer) is not None


REST: dict[str, Callable[..., bool]] = {
    "new:copy_span_idx": copy_span_idx,
    "detectable_format:sentence_hyphens": sentence_hyphens,
    "keywords:no_adjacent_consecutive": no_adjacent_consecutive,
    "detectable_format:square_brackets": square_brackets,
    "keywords:word_once": word_once,
    "keywords:word_count_different_numbers": word_count_different_numbers,
    "keywords:exclude_word_harder": exclude_word_harder,
    "paragraphs:paragraphs2": two_paragraphs,
    "first_word:first_word_sent": first_word_sent,
    "first_word:first_word_answer": first_word_answer,
    "last_word:last_word_sent": last_word_sent,
    "last_word:last_word_answer": last_word_answer,
    "detectable_format:bigram_wrapping": bigram_wrapping,
    "count:counting_composition": counting_composition,
    "count:count_unique": count_unique,
    "count:count_increment_word": count_increment_word,
    "keywords:palindrome": palindrome,
    "keywords:keyword_specific_position": keyword_specific_position,
    "keywords:start_end": start_end,
    "count:numbers": numbers,
    "ratio:sentence_words": sentence_words,
    "format:line_indent": line_indent,
    "format:sub-bullets": sub_bullets,
    "format:no_bullets_bullets": no_bullets_bullets,
    "count:keywords_multiple": keywords_multiple,
    "words:words_position": words_position,
    "repeat:repeat_change": repeat_change,
    "format:title_case": title_case,
    "format:output_template": output_template,
    "custom:date_format_list": date_format_list,
}
"""Checks that replace the published ones."""
