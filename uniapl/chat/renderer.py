"""Rendering of rows by the student's chat template: prompts, and references as what follows them.

A conversation is rendered once with the reference as its last turn. The training target is the text after the
generation prompt, up to and including the end of turn. Where the generation prompt is not a prefix of the whole
rendering, because the template adds, opens or strips a reasoning block there, `Prompt.tail` resolves the difference or
refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from uniapl.chat.control_tokens import MARKS, ControlTokens
from uniapl.chat.errors import RenderError
from uniapl.chat.frames import FRAMES, THINK, Frame, Parts, split, split_unprompted
from uniapl.chat.prompt import Prompt, end_block
from uniapl.chat.template import TEMPLATE_ERRORS, TemplateOptions, Turn, render, source_text
from uniapl.chat.template_frame import reasoning_fields, template_frame

Change = Literal["none", "closed", "left out", "joined"]
"""`closed`: a block is closed before the answer; `left out`: the reference's reasoning is removed; `joined`: the answer
continues the prompt directly, because the template renders another text between them in a whole conversation."""
_PROBE = "7310942856"


@dataclass(frozen=True)
class Target:
    """A reference as the continuation of its prompt."""

    text: str
    """The trained text without the end token, as the template renders it."""
    ids: list[int]
    """Its tokens, end token included."""
    parts: Parts
    """Reasoning and answer that it contains."""
    change: Change = "none"


class Renderer:
    """A tokenizer's chat template in one mode and with one date; the only way from conversations to tokens."""

    def __init__(self, tokenizer: Any, end_of_turn: int, options: TemplateOptions | None = None) -> None:
        """
        Args:
            tokenizer: a transformers tokenizer with a chat template.
            end_of_turn: the token that ends an answer.
            options: mode and date; by default without reasoning.
        """
        self.tokenizer, self.end_of_turn = tokenizer, end_of_turn
        self.options = options or TemplateOptions(thinking="off")
        self._end = str(tokenizer.decode([end_of_turn]))

    @cached_property
    def _control(self) -> ControlTokens:
        return ControlTokens(self.tokenizer)

    @cached_property
    def own_frame(self) -> Frame | None:
        """Tags of the template's own; `None` where they are those of `FRAMES`."""
        return template_frame(self.tokenizer)

    @cached_property
    def _named(self) -> Frame | None:
        """The block that the template names."""
        if self.own_frame is not None and self.own_frame.opening:
            return self.own_frame
        template = source_text(self.tokenizer)
        return next((frame for frame in FRAMES if frame.marker in template), None)

    def prompt(self, turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]] | None = None) -> Prompt:
        """Render turns with the generation prompt.

        Raises:
            TemplateError: the template rejects the turns; a broken template raises one of `TEMPLATE_BUGS`.
            RenderError: a quoted control token cannot be encoded.
        """
        contents = json.dumps([list(map(dict, turns)), tools], ensure_ascii=False, default=str)
        mark = next(mark for mark in MARKS if mark not in contents)
        marked = [self._marked(turn, mark) for turn in turns]
        definitions = [self._control.marked(dict(tool), mark) for tool in tools] if tools else None
        text = self._render(marked, definitions, generation=True)
        added = self._added(marked, definitions, text)
        ids, shown = self._control.encode(text, mark), self._named or THINK
        return Prompt(marked, definitions, mark, text, ids, end_block(text, added, self._named), shown)

    def is_default(self) -> bool:
        """Whether the template asks for the same mode without arguments."""
        plain = Renderer(self.tokenizer, self.end_of_turn, replace(self.options, thinking="auto"))
        turns = [{"role": "user", "content": _PROBE}]
        return self.prompt(turns).text == plain.prompt(turns).text

    def target(self, prompt: Prompt, reference: str) -> Target:
        """Render a reference as the answer to a prompt.

        Raises:
            RenderError: it has reasoning and no answer, the template does not render it after the prompt, or a quoted
                control token cannot be encoded.
        """
        parts = _parts(self._without_end(reference), prompt.frame)
        if not parts.answer.strip():
            raise RenderError(
                "the reference has reasoning and no answer after it",
                "add an answer after the reasoning, or remove the row's reference",
            )
        thinks = prompt.frame is not None or (self.options.thinking != "off" and prompt.block is None)
        kept = parts if thinks or parts.reasoning is None else Parts(None, parts.answer.strip())
        text, answer_at, change = self._rendered(prompt, kept)
        if parts.reasoning is not None and kept.reasoning is None:
            change = "left out"
        elif kept.reasoning is None and _closes(text[:answer_at], prompt.frame):
            change = "closed"
        return Target(text.replace(prompt.mark, ""), self._tokens(prompt, text), kept, change)

    def turn_target(self, prompt: Prompt, turn: Turn) -> Target:
        """Render an assistant turn of a conversation as the answer to the turns before it, tool calls included.

        Raises:
            RenderError: as `target`; or the template does not render the calls.
        """
        calls = turn.get("tool_calls")
        if not calls:
            return self.target(prompt, str(turn["content"]))
        tail = prompt.tail(self._whole(prompt, self._marked(turn, prompt.mark)))
        name = self._control.marked(str(calls[-1]["function"]["name"]), prompt.mark)
        called = tail.rfind(name)
        if called < 0:
            raise RenderError(
                f"the student's chat template does not render the call of {calls[-1]['function']['name']!r}",
                "use a student, or a data.chat_template, that supports tools",
            )
        end = tail.find(self._end, called)
        text = tail[:end] if end >= 0 else tail.rstrip()
        return Target(text.replace(prompt.mark, ""), self._tokens(prompt, text), Parts(None, str(turn["content"])))

    def exchange(self, question: str, answer: str) -> list[int]:
        """Tokens of a question and an answer, end token included; reasoning in the answer is text like any other.

        Raises:
            TemplateError: the template rejects a conversation of one question.
        """
        prompt = self.prompt([{"role": "user", "content": question}])
        text = self._control.marked(answer, prompt.mark)
        if text.strip():
            with suppress(RenderError):  # a template that renders no answer is reported with the rows
                text = self._with_answer(prompt, text, None)[0]
        return [*prompt.ids, *self._tokens(prompt, text)]

    def _rendered(self, prompt: Prompt, parts: Parts) -> tuple[str, int, Change]:
        """The text after the prompt up to the end of turn, the position of its answer, and `joined` or `none`."""
        answer = self._control.marked(parts.answer, prompt.mark)
        if parts.reasoning is None:
            return self._with_answer(prompt, answer, None)
        reasoning = self._control.marked(parts.reasoning, prompt.mark)
        plain = self._whole(prompt, {"content": answer.strip()})
        for turn in _with_reasoning(prompt.frame or prompt.shown, reasoning, answer):
            try:
                tail = prompt.tail(whole := self._whole(prompt, turn))
            except RenderError:
                continue
            if whole == plain:  # the template does not read this form
                continue
            at = tail.find(reasoning.strip(), len(self._header) if tail.startswith(self._header) else 0)
            answer_at = tail.find(answer.strip(), at + len(reasoning.strip())) if at >= 0 else -1
            if answer_at >= 0 and self._begins_block(prompt, tail[:at]):
                return self._until_end(tail, answer_at + len(answer.strip())), answer_at, "none"
        return self._with_answer(prompt, answer, reasoning.strip())

    def _begins_block(self, prompt: Prompt, before: str) -> bool:
        """Whether a text before reasoning opens one block where the prompt has none, closes none and begins no answer.

        A template that names its block writes it before the header of an answer.
        """
        frames = FRAMES if self.own_frame is None or not self.own_frame.opening else (self.own_frame, *FRAMES)
        if any(f.closing in before or before.count(f.opening) > (prompt.frame is None) for f in frames):
            return False
        header = self._header
        return self._named is None or not header or not before.lstrip().startswith(header)

    @cached_property
    def _header(self) -> str:
        """What the template writes between the generation prompt and an answer without reasoning."""
        with suppress(*TEMPLATE_ERRORS):
            turns = [{"role": "user", "content": "?"}]
            asked = self._render(turns, None, generation=True)
            whole = self._render([*turns, {"role": "assistant", "content": _PROBE}], None, generation=False)
            if whole.startswith(asked):
                return whole[len(asked) :].partition(_PROBE)[0].strip()
        return ""

    def _with_answer(self, prompt: Prompt, answer: str, reasoning: str | None) -> tuple[str, int, Change]:
        """As `_rendered`, from a rendering of the answer alone; `reasoning` is put before it."""
        whole, bare = self._whole(prompt, {"content": answer}), answer.strip()
        change: Change = "none"
        try:
            tail = prompt.tail(whole, reasoning)
        except RenderError:
            alone = self._after_last_turn(prompt, answer, reasoning)
            answer_at = whole.find(bare, len(prompt.contents)) if whole.startswith(prompt.contents) else -1
            if alone is None and answer_at < 0:
                raise
            joined = prompt.before_answer(reasoning) + whole[answer_at:]
            tail, change = (joined, "joined") if alone is None else (alone, "none")
        answer_at = tail.find(bare, len(reasoning or ""))
        if answer_at < 0:
            raise RenderError(
                "the student's chat template does not render the reference after the prompt",
                "set data.chat_template to a template that renders the content of an assistant turn",
            )
        if self._end in tail[:answer_at]:  # it would end sampling before the answer begins
            tail, answer_at, change = tail[answer_at:], 0, "joined"
        return self._until_end(tail, answer_at + len(bare)), answer_at, change

    def _after_last_turn(self, prompt: Prompt, answer: str, reasoning: str | None) -> str | None:
        """The answer after the last turn alone, where the template moves earlier turns once an answer follows.

        Templates of Mistral put the system turn into the last turn of the user, if the conversation ends with it.
        """
        last = prompt.turns[-1]
        try:
            asked = self._render([last], prompt.tools, generation=True)
            alone = replace(prompt, turns=[last], text=asked)
            tail = alone.tail(self._whole(alone, {"content": answer}), reasoning)
        except (*TEMPLATE_ERRORS, RenderError):
            return None
        ends = [text.rpartition(str(last.get("content")).strip())[2] for text in (asked, prompt.text)]
        return tail if prompt.block is None and len(prompt.turns) > 1 and ends[0] == ends[1] else None

    def _whole(self, prompt: Prompt, turn: Turn) -> str:
        try:
            return self._render([*prompt.turns, {**turn, "role": "assistant"}], prompt.tools, generation=False)
        except TEMPLATE_ERRORS as error:
            raise RenderError(
                f"the student's chat template rejects the reference: {error}",
                "correct the row, or set data.chat_template to a template that accepts an answer after these turns",
            ) from None

    def _until_end(self, tail: str, answered: int) -> str:
        """The text up to the end of turn, without it; without one, up to the end of the answer."""
        end = tail.find(self._end, answered)
        return tail[: end if end >= 0 else answered]

    def _tokens(self, prompt: Prompt, text: str) -> list[int]:
        """The target's tokens: those of the whole rendering, where a token begins at the end of the prompt."""
        ids, before = self._control.encode(prompt.text + text, prompt.mark), len(prompt.ids)
        if ids[:before] == prompt.ids:
            return [*ids[before:], self.end_of_turn]
        anchor = self._control.encode("\n", prompt.mark)  # without the space that SentencePiece puts before a text
        ids = self._control.encode("\n" + text, prompt.mark)
        ids = ids[len(anchor) :] if ids[: len(anchor)] == anchor else self._control.encode(text, prompt.mark)
        return [*ids, self.end_of_turn]

    def _render(self, turns: Sequence[Turn], tools: list[dict[str, Any]] | None, *, generation: bool) -> str:
        return render(self.tokenizer, turns, generation=generation, options=self.options, tools=tools)

    def _added(self, turns: list[Turn], tools: list[dict[str, Any]] | None, prompt: str) -> str:
        """The text added by the generation prompt; without one, the text after the last turn's content."""
        try:
            bare = self._render(turns, tools, generation=False)
            if prompt != bare and prompt.startswith(bare):
                return prompt.removeprefix(bare)
            probe = self._render([*turns[:-1], {**turns[-1], "content": _PROBE}], tools, generation=True)
        except TEMPLATE_ERRORS:
            return ""
        _, found, after = probe.rpartition(_PROBE)
        return after if found else ""

    def _marked(self, turn: Turn, mark: str) -> Turn:
        """A turn with marked contents; an assistant's reasoning block keeps its tags, and its end token is removed."""
        marked = {key: value if key == "role" else self._control.marked(value, mark) for key, value in turn.items()}
        if turn["role"] != "assistant" or not isinstance(turn.get("content"), str):
            return marked
        content = self._without_end(turn["content"])
        parts = split(content)
        marked["content"] = self._control.marked(content, mark)
        if parts.reasoning is not None and content.lstrip().startswith(parts.frame.opening):
            inside = [self._control.marked(part, mark) for part in (parts.reasoning, parts.answer)]
            marked["content"] = parts.frame.opening + inside[0] + parts.frame.closing + inside[1]
        return marked

    def _without_end(self, content: str) -> str:
        """A content without the end tokens that it brings."""
        ends = [end for end in (self._end, str(self.tokenizer.eos_token or "")) if end.strip()]
        while found := next((end for end in ends if content.rstrip().endswith(end)), None):
            content = content.rstrip().removesuffix(found)
        return content


def _with_reasoning(frame: Frame, reasoning: str, answer: str) -> Iterator[dict[str, str]]:
    """Forms in which templates accept reasoning: a field of its own, or tags within the content."""
    yield {"content": answer.strip(), **reasoning_fields(reasoning.strip())}
    gap = "" if frame.opening.endswith((">", "]", "▷", "\n")) else 2 * frame.line  # between words in place of tags
    yield {"content": gap.join((frame.opening, reasoning, frame.closing, answer))}


def _parts(reference: str, opened: Frame | None) -> Parts:
    """Reasoning and answer of a reference, whose reasoning may lack the opening tag where the prompt has it."""
    parts = split_unprompted(reference)
    if opened is None or parts.reasoning is not None:
        return parts
    before, closed, _ = reference.partition(opened.closing)
    return split(reference, opened) if closed and opened.opening not in before else parts


def _closes(before: str, opened: Frame | None) -> bool:
    """Whether the text before an answer without reasoning closes a block."""
    return any(frame.closing in before for frame in ((opened,) if opened else FRAMES))
