r"""Gold values in the answers of mathematical datasets: `\boxed{…}`, `#### 7`, and bare values."""

from __future__ import annotations

import re
from typing import Any

MAX_VALUE = 300
"""Maximum length of a bare value, in characters; longer texts are worked solutions."""
_GSM8K = re.compile(r"(?:^|\n)\s*####\s*(\S[^\n]*?)\s*$")
"""The final value of a GSM8K answer."""
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
"""A thousands separator, as opposed to a comma between list items."""
_BOXED = re.compile(r"\\boxed\s*(?:\{|(?=[^\s{]))")
_TEXT = re.compile(r"\\(?:text|mathrm|mbox|textbf|operatorname)\s*\{[^{}]*\}|\\[a-zA-Z]+")
"""LaTeX commands, and commands whose argument is text."""
_WORD = re.compile(r"[^\W\d_]{2,}")
_LETTER = re.compile(r"\(?[A-J]\)?\.?")
"""A multiple-choice answer."""


def worked_value(text: str) -> str | None:
    r"""The final value of a worked solution: the last `\boxed{…}`, or what follows `####` at its end."""
    if found := _GSM8K.search(text):
        return _THOUSANDS.sub("", found[1])
    starts = list(_BOXED.finditer(text))
    return _braced(text, starts[-1]) if starts else None


def _braced(text: str, start: re.Match[str]) -> str | None:
    r"""The argument of `\boxed`; `None` if it is empty or not closed."""
    if not start[0].endswith("{"):
        return text[start.end()].strip("$") or None  # `\boxed 7`
    depth = 1
    for place in range(start.end(), len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0) if text[place - 1] != "\\" else 0
        if depth == 0:
            return text[start.end() : place].strip() or None
    return None


def bare_value(value: Any) -> str | None:
    """A number or a mathematical expression as text; `None` for words, sentences and other values.

    `$7$` and `\\frac{1}{2}` are values; `Paris` and `7 apples` are not.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    text = str(value).strip()
    if not text or len(text) > MAX_VALUE or "\n" in text or not any(c.isalnum() for c in text):
        return None
    bare = _TEXT.sub(" ", text)
    if _LETTER.fullmatch(text) or (_WORD.search(bare) is None and not text.endswith(("?", "!"))):
        return _THOUSANDS.sub("", text) if _is_grouped(text) else text
    return None


def _is_grouped(text: str) -> bool:
    """Whether a text is one number with thousands separators."""
    return re.fullmatch(r"\$?-?\d{1,3}(,\d{3})+(\.\d+)?\$?", text) is not None
