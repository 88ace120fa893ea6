"""Rows to tokens: the prompt through the student's chat template, the reference closed by its end token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase

from uniapl.errors import DatasetError, ModelError
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.job import DataOptions
from uniapl.spec.reward import Reward


@dataclass(frozen=True)
class EncodedRow:
    """A dataset row, ready for the student."""

    id: str
    prompt: str
    """The turns' contents, joined by newlines: what discriminators and samples show."""
    prompt_ids: list[int]
    reference: str | None
    reference_ids: list[int] | None
    """The teacher's tokens, end token included."""
    reward: Reward | None


def load_rows(path: Path) -> list[DatasetRow]:
    """Read a JSONL file.

    Raises:
        DatasetError: the file is missing, or a line is not a `DatasetRow`; the message has its number.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # JSON strings may hold other line ends
    except OSError as error:
        raise DatasetError(f"cannot read dataset {path}: {error.strerror}", param="dataset_mix") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(DatasetRow.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "line"
            raise DatasetError(f"{path.name} line {number}: {where}: {first['msg']}", param="dataset_mix") from None
    return rows


def encode_row(row: DatasetRow, index: int, tokenizer: PreTrainedTokenizerBase) -> EncodedRow:
    """Tokenise one row; a row without id is named by its position."""
    turns = [{"role": message.role, "content": message.content} for message in row.messages]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    reference_ids = None
    if row.reference is not None:
        reference_ids = tokenizer(row.reference, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return EncodedRow(
        id=row.id or f"row-{index}",
        prompt="\n".join(message.content for message in row.messages),
        prompt_ids=tokenizer(prompt, add_special_tokens=False)["input_ids"],
        reference=row.reference,
        reference_ids=reference_ids,
        reward=row.reward,
    )


def load_encoded(
    path: Path, tokenizer: PreTrainedTokenizerBase, options: DataOptions
) -> tuple[list[EncodedRow], list[str]]:
    """Read and tokenise a dataset.

    Returns:
        The usable rows, and the ids of those left out because they are longer than `options` allows.

    Raises:
        DatasetError: a bad line, or no usable row at all.
        ModelError: the student has no chat template.
    """
    if tokenizer.chat_template is None:
        raise ModelError("the student's tokenizer has no chat template", param="student", hint="use a chat student")
    encoded = [encode_row(row, i, tokenizer) for i, row in enumerate(load_rows(path))]
    usable = [row for row in encoded if _fits(row, options)]
    if not usable:
        raise DatasetError(
            f"{path.name}: none of {len(encoded)} rows is within data.max_prompt_tokens="
            f"{options.max_prompt_tokens} and data.max_reference_tokens={options.max_reference_tokens}",
            param="data",
            hint="raise the limits, or upload shorter rows",
        )
    kept = {id(row) for row in usable}
    return usable, [row.id for row in encoded if id(row) not in kept]


def _fits(row: EncodedRow, options: DataOptions) -> bool:
    return (
        len(row.prompt_ids) <= options.max_prompt_tokens
        and len(row.reference_ids or []) <= options.max_reference_tokens
    )
