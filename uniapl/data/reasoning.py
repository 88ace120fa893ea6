"""Reasoning blocks: detection of blocks that a chat template opens, and references that continue them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from uniapl.rewards.verify import CLOSING, OPENING, final_answer

Turns = list[dict[str, str]]
Render = Callable[[Turns, bool], str | None]
"""Renders turns, with or without the generation prompt; `None` where the template rejects them."""
Frame = tuple[str, str]
"""The tags that open and close a reasoning block."""
THINK: Frame = (OPENING, CLOSING)
FRAMES: tuple[Frame, ...] = (
    THINK,
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
)
"""Tags used by known templates."""
_EMPTY_BLOCK = "\n{}\n\n"
"""The rest of an empty block, where the template's own form is unknown."""
_MARK = "7310942856"


@dataclass(frozen=True)
class Continuation:
    """A reference that continues the prompt."""

    text: str
    """The training target."""
    reference: str
    """The same as input of `final_answer`."""
    change: Literal["none", "closed", "left out"] = "none"
    """`closed`: the open block is closed before it; `left out`: its reasoning is removed."""


def open_frame(text: str) -> Frame | None:
    """The tags of the block that is open at the end of a text; `None` without an open block."""
    return next((frame for frame in FRAMES if text.rfind(frame[0]) > text.rfind(frame[1])), None)


def prompt_frame(turns: Turns, prompt: str, render: Render) -> Frame | None:
    """The tags of the block that the template opens at the end of its prompt; tags within turns are ignored."""
    return None if open_frame(prompt) is None else open_frame(_added(turns, prompt, render))


def _added(turns: Turns, prompt: str, render: Render) -> str:
    """The text added by the generation prompt; without one, the text after the last turn's content."""
    bare = render(turns, False)
    if bare is not None and prompt != bare and prompt.startswith(bare):
        return prompt.removeprefix(bare)
    marked = render([*turns[:-1], {**turns[-1], "content": _MARK}], True) or ""
    _, found, after = marked.rpartition(_MARK)
    return after if found else ""


def as_think(text: str, frame: Frame) -> str:
    """A text with the tags of its first block, which are those of `frame`, replaced by `<think>` and `</think>`."""
    opening, closing = frame
    begun = text.lstrip()
    text = OPENING + begun.removeprefix(opening) if begun.startswith(opening) else text
    return text.replace(closing, CLOSING, 1)


def continuation(reference: str, frame: Frame | None, rendered: Callable[[], str | None]) -> Continuation:
    """A reference as continuation of a prompt: its reasoning inside the open block, its answer after the block.

    Args:
        reference: the teacher's answer, possibly after its reasoning.
        frame: result of `prompt_frame`.
        rendered: the template's own rendering of this reference after the prompt; `None` where it is unknown.

    Raises:
        ValueError: the reference has reasoning and no answer.
    """
    thought = as_think(reference, frame or THINK)
    answer = final_answer(thought)
    if not answer.strip():
        raise ValueError("the reference has reasoning and no answer after it")
    if answer == thought:
        block = "" if frame is None else _empty_block(reference, frame[1], rendered())
        return Continuation(block + reference, reference, "closed" if block else "none")
    if frame is None:
        quoting = CLOSING in answer  # else the tag would close a block
        return Continuation(answer, OPENING + CLOSING + answer if quoting else answer, "left out")
    inside = thought.lstrip().removeprefix(OPENING).lstrip()
    return Continuation(inside.replace(CLOSING, frame[1], 1), OPENING + inside)


def _empty_block(reference: str, closing: str, rendered: str | None) -> str:
    """The rest of an empty block, as the template renders it before an answer."""
    before, found, _ = (rendered or "").partition(reference.strip())
    return before if found and before.strip() == closing else _EMPTY_BLOCK.format(closing)
