"""A dataset row as the tokens of a student's chat template."""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import TemplateError

from uniapl.chat.errors import RenderError
from uniapl.chat.frames import Frame, as_think, split
from uniapl.chat.prompt import Prompt
from uniapl.chat.renderer import Change, Renderer, Target
from uniapl.chat.template import TEMPLATE_BUGS
from uniapl.data.dropped_turns import refuse_dropped
from uniapl.data.tool_turns import refuse_unrendered, template_turns
from uniapl.errors import DatasetError, ModelError
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.reward import Reward
from uniapl.spec.training import DataOptions


@dataclass(frozen=True)
class EncodedRow:
    """A dataset row as the student's tokens."""

    id: str
    prompt: str
    """The turns' contents, joined by newlines; used in comparisons and samples."""
    prompt_ids: list[int]
    reference: str | None
    """The reference as input of `final_answer`, as it is trained."""
    reference_ids: list[int] | None
    """The teacher's tokens, end token included."""
    reward: Reward | None
    frame: Frame | None = None
    """The reasoning block that the template opens, so that completions begin inside it."""
    own_frame: Frame | None = None
    """Tags of the template's own around reasoning and answers."""
    change: Change = "none"
    """How the reference was changed to continue the prompt."""
    earlier: tuple[tuple[list[int], list[int]], ...] = ()
    """Tokens of the prompt and of the answer of each earlier assistant turn that is trained."""

    prompt_text: str = ""
    """The prompt as the template renders it."""

    @property
    def demonstrations(self) -> list[tuple[list[int], list[int]]]:
        """Tokens of the prompt and of the answer of each turn that L_SFT imitates; none without a reference."""
        return [*self.earlier, (self.prompt_ids, self.reference_ids)] if self.reference_ids else []

    @property
    def thinks(self) -> bool:
        """Whether completions begin inside a reasoning block."""
        return self.frame is not None

    def answer(self, completion: str) -> str:
        """A completion as input of `final_answer`."""
        return as_think(split(completion, self.frame, self.own_frame))


def encode_rendered(
    row: DatasetRow, name: str, renderer: Renderer, options: DataOptions, *, references: bool
) -> EncodedRow:
    """A row as a renderer's tokens.

    Args:
        row: the row.
        name: its id, for errors.
        renderer: chat template, mode and date.
        options: which turns are trained.
        references: whether a term uses the references.

    Raises:
        DatasetError: the chat template rejects the turns, or a reference that is used does not fit it.
        ModelError: the chat template fails, or renders an empty prompt.
    """
    prompt = _prompt(row, renderer, name)
    target = _target(row.reference, prompt, renderer, f"row {name}" if references else None)
    return EncodedRow(
        id=name,
        prompt="\n".join(message.content for message in row.messages if message.content),
        prompt_text=prompt.plain,
        prompt_ids=prompt.ids,
        reference=as_think(target.parts) if target else None,
        reference_ids=target.ids if target else None,
        reward=row.reward,
        frame=prompt.frame,
        own_frame=renderer.own_frame,
        change=target.change if target else "none",
        earlier=_earlier(row, renderer, name) if references and options.trained_turns == "all_answers" else (),
    )


def _earlier(row: DatasetRow, renderer: Renderer, name: str) -> tuple[tuple[list[int], list[int]], ...]:
    """The assistant turns of the prompt, each after the turns before it.

    Raises:
        DatasetError: the chat template cannot continue the turns before one of them.
    """
    turns, found = template_turns(row), []
    for i, message in enumerate(row.messages):
        if message.role != "assistant" or message.weight == 0 or i == 0:
            continue
        try:
            prompt = renderer.prompt(turns[:i], row.tools)
            found.append((prompt.ids, renderer.turn_target(prompt, turns[i]).ids))
        except RenderError as error:
            raise DatasetError(f"row {name}: messages.{i}: {error}", param="dataset_mix", hint=error.hint) from None
        except TemplateError as error:
            raise DatasetError(
                f"row {name}: messages.{i}: the student's chat template rejects the turns before it: {error}",
                param="data.trained_turns",
                hint="set data.trained_turns to 'last_answer', or remove the row",
            ) from None
    return tuple(found)


def _prompt(row: DatasetRow, renderer: Renderer, name: str) -> Prompt:
    try:
        prompt = renderer.prompt(template_turns(row), row.tools)
    except RenderError as error:
        raise DatasetError(f"row {name}: {error}", param="dataset_mix", hint=error.hint) from None
    except TemplateError as error:
        raise DatasetError(
            f"row {name}: the student's chat template rejects the turns: {error}",
            param="dataset_mix",
            hint="correct the row's turns, or set data.chat_template to a template that accepts them",
        ) from None
    except TEMPLATE_BUGS as error:
        raise ModelError(f"row {name}: the chat template fails: {error}", param="data.chat_template") from None
    if not prompt.ids:
        raise ModelError(f"row {name}: the chat template renders an empty prompt", param="data.chat_template")
    refuse_dropped(row, prompt.plain, name)
    refuse_unrendered(row, prompt.plain, name)
    return prompt


def _target(reference: str | None, prompt: Prompt, renderer: Renderer, where: str | None) -> Target | None:
    """The reference as a continuation of the prompt; `None` without a reference.

    Raises:
        DatasetError: the reference does not fit the template; without `where`, the result is `None` instead.
    """
    if reference is None:
        return None
    try:
        return renderer.target(prompt, reference)
    except RenderError as error:
        if where is None:
            return None
        raise DatasetError(f"{where}: {error}", param="dataset_mix", hint=error.hint) from None
