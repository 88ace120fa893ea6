r"""Uniform spelling of mathematics: one form for Unicode signs, LaTeX variants and calculator syntax."""

from __future__ import annotations

import re
import unicodedata

_SIGNS = {
    **dict.fromkeys("−–—‐‑‒﹣－", "-"),
    **dict.fromkeys("×·⋅∙•", r"\cdot "),
    **{"÷": "/", "∕": "/", "⁄": "/", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne "},
    **{"±": r"\pm ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "°": r"^\circ ", "≈": r"\approx "},
    **{"⩽": r"\le ", "⩾": r"\ge ", "ℝ": r"\mathbb{R}", "∑": r"\sum ", "∫": r"\int ", "∏": r"\prod ", "º": r"^\circ "},
    **{"“": '"', "”": '"', "’": "'", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "。": ".", "、": ",", "…": "..."},
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
}
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi"
)
_SIGNS |= {
    unicodedata.lookup(f"GREEK {case} LETTER {'LAMDA' if name == 'lambda' else name.upper()}"): f"\\{spelled} "
    for name in [*_GREEK.split(), "psi", "omega"]
    for case, spelled in (("SMALL", name), ("CAPITAL", name.capitalize()))
}
_POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_INDICES = str.maketrans("₀₁₂₃₄₅₆₇₈₉₋₊", "0123456789-+")
_FRACTIONS = re.compile("(\\d?)\\s*([¼-¾⅐-⅞])")
_DOLLAR = re.compile(r"(?<!\\)\\\$")
r"""An escaped dollar sign, as opposed to a line break before a closing dollar sign (`\\$`)."""
_SEPARATOR = re.compile(r"(?<=\d)(?:\\[!,;: ]|\{,\}|,\\!)+(?=\d{3}(?!\d))")
"""LaTeX's spacing or commas between groups of three digits."""
_GROUPED = re.compile(r"(?<![\w.,])\d{1,3}(?:([ _'])\d{3}(?:\1\d{3})*|(\.)\d{3}(?:\.\d{3})+)(?![\w.'/]|,\d)")
"""A number with groups of three digits, separated by spaces, underscores or apostrophes, or by at least two dots."""
_FONT = re.compile(
    r"\\(?:mathrm|mathbf|mathit|mathsf|mathcal|operatorname\*?|boldsymbol|bm|rm|bf|displaystyle|underline|uline|"
    r"[lL]arge|LARGE|[hH]uge|small|tiny|normalsize)(?![a-zA-Z])\s*"
)
_UPRIGHT = re.compile(r"\\(?:mathrm|operatorname\*?)\s*\{([^{}]*)\}")
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mbox|emph|textsf|texttt)\s*\{([^{}]*)\}")
_SPACING = re.compile(
    r"\\(?:[!,;:>]|quad|qquad|left|right|[bB]igg?[lrm]?|limits|nonumber|hspace\{[^{}]*\})(?![a-zA-Z])"
)
_RENAMED = {
    r"\\(?:d|t|c)frac(?![a-z])": r"\\frac",
    r"\\(?:leq|leqslant|leq)(?![a-z])": r"\\le ",
    r"\\(?:geq|geqslant)(?![a-z])": r"\\ge ",
    r"\\lt(?![a-z])": "<",
    r"\\gt(?![a-z])": ">",
    r"<=|=<": r"\\le ",
    r">=": r"\\ge ",
    r"\\(?:times|ast)(?![a-z])": r"\\cdot ",
    r"\\div(?![a-z])": "/",
    r"\\(?:varnothing)(?![a-z])": r"\\emptyset ",
    r"\\degree(?![a-z])|\\textdegree(?![a-z])|\^\{\\circ\}|\^\s*\\circ(?![a-z])": r"^\\circ ",
    r"\\(?:lbrace)(?![a-z])": r"\\{",
    r"\\(?:rbrace)(?![a-z])": r"\\}",
    r"\\(?:lvert|rvert|vert|mid)(?![a-z])": "|",
    r"\\(?:ldots|dots|cdots)(?![a-z])": "...",
    r"\{?\s*(\w+|\{\w+\})\s*\\choose(?![a-z])\s*(\w+|\{\w+\})\s*\}?": r"\\binom{\1}{\2}",
    r"(?:(?<=[\s(\[,{])|^)\+\s*\\infty(?![a-z])": r"\\infty",
    r"\(?\\?\b[pb]?mod(?:ulo)?(?![a-z])\s*\{?\s*(\w+)\s*\}?\s*\)?": r" \\mod \1",
    r"<<[^<>]*>>": "",
    r"\\(?:text)?color\s*\{[^{}]*\}": "",
    r"\*\*": "^",
    r"\*": r"\\cdot ",
    r"\\%": "%",
}
_RENAMES = [(re.compile(pattern), into) for pattern, into in _RENAMED.items()]
_WORDS = re.compile(
    r"(?<![\\a-zA-Z])(sqrt|pi|infinity|inf|sin|cos|tan|cot|sec|csc|log|ln|exp|arcsin|arccos|arctan)(?![a-zA-Z])"
)


