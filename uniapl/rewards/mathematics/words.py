"""Answers in words and letters of multiple choice."""

from __future__ import annotations

import re

_CHOICE = re.compile(r"[\s*({\[]*([A-J])\s*(?:[)}\].:]+|$)[\s)}*.]*(.*)", re.DOTALL)
_LOWER = re.compile(r"[\s*({\[]*([a-j])[\s)}\]*.:]*")
_CHOSEN = re.compile(r"(?:^|[^A-Za-z\\])\(?([A-J])[)\s*.!]*$")
_ALTERNATIVE = re.compile(r"(?:^|[^A-Za-z])[A-J]\)?\s*(?:,|\bor\b|\band\b|/)\s*(?:or\s+|and\s+)?\(?[A-J]\b")
_NAMED = re.compile(
    r"(?:^|.*[,;:]\s*)(?:so\s+|thus\s+|hence\s+|therefore,?\s+)?(?:the\s+)?(?:option\s+|choice\s+|answer\s+)?"
    r"\(?([A-J])\)?\s+is\s+(?:the\s+|an?\s+)?(?:only\s+)?(?:correct|right|best|true|answer)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_SEVERAL = re.compile(r"\(?([A-J])\)?(?:\s*(?:,\s*and|,|;|and|&|\s)\s*\(?([A-J])\)?)+")
_NEGATED = re.compile(r"\b(?:not|isn't|neither|never|cannot|can't|won't)\b", re.IGNORECASE)
_SAME = {
    **dict.fromkeys(
        ("no solution", "no solutions", "none", "\\emptyset", "empty set", "no answer", "{}", r"\{\}"), "no solution"
    ),
    **dict.fromkeys(("no real solution", "no real solutions"), "no real solution"),
    **dict.fromkeys(("infinitely many solutions", "infinitely many", "infinite solutions"), "infinitely many"),
    **dict.fromkeys(("does not exist", "doesn't exist", "dne", "undefined", "not defined"), "undefined"),
    **dict.fromkeys(("all real numbers", "all reals", "\\mathbb{r}", "(-\\infty,\\infty)"), "all real numbers"),
}
_OPENINGS = re.compile(r"^(?:there (?:is|are)|it is|it's|it has|the equation has|the|an?)\s+", re.IGNORECASE)
_FUNCTION = re.compile(r"\\[a-zA-Z]+")


def choice(gold: str) -> tuple[str, str] | None:
    r"""The letter of a multiple-choice gold and the value beside it, as in `(B) 12`; `None` for another gold."""
    found = _CHOICE.fullmatch(gold.strip())
    return (found[1], found[2].strip()) if found else None


def chosen(text: str, *, whole: bool) -> str | None:
    """The letter that a text chooses; `None` if it chooses none or several.

    Args:
        text: an answer, with uniform spelling.
        whole: whether the text is the answer alone, so that it may begin with the letter, or a sentence that ends
            with it.
    """
    if _ALTERNATIVE.search(text) and not text.strip().startswith("("):
        return _last_of_choices(text) if not whole else None
    if _NEGATED.search(text):
        return None
    if (found := _CHOICE.fullmatch(text.strip())) or (found := _LOWER.fullmatch(text.strip())):
        return found[1].upper()
    if whole and (begun := re.match(r"\s*\(?([A-J])\)?[,;]?\s+(?:because|since|as)\b", text)):
        return begun[1]
    if named := _NAMED.fullmatch(text):
        return named[1].upper()
    ended = _CHOSEN.search(text)
    return ended[1] if ended else None


def choices(text: str) -> frozenset[str] | None:
    """The letters of a question with several right choices, as in `A, C` or `ACD`; `None` for another text."""
    bare = text.strip().rstrip(".")
    letters = re.findall(r"[A-J]", bare)
    ordered = len(letters) > 1 and letters == sorted(set(letters))
    listed = _SEVERAL.fullmatch(bare) is not None and len(set(letters)) == len(letters)
    return frozenset(letters) if listed or (ordered and bare == "".join(letters)) else None


def _last_of_choices(text: str) -> str | None:
    """The letter behind the last verb of choice: `Between A and B, I choose A.`"""
    found = re.search(r"\b(?:choose|pick|select|is|so)\s+\(?([A-J])\)?[.!\s]*$", text)
    return found[1] if found else None


def is_text(text: str) -> bool:
    """Whether an expression is words, not mathematics."""
    bare = _FUNCTION.sub(" ", text)
    if re.search(r"[\d=+^_<>/\\|]", bare):
        return False
    runs = re.findall(r"[^\W\d_]+", bare)
    return any(len(run) >= 3 for run in runs) or bool(runs and " ".join(runs).casefold() in ("no", "is", "yes"))


def plain_words(text: str) -> str:
    """Words in a canonical form: case, punctuation, articles and known synonyms removed."""
    words = re.sub(r"[\"'`*_{}]|[.!,;:]+(?=\s|$)", "", text) if "\\" not in text else text
    words = " ".join(words.split())
    while (shorter := _OPENINGS.sub("", words)) != words:
        words = shorter
    folded = words.casefold().strip()
    return _SAME.get(folded, folded)


def same_words(gold: str, answer: str) -> bool:
    """Whether two texts are equal up to case, punctuation, articles and known synonyms."""
    parts = [sorted(map(plain_words, re.split(r",|\band\b", text))) for text in (gold, answer)]
    return plain_words(gold) == plain_words(answer) or (len(parts[0]) > 1 and parts[0] == parts[1])
