"""Rows to tokens: the prompt through the student's chat template, the reference closed by its end token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import TemplateError

from uniapl.errors import DatasetError, ModelError
from uniapl.policy import Policy
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.imports import RowError, parse_row
from uniapl.spec.reward import Reward
from uniapl.spec.training import DataOptions


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
    thinks: bool = False
    """Whether the template opens the reasoning itself, so that completions begin inside it."""

    def answer(self, completion: str) -> str:
        """A completion as the answer it is, with the opening tag that stands in the prompt."""
        return f"<think>{completion}" if self.thinks else completion


def load_rows(path: Path) -> list[DatasetRow]:
    """Read a JSONL file.

    Raises:
        DatasetError: the file is missing, or a line is not a `DatasetRow`; the message has its number.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # JSON strings may hold other line ends
    except OSError as error:
        raise DatasetError(f"cannot read dataset {path}: {error.strerror}", param="dataset_mix") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path.name} is not UTF-8 at byte {error.start}", param="dataset_mix") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(parse_row(line)[0])
        except RowError as error:
            raise DatasetError(f"{path.name} line {number}: {error}", param="dataset_mix") from None
    return rows


def encode_row(row: DatasetRow, index: int, policy: Policy, end_of_turn: int) -> EncodedRow:
    """Tokenise one row; a row without id is named by its position.

    Templates that know the switch are told not to think: the teacher's answers are plain.

    Raises:
        DatasetError: the chat template refuses the turns.
    """
    tokenizer, name = policy.tokenizer, row.id or f"row-{index}"
    turns = [{"role": message.role, "content": message.content} for message in row.messages]
    try:
        prompt = str(
            tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False, enable_thinking=False)
        )
    except TemplateError as error:
        raise DatasetError(
            f"row {name}: the student's chat template refuses it: {error}", param="dataset_mix"
        ) from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:  # of the template's own code
        raise ModelError(f"row {name}: the chat template fails: {error}", param="data.chat_template") from None
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    if not prompt_ids:
        raise ModelError(f"row {name}: the chat template renders nothing", param="data.chat_template")
    reference_ids = None
    if row.reference is not None:
        reference_ids = [*tokenizer(row.reference, add_special_tokens=False)["input_ids"], end_of_turn]
    return EncodedRow(
        id=name,
        prompt="\n".join(message.content for message in row.messages),
        prompt_ids=prompt_ids,
        thinks=prompt.rfind("<think>") > prompt.rfind("</think>"),
        reference=row.reference,
        reference_ids=reference_ids,
        reward=row.reward,
    )


def encode_rows(
    rows: Sequence[DatasetRow], name: str, policy: Policy, options: DataOptions, *, references: bool = True
) -> tuple[list[EncodedRow], list[str]]:
    """Tokenise a dataset; `name` is for the error, and `references` says whether any term reads them.

    Returns:
        The usable rows, and the ids of those left out because they are longer than `options` allows.

    Raises:
        DatasetError: the chat template refuses a row, or no row is usable.
        ModelError: the student has no chat template.
    """
    if policy.tokenizer.chat_template is None:
        raise ModelError(
            "the student's tokenizer has no chat template, so it is a base model",
            param="data.chat_template",
            hint="set data.chat_template to 'plain' or to a Jinja template, or use a chat student",
        )
    try:
        end_of_turn = policy.end_of_turn
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise ModelError(f"the chat template is broken: {error}", param="data.chat_template") from None
    encoded = [encode_row(row, i, policy, end_of_turn) for i, row in enumerate(rows)]
    usable = [row for row in encoded if _fits(row, options, references)]
    if not usable:
        raise DatasetError(
            f"{name}: none of {len(encoded)} rows is within data.max_prompt_tokens="
            f"{options.max_prompt_tokens} and data.max_reference_tokens={options.max_reference_tokens}",
            param="data",
            hint="raise the limits, or upload shorter rows",
        )
    return usable, [row.id for row in encoded if not _fits(row, options, references)]


def _fits(row: EncodedRow, options: DataOptions, references: bool) -> bool:
    answer = row.reference_ids or [] if references else []
    return len(row.prompt_ids) <= options.max_prompt_tokens and len(answer) <= options.max_reference_tokens
