r"""The expressions of an answer that count as its final answer.

The most explicit place wins, and within it the last: `<answer>…</answer>`, then `\boxed{…}`, then a sentence such as
"The answer is …" or a line `#### …`, then the last formula or the last line.
"""

from __future__ import annotations

import re

from uniapl.rewards.mathematics.notation import closing
from uniapl.rewards.mathematics.units import is_unit

_CALCULATOR = re.compile(r"<<[^<>\n]{0,200}>>(?=[\d.$-])")
"""A calculation of GSM8K's solutions, before its result."""
_DECORATION = re.compile("[\u2600-\u27bf\U0001f300-\U0001faff\ufe0f]+")
_ALIGNED = re.compile(r"\\begin\{(align|aligned|gather|gathered|equation|split)(\*?)\}(.*?)\\end\{\1\2\}", re.DOTALL)
MAX_BOXES = 20
"""Number of boxes that are read, from the last one backwards."""
_BOX = re.compile(r"\\(?:boxed|fbox|framebox|answer)(?![a-zA-Z])\s*|(?<![a-zA-Z\\])boxed(?=\{)")
_TAG = re.compile(r"<(/?)(?:final_|final-)?answer>", re.IGNORECASE)
_SEPARATORS = re.compile(r"(?:[\s,;.$]|\\[,;()\[\]]|\\q?quad|\\text\{|\}|\band\b|\bor\b|[和或、，])*", re.IGNORECASE)
"""What may separate the boxes of several answers."""
_MARKER = re.compile(
    r"####|(?:\b(?:final|correct|right)\s+)?\b(?:answer|option|choice)\b[*_\s\"']*"
    r"(?:is|are|:|=|would be|must be)[*_:\s]*(?:option\b|choice\b|therefore\b|:)?|\banswer[*_]*:"
    r"|(?:答案|答え|解答|正解|정답|답)[是为為はが은는：:\s]+|(?:故|应|應)?(?:答案)?[选選]择?[：:]?\s*(?=[(（]?[A-J])",
    re.IGNORECASE,
)
_BOLD = re.compile(r"(?<!\w)(?:\*\*|__)(?=\S)(.+?)(?<=\S)(?:\*\*|__)(?!\w)")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?;](?:\s+|$)|[。！？]")
_CLAUSE = re.compile(
    r"(?<=[^\s,])(?:,\s+(?=(?:which|so|because|since|as|in|that|where|when|with|while|although|for|not|this|it|the|if|"
    r"after|altogether|total|making|meaning|given|hence|therefore|thus)\b)|\s+\((?=[a-z]{2,}[\s)-])"
    r"|\s+(?=because\b|since\b))"
)
"""The end of an answer before a clause about it: `7, which is prime`."""
_BOUND = re.compile(
    r"\b(?:(?:less|more|greater|fewer|larger|smaller|other)\s+than|at\s+(?:least|most)|up\s+to|nearly|almost|over|under"
    r"|below|above|step|problem|question|exercise|chapter|page|part|case|example|figure|equation|section|table|row)"
    r"\s*[$#(]*$",
    re.IGNORECASE,
)
"""Words before a number that is a bound or a label, not an answer."""
_LEAD = re.compile(
    r".*(?:\b(?:is|are|be|equals|get|gets|gives|obtain|have|has|find|therefore|thus|hence|so|choose|option)\b|:)",
    re.IGNORECASE,
)
_DENIED = re.compile(r"\b(?:not|cannot|never|\w+n't)\s+\w+$", re.IGNORECASE)
_ANY_NUMBER = re.compile(r"(?<![a-zA-Z0-9_.,])([-+−]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?)(?![a-zA-Z0-9_])\s*([a-zA-Z]+)?")
_LAST_NUMBER = re.compile(r"(?<![\d,.])([-+−]?\$?(?:\d[\d,]*)?(?:\.\d+|(?<=\d))(?:/\d+)?%?)[\s.!)]*$")


def final_expressions(answer: str) -> list[str]:
    """Expressions that count, equivalent to one another in rank; none if the explicit place is empty."""
    answer = _ALIGNED.sub(_last_row, _DECORATION.sub("", _CALCULATOR.sub("", answer)))
    if opened := [tag for tag in _TAG.finditer(answer) if not tag[1]]:
        return final_expressions(_TAG.split(answer[opened[-1].end() :], maxsplit=1)[0])
    if boxes := _boxes(answer):
        return _of_boxes(answer, boxes)
    markers = list(_MARKER.finditer(answer))
    if markers:
        return _of_text(_after(answer, markers[-1].end()), whole=True)
    return _of_text(_last_line(answer), whole=False)


