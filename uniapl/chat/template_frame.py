"""Tags of a template's own around reasoning and answers, found in rendered conversations.

Templates may have tags that are not in `FRAMES`, such as `<mm:think>`, and write a header before an answer, such as a
recipient. Both are found by the template itself: a conversation is rendered with a reasoning field and without.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from uniapl.chat.end_of_turn import find_end_of_turn
from uniapl.chat.frames import FRAMES, Frame
from uniapl.chat.template import TEMPLATE_ERRORS, TemplateOptions, Thinking, render, source_text

QUESTION, REASONING, ANSWER = "6180273945", "2759136408", "8346205917"
"""Contents that no template contains."""
_MODES: tuple[Thinking, ...] = ("on", "off")
_cache: WeakKeyDictionary[Any, tuple[str, Frame | None]] = WeakKeyDictionary()


def template_frame(tokenizer: Any) -> Frame | None:
    """The tags of a tokenizer's template; `None` where they are those of `FRAMES`, or where it has none."""
    source = source_text(tokenizer)
    if (known := _cache.get(tokenizer)) is None or known[0] != source:
        _cache[tokenizer] = known = (source, _found(tokenizer))
    return known[1]


def reasoning_fields(reasoning: str) -> dict[str, str]:
    """The names under which templates read reasoning."""
    return dict.fromkeys(("reasoning_content", "reasoning", "thinking"), reasoning)


def _found(tokenizer: Any) -> Frame | None:
    try:
        prompts = [_after_question(tokenizer, None, mode) for mode in _MODES]
        plain = _after_question(tokenizer, {"content": ANSWER}, "on")
        reasoned = _after_question(tokenizer, {"content": ANSWER, **reasoning_fields(REASONING)}, "on")
    except TEMPLATE_ERRORS:
        return None
    role = _whole_tags(_common_start([*prompts, plain, reasoned]))
    header, answered, rest = plain.removeprefix(role).partition(ANSWER)
    opening, reasons, after = reasoned.removeprefix(role).partition(REASONING)
    closing, follows, _ = after.partition(ANSWER)
    before, end = header.strip(), _before_end(tokenizer, rest)
    if not answered or any(
        tag in role + opening + header for frame in FRAMES for tag in (frame.opening, frame.closing)
    ):
        return None
    if reasons and follows and opening.strip() and closing.strip():
        return Frame(opening.strip(), closing.strip(), before, end)
    return Frame("", "", before, end) if _shown(tokenizer, before) or _shown(tokenizer, end) else None


def _after_question(tokenizer: Any, answer: dict[str, str] | None, mode: Thinking) -> str:
    """What the template writes after a question, with this answer or as generation prompt."""
    turns: list[dict[str, str]] = [{"role": "user", "content": QUESTION}]
    turns += [] if answer is None else [{"role": "assistant", **answer}]
    text = render(tokenizer, turns, generation=answer is None, options=TemplateOptions(mode))
    return text.rpartition(QUESTION)[2]


def _common_start(texts: list[str]) -> str:
    """The longest text with which all of them begin."""
    first, last = min(texts), max(texts)  # all others are between these two
    differs = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:differs]


def _whole_tags(text: str) -> str:
    """The text without a tag that begins at its end."""
    begun = max(text.rfind("<"), text.rfind("["))
    return text[:begun] if begun > max(text.rfind(">"), text.rfind("]")) else text


def _before_end(tokenizer: Any, text: str) -> str:
    """The text before the end of turn; empty without one."""
    end = find_end_of_turn(tokenizer, {int(tokenizer.eos_token_id)}).token
    before, found, _ = text.partition(str(tokenizer.decode([end]))) if end is not None else ("", "", "")
    return before.strip() if found else ""


def _shown(tokenizer: Any, text: str) -> bool:
    """Whether a text has more than special tokens, which are not part of an answer's text."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return bool(str(tokenizer.decode(ids, skip_special_tokens=True)).strip())
