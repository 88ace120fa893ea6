"""Where a template's prompt leaves reasoning open, and how a reference continues such a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from uniapl.rewards.verify import CLOSING, OPENING, final_answer

Turns = list[dict[str, str]]
Render = Callable[[Turns, bool], str | None]
"""Turns, and whether with the generation prompt, to text; none where the template refuses them."""
Frame = tuple[str, str]
"""The tags that open and close reasoning."""
THINK: Frame = (OPENING, CLOSING)
FRAMES: tuple[Frame, ...] = (
    THINK,
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
)
"""Those that templates use."""
_EMPTY_BLOCK = "\n{}\n\n"
"""The rest of a block without reasoning, where the template does not show its own."""
_MARK = "7310942856"


@dataclass(frozen=True)
class Continuation:
    """A reference as it follows the prompt."""

    text: str
    """What the student is trained to write."""
    reference: str
    """The same as an answer, which `final_answer` reads."""
    change: Literal["none", "closed", "left out"] = "none"
    """`closed`: the open block is closed before it; `left out`: its reasoning is."""


def open_frame(text: str) -> Frame | None:
    """The tags of the block that is open at the end of a text."""
    return next((frame for frame in FRAMES if text.rfind(frame[0]) > text.rfind(frame[1])), None)


def prompt_frame(turns: Turns, prompt: str, render: Render) -> Frame | None:
    """The tags of the block that the template leaves open at the end of its prompt; tags in turns are their text."""
    return None if open_frame(prompt) is None else open_frame(_added(turns, prompt, render))


def _added(turns: Turns, prompt: str, render: Render) -> str:
    """What the generation prompt adds; of a template without one, what follows the last turn's content."""
    bare = render(turns, False)
    if bare is not None and prompt != bare and prompt.startswith(bare):
        return prompt.removeprefix(bare)
    marked = render([*turns[:-1], {**turns[-1], "content": _MARK}], True) or ""
    _, found, after = marked.rpartition(_MARK)
    return after if found else ""


def as_think(text: str, frame: Frame) -> str:
    """A text whose first block has the tags of `frame`, with `<think>` and `</think>` in their place."""
    opening, closing = frame
    begun = text.lstrip()
    text = OPENING + begun.removeprefix(opening) if begun.startswith(opening) else text
    return text.replace(closing, CLOSING, 1)


def continuation(reference: str, frame: Frame | None, written: Callable[[], str | None]) -> Continuation:
    """How a reference follows a prompt: its reasoning inside the block that is open, its answer behind it.

    Args:
        reference: the teacher's answer, perhaps after its reasoning.
        frame: what `prompt_frame` found.
        written: what the template itself writes after the prompt for this reference; none where it cannot be seen.

    Raises:
        ValueError: the reference has reasoning and no answer.
    """
    thought = as_think(reference, frame or THINK)
    answer = final_answer(thought)
    if not answer.strip():
        raise ValueError("the reference has reasoning and no answer after it")
    if answer == thought:
        block = "" if frame is None else _empty_block(reference, frame[1], written())
        return Continuation(block + reference, reference, "closed" if block else "none")
    if frame is None:
        quoting = CLOSING in answer  # else the tag would end its reasoning
        return Continuation(answer, OPENING + CLOSING + answer if quoting else answer, "left out")
    inside = thought.lstrip().removeprefix(OPENING).lstrip()
    return Continuation(inside.replace(CLOSING, frame[1], 1), OPENING + inside)


def _empty_block(reference: str, closing: str, written: str | None) -> str:
    """The rest of a block without reasoning, as the template writes it before an answer."""
    before, found, _ = (written or "").partition(reference.strip())
    return before if found and before.strip() == closing else _EMPTY_BLOCK.format(closing)
