"""Token encoding of dataset rows: prompts and references as the student's chat template renders them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from uniapl.chat.renderer import Renderer
from uniapl.chat.template import TEMPLATE_ERRORS, TemplateOptions
from uniapl.data.encoded_row import EncodedRow, encode_rendered
from uniapl.errors import DatasetError, ModelError
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.importers.file_kinds import line_problem
from uniapl.spec.importers.rows import IgnoredFields, RowError, read_row
from uniapl.spec.training import DataOptions

if TYPE_CHECKING:  # rows are read without torch
    from uniapl.model.policy import Policy


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
            reason = line_problem(line.encode(), str(error), is_first=number == 1)
            raise DatasetError(f"{path.name} line {number}: {reason}", param="dataset_mix") from None
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
    renderer = renderer_of(policy, end_of_turn, options)
    return encode_rendered(row, row.id or f"row-{index}", renderer, options, references=references)


def renderer_of(policy: Policy, end_of_turn: int, options: DataOptions) -> Renderer:
    """The renderer of a job's rows."""
    return Renderer(policy.tokenizer, end_of_turn, TemplateOptions(options.thinking, options.date))


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
    encoded = [
        encode_rendered(row, row.id or f"row-{i}", renderer, options, references=references)
        for i, row in enumerate(rows)
    ]
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
