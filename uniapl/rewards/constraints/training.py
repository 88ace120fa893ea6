"""The 29 constraint types that IF-RLVR adds for training (arXiv:2507.02833, allenai/open-instruct), as published."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

from uniapl.rewards.constraints.texts import holds, rule_sentences, word_tokens

DIVIDER = r"\s?\*\*\*\s?"


def _occurrences(text: str, keyword: str) -> int:
    """Matches of the keyword, which is a pattern; literal if it is not one."""
    try:
        return len(re.findall(keyword.strip(), text, flags=re.IGNORECASE))
    except re.error:
        return len(re.findall(re.escape(keyword.strip()), text, flags=re.IGNORECASE))


def equals(answer: str, prompt_to_repeat: str) -> bool:
    """The answer is the prompt, up to case."""
    return answer.strip().lower() == prompt_to_repeat.strip().lower()


def repeat_phrase(answer: str, phrase: str, small_n: int) -> bool:
    """The phrase occurs n times, each time with one word in its middle replaced."""
    words = phrase.split()
    try:
        found = re.findall(f"{words[0]} .*? {words[-1]}", answer)  # a pattern, as in the original
    except re.error:
        found = re.findall(f"{re.escape(words[0])} .*? {re.escape(words[-1])}", answer)
    return len(found) == small_n and all(_replaced(one.split(), words) == 1 for one in found)


def _replaced(given: list[str], words: list[str]) -> int:
    """Number of words that differ; -1 if the lengths do."""
    return sum(a != b for a, b in zip(given, words, strict=True)) if len(given) == len(words) else -1


def copy_span_idx(answer: str, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    """The answer is the prompt's characters from the first index to the one before the last."""
    return equals(answer, prompt_to_repeat[n_start:n_end])


def sentence_hyphens(answer: str) -> bool:
    """Sentences are connected with hyphens, without spaces."""
    expected = rule_sentences(answer.replace("-", " "))
    return all(
        part == part.strip() and part == sentence for part, sentence in zip(answer.split("-"), expected, strict=False)
    )


def no_adjacent_consecutive(answer: str) -> bool:
    """No two adjacent words begin with consecutive letters."""
    first = [word[0].lower() for word in answer.split()]
    if any(len(letter) != 1 for letter in first) and len(first) > 1:
        return False
    return all(ord(after) - ord(before) != 1 for before, after in itertools.pairwise(first))


def square_brackets(answer: str) -> bool:
    """Every word is in square brackets."""
    return all(word.startswith("[") and word.endswith("]") for word in answer.split())


def word_once(answer: str, keyword: str) -> bool:
    """The keyword occurs once."""
    return _occurrences(answer, keyword) == 1


def word_count_different_numbers(answer: str, keyword: str, frequency: int, relation: str) -> bool:
    """The number of occurrences satisfies the relation."""
    return holds(_occurrences(answer, keyword), relation, frequency)


def exclude_word_harder(answer: str, keyword: str) -> bool:
    """The keyword does not occur between spaces."""
    return f" {keyword.strip()} " not in answer


def _two_parts(parts: list[str]) -> bool:
    return all(part.strip() for part in parts[1:-1]) and sum(1 for part in parts if part.strip()) == 2


def paragraphs(answer: str) -> bool:
    """Two paragraphs, separated by `***`."""
    return _two_parts(re.split(DIVIDER, answer))


def paragraphs2(answer: str) -> bool:
    """Two paragraphs, separated by an empty line."""
    return _two_parts(answer.split("\n\n"))


def first_word_sent(answer: str, first_word: str) -> bool:
    """Each sentence begins with the word."""
    return all(sentence.split()[:1] and first_word_answer(sentence, first_word) for sentence in rule_sentences(answer))


def first_word_answer(answer: str, first_word: str) -> bool:
    """The answer begins with the word."""
    return [word.lower() for word in answer.split()[:1]] == [first_word.strip().lower()]


def last_word_sent(answer: str, last_word: str) -> bool:
    """Each sentence ends with the word."""
    return all(last_word_answer(sentence, last_word) for sentence in rule_sentences(answer))


def last_word_answer(answer: str, last_word: str) -> bool:
    """The answer ends with the word, before punctuation."""
    last = [re.sub(r"[^\w\s]", "", word).lower() for word in answer.split()[-1:]]
    return last == [last_word.strip().lower()]


