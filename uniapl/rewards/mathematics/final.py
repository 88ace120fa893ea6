r"""The expressions of an answer that count as its final answer.

The most explicit place wins, and within it the last: `<answer>…</answer>`, then `\boxed{…}`, then a sentence such as
"The answer is …" or a line `#### …`, then the last formula or the last line.
"""

from __future__ import annotations

import re

from uniapl.rewards.mathematics.atoms import is_unit
from uniapl.rewards.mathematics.notation import closing

MAX_BOXES = 20
"""Number of boxes that are read, from the last one backwards."""
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![a-zA-Z])\s*")
_MARKER = re.compile(
    r"####|(?:\b(?:final|correct|right)\s+)?\b(?:answer|option|choice)\b[*_\s]*(?:is|are|:|=|would be|must be)[*_:\s]*"
    r"(?:option\b|choice\b|therefore\b|:)?|\banswer[*_]*:",
    re.IGNORECASE,
)
_BOLD = re.compile(r"(?<!\w)(?:\*\*|__)(?=\S)(.+?)(?<=\S)(?:\*\*|__)(?!\w)")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?;](?:\s+|$)")
_LEAD = re.compile(
    r".*(?:\b(?:is|are|be|equals|get|gets|gives|obtain|have|has|find|therefore|thus|hence|so|choose|option)\b|:)",
    re.IGNORECASE,
)
_ANY_NUMBER = re.compile(r"(?<![\w.,])([-+−]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?)(?![\w])\s*([a-zA-Z]+)?")
_LAST_NUMBER = re.compile(r"(?<![\d,.])([-+−]?\$?(?:\d[\d,]*)?(?:\.\d+|(?<=\d))(?:/\d+)?%?)[\s.!)]*$")


def final_expressions(answer: str) -> list[str]:
    """Expressions that count, equivalent to one another in rank; none if the explicit place is empty."""
    opened = answer.rfind("<answer>")
    if opened >= 0:
        return final_expressions(answer[opened + len("<answer>") :].partition("</answer>")[0])
    if boxes := _boxes(answer):
        return _of_boxes(boxes)
    markers = list(_MARKER.finditer(answer))
    if markers:
        return _of_text(_after(answer, markers[-1].end()), whole=True)
    return _of_text(_last_line(answer), whole=False)


def _boxes(answer: str) -> list[str]:
    """Contents of the boxes, in order."""
    found = []
    for box in list(_BOX.finditer(answer))[-MAX_BOXES:]:
        begin = box.end()
        if answer[begin : begin + 1] != "{":
            found.append(re.split(r"[\s$]", answer[begin:].strip(), maxsplit=1)[0])
            continue
        end = closing(answer, begin)
        found.append(answer[begin + 1 : end])
    return found


def _of_boxes(boxes: list[str]) -> list[str]:
    """The last box, or all as a list of answers."""
    if not boxes[-1].strip():
        return []
    last = boxes[-1]
    if nested := list(_BOX.finditer(last)):  # a box in a box
        last = last[nested[-1].end() :].strip("{} ")
    return [last, ", ".join(dict.fromkeys(boxes))] if len(boxes) > 1 else [last]


def _after(answer: str, begin: int) -> str:
    """The line at `begin`, or the next one with text."""
    for line in answer[begin:].split("\n"):
        if line.strip(" *_:$\t\\[("):
            return line
    return ""


def _last_line(answer: str) -> str:
    """The last line with text; a displayed formula is one line."""
    joined = re.sub(r"\\\[(.+?)\\\]|\$\$(.+?)\$\$", lambda found: found[0].replace("\n", " "), answer, flags=re.DOTALL)
    lines = [line for line in joined.split("\n") if line.strip(" *_$\t`")]
    return lines[-1] if lines else ""


def _of_text(text: str, *, whole: bool) -> list[str]:
    """Readings of a sentence: itself, its last formula, its part after a verb, its last word if that is a number.

    Args:
        text: the sentence.
        whole: whether all of it is the answer, so that its last number is not.
    """
    text = _BOLD.sub(r"\1", text.strip().strip("`")).strip("*_ \t")
    if not text:
        return []
    formulas = [next(filter(None, found.groups())) for found in _FORMULA.finditer(text)]
    formulas = [formula for formula in formulas if not re.search(r"(?<![\\a-zA-Z{])[a-z]{3,} ", formula)]
    text = _last_sentence(text) if not whole else _SENTENCE_END.split(text, maxsplit=1)[0] or text
    readings = [text]
    if led := _LEAD.match(text):
        readings.append(text[led.end() :])
    if formulas and (not whole or len(formulas) == 1):
        readings.append(formulas[-1])
    if not formulas and not whole and _is_prose(text):
        readings.extend(_number_of_prose(text))
    return list(dict.fromkeys(reading.strip(" \t*:") for reading in readings if reading.strip(" \t*:.")))


def _number_of_prose(text: str) -> list[str]:
    """The number that ends a sentence, or the only one in it, with its unit of measurement."""
    if last := _LAST_NUMBER.search(text):
        return [last[1]]
    found = list(_ANY_NUMBER.finditer(text))
    if len(found) != 1:
        return []
    number, following = found[0].groups()
    return [f"{number} {following}" if following and is_unit(following) else number]


def _is_prose(text: str) -> bool:
    """Whether the text is a sentence whose last number may be its answer: no formula, negation or enumeration."""
    if re.search(r"\b(?:not|no|never|cannot|or|and)\b|n't|=|, \S*\d", text, re.IGNORECASE):
        return False
    return bool(re.search(r"[a-z]{2} ", text))


def _last_sentence(text: str) -> str:
    """The last sentence of a line."""
    parts = [part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z$\\])", text) if part.strip()]
    return parts[-1] if parts else text