def plain_amounts(text: str) -> str:
    r"""The text without LaTeX's escapes around amounts: `\$36` is 36, and `32\,348` is 32348."""
    return _SEPARATOR.sub("", _DOLLAR.sub("", text))


def with_decimal_point(text: str) -> str:
    """The text with a decimal comma as a point: `3,14`, but not `1,234`."""
    return re.sub(r"(?<![\d,.])(0|[1-9]\d*),(?:(?=\d{3}(?!\d))(?<=^0,)|(?!\d{3}(?!\d)))(?=\d+(?![\d,.]))", r"\1.", text)


def is_delimited(text: str) -> bool:
    """Whether the text contains math delimiters."""
    return any(mark in text for mark in ("$", r"\(", r"\[", r"\boxed"))


def ascii_signs(text: str) -> str:
    """The text with Unicode signs, powers and fractions in LaTeX's spelling."""
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+", lambda found: "^{" + found[0].translate(_POWERS) + "}", text)
    text = re.sub(r"[₀₁₂₃₄₅₆₇₈₉₋₊]+", lambda found: "_{" + found[0].translate(_INDICES) + "}", text)
    text = _FRACTIONS.sub(_fraction, text)
    text = re.sub(r"([√∛∜])\s*(\([^()]*\)|\w+)?", lambda found: _ROOTS[found[1]] + "{" + (found[2] or "") + "}", text)
    text = "".join(_SIGNS.get(sign, sign) for sign in text)
    return unicodedata.normalize("NFKC", text)


_ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}


def _fraction(found: re.Match[str]) -> str:
    top, _, bottom = unicodedata.normalize("NFKC", found[2]).partition("⁄")
    return f"{found[1]}\\frac{{{top}}}{{{bottom}}}"


def uniform(text: str) -> str:
    """An expression in one spelling; texts inside it become plain words."""
    text = re.sub(r"(?<=\d)\{,\}(?!\d{3}(?!\d))(?=\d)", ".", text)  # a decimal comma
    text = re.sub(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+,\d+(?![\d.,])", _with_point, text)
    text = re.sub(r"(?<=\d)\s*x\s*(?=10\s*\^)", r"\\cdot ", plain_amounts(ascii_signs(text)))
    text = _GROUPED.sub(lambda found: re.sub(r"\D", "", found[0]), text)
    text = _TEXT.sub(lambda found: f" {found[1]} ", text)
    text = _FONT.sub("", _UPRIGHT.sub(r" \1 ", text))
    text = re.sub(r"(?<!\\)\\ |~", " ", _SPACING.sub("", text))
    for pattern, into in _RENAMES:
        text = pattern.sub(into, text)
    text = re.sub(r"\$|(?<!\\)\\[()\[\]]", "", text)
    text = re.sub(r"\^\s*([-+]\d+)", r"^{\1}", re.sub(r"\s+_(?=\{)", "_", text))
    text = re.sub(r"_([0-9a-zA-Z])(?![0-9a-zA-Z])", r"_{\1}", text)
    text = re.sub(r"\bInfinity\b", "infinity", text)
    text = _WORDS.sub(lambda found: "\\" + {"infinity": "infty", "inf": "infty"}.get(found[0], found[0]), text)
    return _arguments(text).strip()


def _with_point(found: re.Match[str]) -> str:
    """A number such as 1.234,56 with a decimal point."""
    return found[0].replace(".", "").replace(",", ".")


def _arguments(text: str) -> str:
    r"""The text with braces around the arguments of fractions, roots and powers: `\frac12`, `\sqrt2`, `2^(1/2)`."""
    text = re.sub(r"\\frac\s*([0-9a-zA-Z])\s*([0-9a-zA-Z])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s*(\{[^{}]*\})\s*([0-9a-zA-Z])", r"\\frac\1{\2}", text)
    text = re.sub(r"\\frac\s*([0-9a-zA-Z])\s*(\{[^{}]*\})", r"\\frac{\1}\2", text)
    text = re.sub(r"\\sqrt\s*([0-9a-zA-Z])", r"\\sqrt{\1}", text)
    for opening in (r"\sqrt", "^"):
        text = _braced(text, opening)
    return text


def _braced(text: str, opening: str) -> str:
    r"""The text with `\sqrt(…)` or `^(…)` as `\sqrt{(…)}` or `^{(…)}`."""
    start = 0
    while (at := text.find(opening + "(", start)) >= 0:
        begin = at + len(opening)
        end = closing(text, begin)
        if end is None:
            return text
        text = f"{text[:begin]}{{{text[begin : end + 1]}}}{text[end + 1 :]}"
        start = begin + 1
    return text


PAIRS = {"(": ")", "[": "]", "{": "}"}


def closing(text: str, begin: int) -> int | None:
    """Index of the bracket that closes the one at `begin`, of the same kind; `None` if it is never closed."""
    opened, closed, depth = text[begin], PAIRS[text[begin]], 0
    for i in range(begin, len(text)):
        if text[i] in (opened, closed) and not (opened == "{" and _is_escaped(text, i)):
            depth += 1 if text[i] == opened else -1
            if depth == 0:
                return i
    return None


def _is_escaped(text: str, at: int) -> bool:
    """Whether an odd number of backslashes is before the sign."""
    before = text[max(0, at - 20) : at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1
