"""Sentences, words, and languages of a text, as the original checkers see them and as a reader does."""

from __future__ import annotations

import re
import string
from functools import cache

import langdetect
import punkt
from nltk.tokenize import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

langdetect.DetectorFactory.seed = 0  # its sampling is random by default, and verdicts must be reproducible

PUNCTUATION = str.maketrans("", "", string.punctuation)
"""Translation table that removes ASCII punctuation."""
_FEW_WORDS = 5
"""Number of words below which a language cannot be detected."""
_STOP_WORDS_TEXT = """
i me my myself we our ours ourselves you you're you've you'll you'd your yours yourself yourselves he him his
himself she she's her hers herself it it's its itself they them their theirs themselves what which who whom this
that that'll these those am is are was were be been being have has had having do does did doing a an the and but
if or because as until while of at by for with about against between into through during before after above
below to from up down in out on off over under again further then once here there when where why how all any
both each few more most other some such no nor not only own same so than too very s t can will just don don't
should should've now d ll m o re ve y ain aren aren't couldn couldn't didn didn't doesn doesn't hadn hadn't hasn
hasn't haven haven't isn isn't ma mightn mightn't mustn mustn't needn needn't shan shan't shouldn shouldn't wasn
wasn't weren weren't won won't wouldn wouldn't
"""
STOP_WORDS = frozenset(_STOP_WORDS_TEXT.split())
"""NLTK's English stop words."""
_FOREIGN_TEXT = """
a am in an on at so me do as was will her must have die i no y o he
"""
_FOREIGN = frozenset(_FOREIGN_TEXT.split())
"""Stop words that are common words of other languages too."""


def holds(actual: int, relation: str, bound: int) -> bool:
    """Whether a count satisfies `less than` or `at least`."""
    return actual < bound if relation == "less than" else actual >= bound


@cache
def _punkt() -> PunktSentenceTokenizer:
    """NLTK's sentence tokenizer with English Punkt parameters from a package; NLTK itself would download them."""
    learned = punkt.load_model("english")
    parameters = PunktParameters()
    parameters.abbrev_types = set(learned.abbrev_types)
    parameters.collocations = set(learned.collocations)
    parameters.sent_starters = set(learned.sent_starters)
    parameters.ortho_context.update(learned.ortho_context)
    return PunktSentenceTokenizer(parameters)


def sentences(text: str) -> list[str]:
    """Sentences by Punkt, equal to those of `nltk.sent_tokenize`."""
    found: list[str] = _punkt().tokenize(text)
    return found


def word_tokens(text: str) -> list[str]:
    """Treebank word tokens, punctuation included, equal to those of `nltk.word_tokenize`."""
    words = NLTKWordTokenizer()
    return [token for sentence in sentences(text) for token in words.tokenize(sentence)]


def plain_words(text: str) -> list[str]:
    """Words between spaces, without punctuation at their ends; words of punctuation only are left out."""
    stripped = (word.strip(string.punctuation + "“”‘’…–—") for word in text.split())
    return [word for word in stripped if word]


def count_word(text: str, word: str) -> int:
    """Number of occurrences of a word or phrase as a whole, ignoring case; with a backslash it is a pattern."""
    pattern = word.strip() if "\\" in word else r"\s+".join(map(re.escape, word.split()))
    return len(re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", text, flags=re.IGNORECASE))


def is_language(text: str, language: str) -> bool:
    """Whether langdetect finds the language; undecidable text counts as written in it, as in the original."""
    try:
        return bool(langdetect.detect(text) == language)
    except langdetect.LangDetectException:
        return True


def is_english(text: str) -> bool:
    """Whether the text is English, whatever its case: by its function words, else by detection in lower case.

    Detectors are trained on ordinary case and on longer texts: in capital letters they find German or Dutch.
    """
    words = [word.casefold() for word in plain_words(text)]
    letters = [letter for letter in text if letter.isalpha()]
    if not letters or sum(letter.isascii() for letter in letters) < 0.9 * len(letters):
        return False
    own = sum(word in STOP_WORDS and word not in _FOREIGN for word in words)
    if own >= max(1, 0.12 * len(words)):
        return True
    return len(words) < _FEW_WORDS or is_language(text.lower(), "en")


def in_language(text: str, language: str) -> bool:
    """Whether the text is in the language (ISO 639-1), where variants such as `zh-cn` count."""
    if language == "en":
        return is_english(text)
    try:
        found = str(langdetect.detect(text.lower()))
    except langdetect.LangDetectException:
        return False
    return found == language or found.split("-")[0] == language.split("-")[0]


def paragraphs(text: str) -> list[str]:
    """Paragraphs with text, separated by empty lines."""
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def lines(text: str) -> list[str]:
    """Lines with text."""
    return [line for line in text.split("\n") if line.strip()]


_DOT, _END = "\ue000", "\ue001"
"""A dot that ends no sentence, and a boundary, of the private use area."""
_BEGINS = (
    r"(Mr|Mrs|Ms|Dr|Prof|Capt|Cpt|Lt|He\s|She\s|It\s|They\s|Their\s|Our\s|We\s|But\s|However\s|That\s|This\s|Wherever)"
)
_ABBREVIATED = r"(Inc|Ltd|Jr|Sr|Co)"
_RULES: list[tuple[str, str]] = [
    (r"(Mr|St|Mrs|Ms|Dr)[.]", rf"\1{_DOT}"),
    (r"[.](com|net|org|io|gov|edu|me)", rf"{_DOT}\1"),
    (r"([0-9])[.]([0-9])", rf"\1{_DOT}\2"),
    (r"\.{2,}", ""),
    (r"Ph\.D\.", f"Ph{_DOT}D{_DOT}"),
    (r"\s([A-Za-z])[.] ", rf" \1{_DOT} "),
    (rf"([A-Z][.][A-Z][.](?:[A-Z][.])?) {_BEGINS}", rf"\1{_END} \2"),
    (r"([A-Za-z])[.]([A-Za-z])[.]([A-Za-z])[.]", rf"\1{_DOT}\2{_DOT}\3{_DOT}"),
    (r"([A-Za-z])[.]([A-Za-z])[.]", rf"\1{_DOT}\2{_DOT}"),
    (rf" {_ABBREVIATED}[.] {_BEGINS}", rf" \1{_END} \2"),
    (rf" {_ABBREVIATED}[.]", rf" \1{_DOT}"),
    (r" ([A-Za-z])[.]", rf" \1{_DOT}"),
]
_QUOTED = [(".”", "”."), ('."', '".'), ('!"', '"!'), ('?"', '"?')]


def rule_sentences(text: str) -> list[str]:
    """Sentences by the rules of the published checkers of IF-RLVR, which do not use Punkt."""
    text = f" {text}  ".replace("\n", " ")
    for pattern, into in _RULES:
        dots = pattern == r"\.{2,}"
        text = re.sub(pattern, (lambda found: _DOT * len(found[0]) + _END) if dots else into, text)
    for quoted, moved in _QUOTED:
        text = text.replace(quoted, moved)
    for mark in ".?!":
        text = text.replace(mark, mark + _END)
    found = [part.strip() for part in text.replace(_DOT, ".").split(_END)]
    return found if found[-1] else found[:-1]
