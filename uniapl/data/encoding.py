"""Token encoding of dataset rows: prompts by the student's chat template, references with an end token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import TemplateError

from uniapl.data.reasoning import THINK, Continuation, Frame, Turns, as_think, continuation, prompt_frame
from uniapl.data.tool_turns import refuse_unrendered, template_turns
from uniapl.errors import DatasetError, ModelError
from uniapl.rewards.verify import CLOSING, OPENING
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.importers.rows import IgnoredFields, RowError, read_row
from uniapl.spec.reward import Reward
from uniapl.spec.training import DataOptions

if TYPE_CHECKING:  # rows are read without torch
    from uniapl.model.policy import Policy

Tools = list[Any] | None
TEMPLATE_BUGS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""Exceptions raised by code in a chat template."""


@dataclass(frozen=True)
class EncodedRow:
    """A dataset row as the student's tokens."""

    id: str
    prompt: str
    """The turns' contents, joined by newlines; used in comparisons and samples."""
    prompt_ids: list[int]
    reference: str | None
    reference_ids: list[int] | None
    """The teacher's tokens, end token included."""
    reward: Reward | None
    thinks: bool = False
    """Whether the template opens a reasoning block, so that completions begin inside it."""
    closing: str = CLOSING
    """The tag that closes this block."""
    change: Literal["none", "closed", "left out"] = "none"
    """How the reference was changed to continue the prompt; see `Continuation`."""

    def answer(self, completion: str) -> str:
        """A completion as input of `final_answer`, with the opening tag of the prompt.

        Where the prompt opens no block, a closing tag before any other tag is a quotation; an empty block is prepended.
        """
        before, closed, _ = completion.partition(CLOSING)
        if self.thinks:
            return OPENING + as_think(completion, (OPENING, self.closing))
        return OPENING + CLOSING + completion if closed and OPENING not in before else completion


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


def encode_row(row: DatasetRow, index: int, policy: Policy, end_of_turn: int, *, references: bool = True) -> EncodedRow:
    """Tokenise one row; a row without id is named by its index.

    Templates get `enable_thinking=False`. Where a template opens a reasoning block regardless, a reference without
    reasoning closes it first; elsewhere the reasoning of a reference is removed.

    Raises:
        DatasetError: the chat template rejects the turns, or a reference has reasoning and no answer.
        ModelError: the chat template fails, or renders an empty prompt.
    """
    tokenizer, name = policy.tokenizer, row.id or f"row-{index}"
    turns, tools = template_turns(row), row.tools
    prompt = _prompt(turns, policy, name, tools)
    refuse_unrendered(row, prompt, name)
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    if not prompt_ids:
        raise ModelError(f"row {name}: the chat template renders an empty prompt", param="data.chat_template")

    def render(turns: Turns, generation: bool) -> str | None:
        return _render_or_none(turns, policy, tools, generation=generation)

    frame = prompt_frame(turns, prompt, render)
    target = _reference(row.reference, frame, turns, prompt, render, f"row {name}" if references else None)
    return EncodedRow(
        id=name,
        prompt="\n".join(message.content for message in row.messages if message.content),
        prompt_ids=prompt_ids,
        thinks=frame is not None,
        closing=(frame or THINK)[1],
        change=target.change if target else "none",
        reference=target.reference if target else None,
        reference_ids=[*tokenizer(target.text, add_special_tokens=False)["input_ids"], end_of_turn] if target else None,
        reward=row.reward,
    )


def _prompt(turns: Turns, policy: Policy, name: str, tools: Tools) -> str:
    try:
        return _render(turns, policy, tools, generation=True)
    except TemplateError as error:
        raise DatasetError(
            f"row {name}: the student's chat template rejects the turns: {error}", param="dataset_mix"
        ) from None
    except TEMPLATE_BUGS as error:
        raise ModelError(f"row {name}: the chat template fails: {error}", param="data.chat_template") from None


def _render(turns: Turns, policy: Policy, tools: Tools, *, generation: bool) -> str:
    """Raises `TemplateError` or one of `TEMPLATE_BUGS`."""
    return str(
        policy.tokenizer.apply_chat_template(
            turns, tools=tools, add_generation_prompt=generation, tokenize=False, enable_thinking=False
        )
    )


def _render_or_none(turns: Turns, policy: Policy, tools: Tools, *, generation: bool) -> str | None:
    try:
        return _render(turns, policy, tools, generation=generation)
    except (TemplateError, *TEMPLATE_BUGS):
        return None


def _reference(
    reference: str | None,
    frame: Frame | None,
    turns: Turns,
    prompt: str,
    render: Callable[[Turns, bool], str | None],
    where: str | None,
) -> Continuation | None:
    """The reference as a continuation of the prompt; `None` without a reference.

    Raises:
        DatasetError: the reference has no answer; without `where`, the result is `None` instead.
    """
    if reference is None:
        return None

    def rendered() -> str | None:
        whole = render([*turns, {"role": "assistant", "content": reference}], False) or ""
        return whole.removeprefix(prompt) if whole.startswith(prompt) else None

    try:
        return continuation(reference, frame, rendered)
    except ValueError as error:
        if where is None:
            return None
        raise DatasetError(
            f"{where}: {error}",
            param="dataset_mix",
            hint="add an answer after the reasoning, or remove the row's reference",
        ) from None


def encode_rows(
    rows: Sequence[DatasetRow], name: str, policy: Policy, options: DataOptions, *, references: bool = True
) -> tuple[list[EncodedRow], list[str]]:
    """Tokenise a dataset.

    Args:
        rows: the dataset.
        name: name of the dataset, for errors.
        policy: tokenizer and chat template.
        options: length limits.
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
    except (TemplateError, *TEMPLATE_BUGS) as error:
        raise ModelError(f"the chat template is broken: {error}", param="data.chat_template") from None
    encoded = [encode_row(row, i, policy, end_of_turn, references=references) for i, row in enumerate(rows)]
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
    answer = row.reference_ids or [] if references else []
    return len(row.prompt_ids) <= options.max_prompt_tokens and len(answer) <= options.max_reference_tokens