def bigram_wrapping(answer: str) -> bool:
    """Every two words are in double angle brackets."""
    words = answer.split()
    pairs = zip(words[::2], words[1::2], strict=False)
    return all(first.startswith("<<") and second.endswith(">>") for first, second in pairs)


def copying_multiple(answer: str, prompt_to_repeat: str, N: int) -> bool:
    """The prompt n times, separated by six asterisks."""
    parts = answer.split("******")
    return len(parts) == N and all(equals(part, prompt_to_repeat) for part in parts)


def punctuation_dot(answer: str) -> bool:
    """No dot."""
    return "." not in answer


def punctuation_exclamation(answer: str) -> bool:
    """No exclamation mark."""
    return "!" not in answer


def lowercase_counting(answer: str, N: int) -> bool:
    """At most n words in lower case."""
    return len(re.findall(r"\b[a-z]+\b", answer)) <= N


def letter_counting(answer: str, N: int, relation: str) -> bool:
    """The number of letters satisfies the relation."""
    return holds(len(re.findall("[a-zA-Z]", answer)), relation, N)


def letter_counting2(answer: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    """The number of occurrences of the letter, ignoring case, satisfies the relation."""
    return holds(answer.lower().count(letter.strip().lower()), let_relation, let_frequency)


def counting_composition(answer: str, n_sent: int, n_words: int) -> bool:
    """Three paragraphs between `***`, of n sentences each, of n tokens each."""
    parts = re.split(DIVIDER, answer)
    counts = [[len(word_tokens(sentence)) for sentence in rule_sentences(part)] for part in parts]
    return len(parts) == 3 and all(count == [n_words] * n_sent for count in counts)


def count_unique(answer: str) -> bool:
    """No token occurs twice."""
    tokens = word_tokens(answer)
    return len(tokens) == len(set(tokens))


def count_increment_word(answer: str, keyword1: str, keyword2: str) -> bool:
    """The first keyword occurs once, the second twice."""
    return (_occurrences(answer, keyword1), _occurrences(answer, keyword2)) == (1, 2)


def palindrome(answer: str) -> bool:
    """A word is a palindrome."""
    return any(word == word[::-1] for word in answer.split())


def keyword_specific_position(answer: str, keyword: str, n: int, m: int) -> bool:
    """The m-th token of the n-th sentence is the keyword."""
    found = rule_sentences(answer)
    return len(found) >= n and word_tokens(found[n - 1])[m - 1 : m] == [keyword.strip()]


def start_end(answer: str) -> bool:
    """The first and the last token are the same word."""
    tokens = word_tokens(answer)
    return len(tokens) > 1 and tokens[0].lower() == tokens[-1].lower()


IF_RLVR: dict[str, Callable[..., bool]] = {
    "copy:repeat_phrase": repeat_phrase,
    "copy:copy": equals,
    "new:copy_span_idx": copy_span_idx,
    "detectable_format:sentence_hyphens": sentence_hyphens,
    "keywords:no_adjacent_consecutive": no_adjacent_consecutive,
    "detectable_format:square_brackets": square_brackets,
    "keywords:word_once": word_once,
    "keywords:word_count_different_numbers": word_count_different_numbers,
    "keywords:exclude_word_harder": exclude_word_harder,
    "paragraphs:paragraphs": paragraphs,
    "paragraphs:paragraphs2": paragraphs2,
    "first_word:first_word_sent": first_word_sent,
    "first_word:first_word_answer": first_word_answer,
    "last_word:last_word_sent": last_word_sent,
    "last_word:last_word_answer": last_word_answer,
    "detectable_format:bigram_wrapping": bigram_wrapping,
    "copy:copying_simple": equals,
    "copy:copying_multiple": copying_multiple,
    "punctuation:punctuation_dot": punctuation_dot,
    "punctuation:punctuation_exclamation": punctuation_exclamation,
    "count:lowercase_counting": lowercase_counting,
    "letters:letter_counting": letter_counting,
    "letters:letter_counting2": letter_counting2,
    "count:counting_composition": counting_composition,
    "count:count_unique": count_unique,
    "count:count_increment_word": count_increment_word,
    "keywords:palindrome": palindrome,
    "keywords:keyword_specific_position": keyword_specific_position,
    "keywords:start_end": start_end,
}
"""Checks of the 29 types."""
