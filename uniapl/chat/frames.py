"""Reasoning blocks of known chat formats: their tags, and the split of an answer from its reasoning."""

from __future__ import annotations

import re
from dataclasses import dataclass

OPENING, CLOSING = "<think>", "</think>"


@dataclass(frozen=True)
class Frame:
    """The tags of a reasoning block, and of the answer after it where it has tags."""

    opening: str
    closing: str
    answer: str = ""
    """Tag that begins the answer."""
    end: str = ""
    """Tag that ends the answer."""
    line: str = ""
    """Line break inside the block, twice after it."""

    @property
    def marker(self) -> str:
        """The first tag of the opening, by which a template names the block."""
        return self.opening[: self.opening.find(">") + 1] if self.opening.startswith("<") else self.opening


THINK = Frame(OPENING, CLOSING, line="\n")
HARMONY = Frame(
    "<|channel|>analysis<|message|>", "<|end|>", "<|start|>assistant<|channel|>final<|message|>", "<|return|>"
)
"""Channels of gpt-oss."""
COMMAND = Frame("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>")
FRAMES: tuple[Frame, ...] = (
    THINK,
    Frame("<thinking>", "</thinking>", line="\n"),
    Frame("<thought>", "</thought>", line="\n"),
    Frame("<reasoning>", "</reasoning>", line="\n"),
    Frame("<seed:think>", "</seed:think>"),
    Frame("[THINK]", "[/THINK]"),
    Frame("◁think▷", "◁/think▷"),
    Frame("<|channel>thought\n", "<channel|>"),
    Frame("<|inner_prefix|>", "<|inner_suffix|>"),
    Frame("Here is my thought process:", "Here is my response:", line="\n"),  # Granite 3.2
    Frame("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", line="\n"),  # Apriel
    Frame("<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>"),
    COMMAND,
    HARMONY,
)
"""Blocks of known templates."""
_SPECIAL = tuple((frame.answer, frame.end) for frame in FRAMES if frame.answer)
"""Control tokens around an answer."""
_WRAPPERS = (("<response>", "</response>"), ("<answer>", "</answer>"), *_SPECIAL)
"""Tags around an answer after reasoning."""
_FINAL = re.compile(r"<\|channel\|>final[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
_HARMONY_END = ("<|return|>", "<|end|>", "<|call|>")


@dataclass(frozen=True)
class Parts:
    """A text as reasoning and answer."""

    reasoning: str | None
    """`None` without a block."""
    answer: str
    """The text after the block; empty where the block is not closed."""
    frame: Frame = THINK
    """The block's tags."""


def open_frame(text: str) -> Frame | None:
    """The block that is open at the end of a text; `None` without an open block."""
    return next((frame for frame in FRAMES if text.rfind(frame.opening) > text.rfind(frame.closing)), None)


def split(text: str, opened: Frame | None = None, own: Frame | None = None) -> Parts:
    """A text as reasoning and answer.

    A block begins with an opening tag at the start of the text, or, where the prompt opens it, with the text itself.
    Later tags are part of the answer.

    Args:
        text: a completion.
        opened: the block that the prompt opens.
        own: tags of the template's own, as `template_frame` finds them.
    """
    begun = text.lstrip()
    if begun.startswith("<|channel|>") and opened in (None, HARMONY):
        return _harmony(begun)
    known = (*((own,) if own and own.opening else ()), *FRAMES)
    frame = next((f for f in known if begun.startswith(f.opening)), None)
    if frame is None and opened is None:
        return Parts(None, _bare(text, own) if own else _unwrapped(text, _SPECIAL))
    frame = frame or opened or THINK
    inside = begun.removeprefix(frame.opening) if begun.startswith(frame.opening) else text
    closings = [frame.closing, *([opened.closing] if opened else []), CLOSING]
    found = min((at for tag in closings if (at := inside.find(tag)) >= 0), default=-1)
    if found < 0:
        return Parts(inside, "", frame)
    closing = next(tag for tag in closings if inside.startswith(tag, found))
    answer = inside[found + len(closing) :]
    return Parts(inside[:found], _bare(answer, own) if own else _unwrapped(answer), frame)


def split_unprompted(text: str) -> Parts:
    """A text of an unknown prompt as reasoning and answer; if its first tag is `</think>`, it begins in a block."""
    before, closed, _ = text.partition(CLOSING)
    parts = split(text)
    return split(text, THINK) if closed and OPENING not in before and parts.reasoning is None else parts


def _harmony(text: str) -> Parts:
    found = _FINAL.search(text)
    if found is None:
        return Parts(text.removeprefix(HARMONY.opening), "", HARMONY)
    before, answer = text[: found.start()], text[found.end() :]
    for end in _HARMONY_END:
        answer = answer.partition(end)[0]
    reasoning = before.removeprefix(HARMONY.opening).removesuffix("<|start|>assistant").removesuffix("<|end|>")
    return Parts(reasoning if before else None, answer, HARMONY)


def _bare(answer: str, own: Frame) -> str:
    """The answer without the header before it and the text after it; unchanged without them."""
    found = answer.strip()
    bare = found.removeprefix(own.answer)
    bare = bare.removesuffix(own.end) if own.end else bare
    return answer if bare == found else bare.strip()


def _unwrapped(answer: str, wrappers: tuple[tuple[str, str], ...] = _WRAPPERS) -> str:
    """The answer without the tags around it."""
    bare = answer.strip()
    for opening, closing in wrappers:
        if bare.startswith(opening):
            return bare.removeprefix(opening).removesuffix(closing)
        if closing.startswith("<|") and bare.endswith(closing):
            return bare.removesuffix(closing)
    return answer


def as_think(parts: Parts) -> str:
    """Reasoning and answer with the tags `<think>` and `</think>`, as input of `final_answer`.

    An answer that quotes `</think>` before any other tag is put after an empty block.
    """
    if parts.reasoning is None:
        before, quotes, _ = parts.answer.partition(CLOSING)
        return OPENING + CLOSING + parts.answer if quotes and OPENING not in before else parts.answer
    return OPENING + parts.reasoning + (CLOSING + parts.answer if parts.answer else "")
