"""Token encoding of dataset rows: prompts and references as the student's chat template renders them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from uniapl.chat.errors import RenderError
from uniapl.chat.frames import Frame, as_think, split
from uniapl.chat.renderer import Change, Prompt, Renderer, Target
from uniapl.chat.template import TEMPLATE_BUGS, TEMPLATE_ERRORS, TemplateOptions
from uniapl.data.tool_turns import refuse_unrendered, template_turns
from uniapl.errors import DatasetError, ModelError
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.importers.rows import IgnoredFields, RowError, read_row
from uniapl.spec.reward import Reward
from uniapl.spec.training import DataOptions

if TYPE_CHECKING:  # rows are read without torch
    from uniapl.model.policy import Policy


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
    change: Change = "none"
    """How the reference was changed to continue the prompt."""
    earlier: tuple[tuple[list[int], list[int]], ...] = ()
    """Tokens of the prompt and of the answer of each earlier assistant turn that is trained."""

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
        return as_think(split(completion, self.frame))


def load_rows(path: Path, ignored: IgnoredFields | None = None) -> list[DatasetRow]:
    """Read a JSONL file; `ignored` counts the unknown fields of its rows.

    Raises:
        DatasetError: the file cannot be read, or a line is not a `DatasetRow`; the message has its number.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # JSON strings may contain other line separators
    except OSError as error:
        raise DatasetError(f"cannot read dataset {path}: {error.strerror}", param="dataset_mix") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path.name} is not UTF-8 at byte {error.start}", param="dataset_mix") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            read = read_row(line)
        except RowError as error:
            raise DatasetError(f"{path.name} line {number}: {error}", param="dataset_mix") from None
        rows.append(read.row)
        if ignored is not None:
            ignored.add(read.ignored)
    return rows


def encode_row(
    row: DatasetRow,
    index: int,
    policy: Policy,
    end_of_turn: int,
    *,
    references: bool = True,
    options: DataOptions | None = None,
) -> EncodedRow:
    """Tokenise one row; see `encode_rows`.

    Raises:
        DatasetError: the chat template rejects the turns, or the reference does not fit it.
        ModelError: the chat template fails, or renders an empty prompt.
    """
    options = options or DataOptions()
    return _encode(row, index, renderer_of(policy, end_of_turn, options), references, options)


def renderer_of(policy: Policy, end_of_turn: int, options: DataOptions) -> Renderer:
    """The renderer of a job's rows."""
    return Renderer(policy.tokenizer, end_of_turn, TemplateOptions(options.thinking, options.date))


def _encode(row: DatasetRow, index: int, renderer: Renderer, references: bool, options: DataOptions) -> EncodedRow:
    name = row.id or f"row-{index}"
    prompt = _prompt(row, renderer, name)
    target = _target(row.reference, prompt, renderer, f"row {name}" if references else None)
    return EncodedRow(
        id=name,
        prompt="\n".join(message.content for message in row.messages if message.content),
        prompt_ids=prompt.ids,
        reference=as_think(target.parts) if target else None,
        reference_ids=target.ids if target else None,
        reward=row.reward,
        frame=prompt.frame,
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
            f"row {name}: the student's chat template rejects the turns: {error}", param="dataset_mix"
        ) from None
    except TEMPLATE_BUGS as error:
        raise ModelError(f"row {name}: the chat template fails: {error}", param="data.chat_template") from None
    if not prompt.ids:
        raise ModelError(f"row {name}: the chat template renders an empty prompt", param="data.chat_template")
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


def encode_rows(
    rows: Sequence[DatasetRow], name: str, policy: Policy, options: DataOptions, *, references: bool = True
) -> tuple[list[EncodedRow], list[str]]:
    """Tokenise a dataset; a row without id is named by its index.

    Args:
        rows: the dataset.
        name: name of the dataset, for errors.
        policy: tokenizer and chat template.
        options: length limits, and the mode and date of the template.
        references: whether a term uses the references.

    Returns:
        The rows within the limits, and the ids of the others.

    Raises:
        DatasetError: the chat template rejects a row, a reference has no answer, or no row is within the limits.
        ModelError: the student has no chat template, or the template fails.
    """
    if policy.tokenizer.chat_template is None:
        raise ModelError(
            "the student's tokenizer has no chat template: the student is a base model",
            param="data.chat_template",
            hint="set data.chat_template to 'plain' or to a Jinja template, or use a chat student",
        )
    try:
        end_of_turn = policy.end_of_turn
    except TEMPLATE_ERRORS as error:
        raise ModelError(f"the chat template is broken: {error}", param="data.chat_template") from None
    renderer = renderer_of(policy, end_of_turn, options)
    encoded = [_encode(row, i, renderer, references, options) for i, row in enumerate(rows)]
    usable = [row for row in encoded if _fits(row, options, references)]
    if not usable:
        raise DatasetError(
            f"{name}: none of {len(encoded)} rows is within data.max_prompt_tokens="
            f"{options.max_prompt_tokens} and data.max_reference_tokens={options.max_reference_tokens}",
            param="data",
            hint="raise the limits, or use shorter rows",
        )
    return usable, [row.id for row in encoded if not _fits(row, options, references)]


def _fits(row: EncodedRow, options: DataOptions, references: bool) -> bool:
    longest = max((len(ids) for _, ids in row.demonstrations), default=0) if references else 0
    return len(row.prompt_ids) <= options.max_prompt_tokens and longest <= options.max_reference_tokens
