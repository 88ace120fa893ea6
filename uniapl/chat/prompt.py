"""Rendered prompts, and what follows them in a rendering of the whole conversation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from uniapl.chat.errors import RenderError
from uniapl.chat.frames import FRAMES, THINK, Frame
from uniapl.chat.template import Turn


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt."""

    turns: list[Turn]
    """The turns with marked contents."""
    tools: list[dict[str, Any]] | None
    mark: str
    """The mark of quoted control tokens."""
    text: str
    """The rendering, with marks, generation prompt included."""
    ids: list[int]
    block: tuple[int, Frame, bool] | None
    """The reasoning block at the end of the generation prompt: its position, its tags, and whether it is open."""

    shown: Frame = THINK
    """The block that the template names, for reasoning that it does not render."""

    @property
    def frame(self) -> Frame | None:
        """The open block."""
        return self.block[1] if self.block and self.block[2] else None

    @property
    def plain(self) -> str:
        """The rendering without marks."""
        return self.text.replace(self.mark, "")

    def tail(self, whole: str, reasoning: str | None = None) -> str:
        """The text that follows the prompt in a rendering of the whole conversation.

        Args:
            whole: the rendering with the answer.
            reasoning: reasoning to put before the answer, where `whole` does not show it.

        Raises:
            RenderError: the rendering does not begin with the prompt's turns.
        """
        if reasoning is None and whole.startswith(self.text) and not self._is_unclosed(whole[len(self.text) :]):
            return whole[len(self.text) :]
        rest = self._after_header(whole)
        if self.block is None and reasoning is None:
            return rest
        frame = self.block[1] if self.block else self.shown
        opens = bool(frame.opening) and rest.lstrip().startswith(frame.opening)
        body = rest.lstrip().removeprefix(frame.opening) if opens else rest
        inside, closed, answer = body.partition(frame.closing) if frame.closing else (body, "", "")
        if closed and not inside.strip() and (opens or self.block is not None):
            return self._filled(frame, inside, answer, reasoning)
        if self.frame is not None and reasoning is None and closed:
            return body.lstrip()
        return self.before_answer(reasoning) + (body if self.block else rest).lstrip()

    def _filled(self, frame: Frame, inside: str, answer: str, reasoning: str | None) -> str:
        """The template's own empty block with reasoning in it; what the prompt has of it is left out.

        Args:
            frame: tags of the block.
            inside: white space within it.
            answer: what follows it.
            reasoning: the reasoning; `None` leaves it empty.
        """
        if self.block is not None and self.frame is None:  # the prompt has closed it
            return answer.lstrip()
        if reasoning is None:
            return self.before_answer(None) + answer.lstrip() if inside else frame.closing + answer
        line = frame.line if "\n" in inside else ""
        begun = "" if self.frame is not None else frame.opening + line
        return begun + reasoning + line + frame.closing + answer

    def before_answer(self, reasoning: str | None) -> str:
        """The rest of the open block, or a block with `reasoning`, where the template's own form is unknown."""
        if self.frame is None:
            return "" if reasoning is None else _block(self.shown, reasoning)
        frame = self.frame if self.text.endswith("\n") else replace(self.frame, line="")
        begun = frame.opening if reasoning is None else frame.opening + frame.line
        return _block(frame, reasoning).removeprefix(begun)

    @property
    def contents(self) -> str:
        """The prompt up to the end of the last turn's content."""
        last = str(self.turns[-1].get("content") or "").strip()
        at = self.text.rfind(last)
        return self.text[: at + len(last)] if at >= 0 else self.text

    def _after_header(self, whole: str) -> str:
        """The text after the prompt without its reasoning block; white space at its end may differ."""
        header = self.text if self.block is None else self.text[: self.block[0]]
        if whole.startswith(header):
            return whole[len(header) :]
        if not whole.startswith(header.rstrip()):
            raise RenderError(
                "the chat template renders the turns of the prompt differently once an answer follows them",
                "set data.chat_template to a template whose prompts are the beginning of the conversation",
            )
        return whole[len(header.rstrip()) :].lstrip()

    def _is_unclosed(self, tail: str) -> bool:
        """Whether a rendering leaves the prompt's open block open."""
        return self.frame is not None and self.frame.closing not in tail


def end_block(prompt: str, added: str, named: Frame | None) -> tuple[int, Frame, bool] | None:
    """The block at the end of the generation prompt, open or empty."""
    for frame in FRAMES if named is None or named in FRAMES else (named, *FRAMES):
        at = added.rfind(frame.opening)
        rest = added[at + len(frame.opening) :].strip() if at >= 0 else "?"
        if at >= 0 and rest in ("", frame.closing):
            return len(prompt) - len(added) + at, frame, not rest
        if at >= 0 and frame.closing not in rest:
            return len(prompt) - len(added) + at, frame, True
    return None


def _block(frame: Frame, reasoning: str | None) -> str:
    """A closed block, where the template's own form is unknown."""
    inside = "" if reasoning is None else frame.line + reasoning
    return frame.opening + inside + frame.line + frame.closing + 2 * frame.line
