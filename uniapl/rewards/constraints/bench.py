"""IFBench's constraint types on words, sentences and counts (allenai/IFBench), as published."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable

from uniapl.rewards.constraints.syllables import syllables, verb_begins
from uniapl.rewards.constraints.texts import PUNCTUATION, STOP_WORDS, sentences, word_tokens

_NAMES_TEXT = """
Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia Benjamin
Harper Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan Victoria
Elijah Layla Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph Claire Ryan Stella
Jonathan
"""
NAMES = _NAMES_TEXT.split()
_PRONOUNS_TEXT = """
i me we us you he him she her it they them my mine our ours your yours his hers its their theirs myself
ourselves yourself yourselves himself herself itself themselves this that these those who whom whose which what
whoever whomever whatever whichever anybody anyone anything everybody everyone everything nobody nothing
somebody someone something each either neither both all some any none
"""
PRONOUNS = frozenset(_PRONOUNS_TEXT.split())
CONJUNCTIONS = frozenset(["and", "but", "for", "nor", "or", "so", "yet"])
_MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ "


def _words(text: str) -> list[str]:
    """Words between spaces in lower case, all punctuation removed."""
    return text.lower().translate(PUNCTUATION).split()


def word_count_range(answer: str, min_words: int, max_words: int) -> bool:
    r"""The number of words, runs of `\w`, is in the range."""
    return min_words <= len(re.findall(r"\w+", answer)) <= max_words


def unique_word_count(answer: str, N: int) -> bool:
    """At least n different words."""
    return len({word.strip(_MARKS) for word in answer.lower().split()}) >= N


def stop_words(answer: str, percentage: int) -> bool:
    """At most this percentage of the words are stop words."""
    words = re.findall(r"\w+", answer)
    return bool(words) and 100 * sum(word.lower() in STOP_WORDS for word in words) / len(words) <= percentage


def _kinds(answer: str) -> tuple[int, int, int]:
    """Numbers of sentences that end with a full stop, a question mark, an exclamation mark."""
    found = sentences(answer)
    stops, questions, shouts = (sum(sentence.endswith(mark) for sentence in found) for mark in ".?!")
    return stops, questions, shouts


def sentence_type(answer: str) -> bool:
    """Twice as many declarative as interrogative sentences."""
    stops, questions, _ = _kinds(answer)
    return stops == 2 * questions


def sentence_balance(answer: str) -> bool:
    """As many declarative as interrogative as exclamatory sentences."""
    return len(set(_kinds(answer))) == 1


def conjunctions(answer: str, small_n: int) -> bool:
    """At least n different coordinating conjunctions."""
    return len({word.strip(_MARKS).lower() for word in answer.split()} & CONJUNCTIONS) >= small_n


def person_names(answer: str, N: int) -> bool:
    """At least n different names of the list."""
    return sum(re.search(rf"\b{name}\b", answer) is not None for name in NAMES) >= N


def overlap(answer: str, reference_text: str, percentage: int) -> bool:
    """The share of the answer's trigrams of characters that the text has is within 2 of the percentage."""
    own, given = ({text[i : i + 3] for i in range(len(text) - 2)} for text in (answer, reference_text))
    return bool(own) and percentage - 2 <= 100 * (len(own & given) / len(own)) <= percentage + 2


def numbers(answer: str, N: int) -> bool:
    """Exactly n numbers, punctuation removed first."""
    return len(re.findall(r"\d+", answer.translate(PUNCTUATION))) == N


def alphabet(answer: str) -> bool:
    """Each word begins with the next letter of the alphabet, `a` after `z`."""
    words = _words(answer)
    if not words or not "a" <= words[0][0] <= "z":
        return False
    first = ord(words[0][0]) - ord("a")
    return all(word[0] == chr(ord("a") + (first + i) % 26) for i, word in enumerate(words))


def vowel(answer: str) -> bool:
    """One line, with at most three different vowels."""
    return "\n" not in answer.strip() and len(set("aeiou") & set(answer.lower())) <= 3


def consonants(answer: str) -> bool:
    """Each word has two consonants in a row."""
    return all(re.search("[bcdfghjklmnpqrstvwxyz]{2}", word) for word in answer.lower().split())


def _alliteration(sentence: str) -> int:
    """Number of words in a row with the first letter of their neighbour."""
    words = [bare for word in sentence.lower().split() if (bare := word.lstrip(_MARKS))]
    same = [a[0] == b[0] for a, b in itertools.pairwise(words)]
    return sum(1 if i and same[i - 1] else 2 for i, equal in enumerate(same) if equal)


def alliteration_increment(answer: str) -> bool:
    """Each sentence has more alliterative words than the one before."""
    counts = [_alliteration(sentence) for sentence in sentences(answer)]
    return all(after > before for before, after in itertools.pairwise(counts))


def palindromes(answer: str) -> bool:
    """At least ten palindromes of five letters or more."""
    return sum(len(word) >= 5 and word == word[::-1] for word in _words(answer)) >= 10


def prime_lengths(answer: str) -> bool:
    """The length of each word is a prime number below 100."""
    lengths = {len(word) for word in _words(answer)}
    return all(1 < n < 100 and all(n % divisor for divisor in range(2, n)) for n in lengths)