def _last_row(found: re.Match[str]) -> str:
    """The last row of an aligned formula."""
    rows = [row for row in found[3].replace("&", "").split("\\\\") if row.strip()]
    return " ".join(rows[-1].split()) if rows else ""


def _boxes(answer: str) -> list[tuple[int, int, str]]:
    """Begin, end and content of the boxes, in order."""
    found = []
    for box in list(_BOX.finditer(answer))[-MAX_BOXES:]:
        begin = box.end()
        if answer[begin : begin + 1] != "{":
            bare = re.split(r"[\s$]", answer[begin:].strip(), maxsplit=1)[0]
            found.append((box.start(), answer.find(bare, begin) + len(bare), bare))
            continue
        end = closing(answer, begin)
        if found and box.start() < found[-1][1]:
            found.pop()  # a box in a box
        found.append((box.start(), len(answer) if end is None else end + 1, answer[begin + 1 : end]))
    return found


def _of_boxes(answer: str, boxes: list[tuple[int, int, str]]) -> list[str]:
    """The last box, or the last boxes if only separators are between them; else all as a list of answers."""
    last = boxes[-1][2]
    if not last.strip():
        return []
    adjacent = [last]
    for (_, end, content), (begin, *_) in zip(boxes[-2::-1], boxes[:0:-1], strict=True):
        if not _SEPARATORS.fullmatch(answer[end:begin]):
            break
        adjacent.insert(0, content)
    if len(set(adjacent)) > 1:
        return [", ".join(dict.fromkeys(adjacent))]
    if _MARKER.search(last):  # a sentence in a box
        return final_expressions(re.sub(r"\\text\s*\{(.*)\}", r"\1", last))
    contents = dict.fromkeys(content for *_, content in boxes)
    return [last, ", ".join(contents)] if len(contents) > 1 else [last]


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
    text = re.sub(r"^>\s+|^<([^<>]+)>$", r"\1", text.strip().strip("`"))
    text = _BOLD.sub(r"\1", text).strip("*_ \t")
    text = re.sub(r"\*\*(?!\w)|(?<!\w)\*\*", "", text)
    if not text:
        return []
    formulas = [next(filter(None, found.groups())) for found in _FORMULA.finditer(text)]
    formulas = [formula for formula in formulas if not re.search(r"(?<![\\a-zA-Z{])[a-z]{3,} ", formula)]
    text = _last_sentence(text) if not whole else _SENTENCE_END.split(text, maxsplit=1)[0] or text
    text = text.rstrip("}'\"") if text.count("}") > text.count("{") else text
    readings = [text]
    if len(clauses := _CLAUSE.split(text)) > 1:
        readings.append(clauses[0])
    if (led := _LEAD.match(clauses[0])) or (led := _LEAD.match(text)):
        source = clauses[0] if led.end() <= len(clauses[0]) else text
        readings += [source[led.end() :]] if not _DENIED.search(source[: led.end()]) else []
    if "=" in text and not whole and re.search(r"(?<![\\a-z])[a-z]{3,}", text.rpartition("=")[0]):
        readings.append(text.rpartition("=")[2])
    if formulas and (not whole or len(formulas) == 1):
        readings.append(formulas[-1])
    if not formulas and not whole and _is_prose(text):
        readings.extend(_number_of_prose(text))
    return list(dict.fromkeys(reading.strip(" \t*:,") for reading in readings if reading.strip(" \t*:,.")))


def _number_of_prose(text: str) -> list[str]:
    """The number that ends a sentence, or the only one in it, with its unit of measurement."""
    text = _CLAUSE.split(text)[0]
    if (last := _LAST_NUMBER.search(text)) and not _BOUND.search(text[: last.start()]):
        return [last[1]]
    found = [each for each in _ANY_NUMBER.finditer(text) if not _BOUND.search(text[: each.start()])]
    if len(found) != 1:
        return []
    number, following = found[0].groups()
    return [f"{number} {following}" if following and is_unit(following) else number]


def _is_prose(text: str) -> bool:
    """Whether the text is a sentence whose last number may be its answer: no formula, negation or enumeration."""
    if re.search(r"\b(?:not|no|never|cannot|or|and)\b|n't|=|, \S*\d", text, re.IGNORECASE):
        return False
    return bool(re.search(r"[a-z]{2} |[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]", text))


def _last_sentence(text: str) -> str:
    """The last sentence of a line."""
    parts = [part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z$\\])", text) if part.strip()]
    return parts[-1] if parts else text