def sentence_words(answer: str) -> bool:
    """Three sentences of one length in characters."""
    found = sentences(answer)
    return len(found) == 3 and len({len(sentence.strip()) for sentence in found}) == 1


def words_japanese(answer: str, N: int) -> bool:
    """Every n-th word is Japanese; numbers and punctuation are left out."""
    every = [word.strip(_MARKS) for word in answer.split()][N - 1 :: N]
    return all(re.search("[\u3040-\u30ff\u4e00-\u9fff]", word) for word in every if word and not word.isdigit())


def start_verb(answer: str) -> bool:
    """The first word is a verb, by a list and by its form."""
    return verb_begins(word_tokens(answer))


def repeats(answer: str, small_n: int) -> bool:
    """No word occurs more than n times."""
    return max(Counter(_words(answer)).values(), default=0) <= small_n


def sentence_keyword(answer: str, word: str, N: int) -> bool:
    """The n-th sentence has the word."""
    found = sentences(answer)
    return len(found) >= N and re.search(rf"\b{re.escape(word)}\b", found[N - 1], re.IGNORECASE) is not None


def pronouns(answer: str, N: int) -> bool:
    """At least n pronouns."""
    return sum(token in PRONOUNS for token in word_tokens(answer.lower().replace("/", " "))) >= N


def odd_even_syllables(answer: str) -> bool:
    """Words with odd and even numbers of syllables alternate."""
    parity = [syllables(word) % 2 for word in _words(answer)]
    return all(before != after for before, after in itertools.pairwise(parity))


def last_first(answer: str) -> bool:
    """The last word of each sentence is the first word of the next."""
    found = sentences(answer)
    last = [sentence.rstrip(_MARKS).lower().split()[-1:] for sentence in found[:-1]]
    first = [sentence.lstrip(_MARKS).lower().split()[:1] for sentence in found[1:]]
    return all(a and a == b for a, b in zip(last, first, strict=True))


def paragraph_last_first(answer: str) -> bool:
    """Each line ends with the word with which it begins."""
    found = [line.strip().lower().strip(_MARKS).split() for line in answer.split("\n")]
    return all(words[0] == words[-1] for words in found if words)


def increment(answer: str, small_n: int) -> bool:
    """Each sentence has n words more than the one before."""
    counts = [len(_words(sentence)) for sentence in sentences(answer)]
    return all(after == before + small_n for before, after in itertools.pairwise(counts))


def no_consecutive(answer: str) -> bool:
    """No two consecutive words begin with one letter."""
    words = _words(answer)
    return all(a[0] != b[0] for a, b in itertools.pairwise(words))


def keywords_multiple(answer: str, **keywords: str) -> bool:
    """The keywords occur 1, 2, 3, 5 and 7 times, also inside words."""
    ordered = [keywords[name].strip().lower() for name in sorted(keywords)]
    return all(answer.lower().count(word) == n for word, n in zip(ordered, (1, 2, 3, 5, 7), strict=True))


def keywords_specific_position(answer: str, keyword: str, n: int, m: int) -> bool:
    """The m-th word of the n-th sentence is the keyword."""
    found = sentences(answer)
    if len(found) < n:
        return False
    words = [token for token in word_tokens(found[n - 1]) if any(sign.isalnum() for sign in token)]
    return [word.lower() for word in words[m - 1 : m]] == [keyword.strip().lower()]


def words_position(answer: str, keyword: str) -> bool:
    """The second word and the second to last are the keyword."""
    tokens = [token.lower() for token in word_tokens(answer)]
    if len(tokens) > 1 and tokens[-1] in _MARKS.strip():
        tokens = tokens[:-1]
    return len(tokens) > 1 and tokens[1] == tokens[-2] == keyword.strip().lower()


IFBENCH_WORDS: dict[str, Callable[..., bool]] = {
    "count:word_count_range": word_count_range,
    "count:unique_word_count": unique_word_count,
    "ratio:stop_words": stop_words,
    "ratio:sentence_type": sentence_type,
    "ratio:sentence_balance": sentence_balance,
    "count:conjunctions": conjunctions,
    "count:person_names": person_names,
    "ratio:overlap": overlap,
    "count:numbers": numbers,
    "words:alphabet": alphabet,
    "words:vowel": vowel,
    "words:consonants": consonants,
    "sentence:alliteration_increment": alliteration_increment,
    "words:palindrome": palindromes,
    "words:prime_lengths": prime_lengths,
    "ratio:sentence_words": sentence_words,
    "count:words_japanese": words_japanese,
    "words:start_verb": start_verb,
    "words:repeats": repeats,
    "sentence:keyword": sentence_keyword,
    "count:pronouns": pronouns,
    "words:odd_even_syllables": odd_even_syllables,
    "words:last_first": last_first,
    "words:paragraph_last_first": paragraph_last_first,
    "sentence:increment": increment,
    "words:no_consecutive": no_consecutive,
    "count:keywords_multiple": keywords_multiple,
    "words:keywords_specific_position": keywords_specific_position,
    "words:words_position": words_position,
}
"""Checks of the types on words and sentences."""
