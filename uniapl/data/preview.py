"""Rows as they will be trained, without torch: text, tokens, and the first problems of template and references."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from uniapl.chat.end_of_turn import find_end_of_turn
from uniapl.chat.renderer import Renderer
from uniapl.chat.template import TEMPLATE_ERRORS, TemplateOptions, set_template
from uniapl.data.encoded_row import EncodedRow, encode_rendered
from uniapl.errors import ModelError, UniaplError
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.estimate import RenderedRow
from uniapl.spec.training import DataOptions

_CHANGES = {
    "closed": "the chat template writes a reasoning block, and {} have no reasoning: the block is closed before them, "
    "so that the student learns to answer without reasoning; to train reasoning, add it to the references",
    "left out": "the reasoning of {} is removed; to train it, set data.thinking to 'on'",
    "joined": "the chat template does not render its generation prompt before {}, which continue it directly",
}


@dataclass
class Rendered:
    """The rows of a dataset as they will be trained."""

    first: RenderedRow | None = None
    missing: str | None = None
    """Why no row is rendered."""
    problems: list[UniaplError] = field(default_factory=list)
    end_of_turn: str | None = None
    """Why the student's end tokens are not those of the template."""
    changed: dict[str, list[str]] = field(default_factory=dict)
    """Ids of rows, by the change of their references."""
    unused: list[str] = field(default_factory=list)
    """Options of `data` that the chat template does not read."""

    @property
    def warnings(self) -> list[str]:
        """The changes, in sentences, why no row is shown, and what is wrong with the end of turn."""
        unseen = f"rows are not shown as they will be trained: {self.missing}"
        found = self.unused + [unseen] * (self.missing is not None) + ([self.end_of_turn] if self.end_of_turn else [])
        return found + [
            _CHANGES[change].format(f"{len(ids)} of the first references (first row: {ids[0]})")
            for change, ids in self.changed.items()
        ]


def render_rows(
    rows: Iterable[tuple[str, DatasetRow]], student: Path, options: DataOptions, *, references: bool
) -> Rendered:
    """Render rows with the tokenizer of a student's folder; the first problem ends it.

    Args:
        rows: rows with their ids.
        student: a folder with `tokenizer.json`.
        options: template, mode and date.
        references: whether a term uses the references.

    Raises:
        ImportError: transformers is not installed.
        OSError: the tokenizer cannot be read.
    """
    found = Rendered()
    try:
        renderer, found.end_of_turn = _renderer(student, student.stat().st_mtime, options.model_dump_json())
        if options.date is not None and "strftime_now" not in str(renderer.tokenizer.chat_template):
            found.unused.append("data.date has no effect: the chat template contains no current date; omit it")
        for name, row in rows:
            encoded = encode_rendered(row, name, renderer, options, references=references)
            _add(found, encoded if references else replace(encoded, reference_ids=None, change="none"), renderer)
    except UniaplError as error:
        found.problems.append(error)
    except TEMPLATE_ERRORS as error:
        found.problems.append(ModelError(f"the chat template fails: {error}", param="data.chat_template"))
    return found


def _add(found: Rendered, row: EncodedRow, renderer: Renderer) -> None:
    if row.change != "none":
        found.changed.setdefault(row.change, []).append(row.id)
    if found.first is not None and (found.first.trained is not None or row.reference_ids is None):
        return
    decode, ids = renderer.tokenizer.decode, row.reference_ids
    found.first = RenderedRow(
        row=row.id,
        prompt=row.prompt_text,
        trained=decode(ids) if ids else None,
        prompt_tokens=_texts(renderer, row.prompt_ids),
        trained_tokens=_texts(renderer, ids or []),
        earlier=[decode(answer) for _, answer in row.earlier],
    )


def _texts(renderer: Renderer, ids: Sequence[int]) -> list[str]:
    return [renderer.tokenizer.decode([i]) for i in ids]


@lru_cache(maxsize=4)
def _renderer(student: Path, changed: float, options: str) -> tuple[Renderer, str | None]:
    """The renderer of a student's folder, and what is wrong with its end of turn; `changed` is its time of change."""
    from transformers.tokenization_utils_tokenizers import TokenizersBackend  # slow to import

    given = DataOptions.model_validate_json(options)
    tokenizer = TokenizersBackend.from_pretrained(student)
    if given.chat_template is not None:
        set_template(tokenizer, given.chat_template)
    if tokenizer.chat_template is None:
        raise ModelError(
            "the student's tokenizer has no chat template: the student is a base model",
            param="data.chat_template",
            hint="set data.chat_template to 'plain' or to a Jinja template, or use a chat student",
        )
    declared = _declared(student) | {int(tokenizer.eos_token_id)}
    end = find_end_of_turn(tokenizer, declared)
    thinking = TemplateOptions(given.thinking, given.date)
    renderer = Renderer(tokenizer, int(tokenizer.eos_token_id) if end.token is None else end.token, thinking)
    return renderer, end.problem(tokenizer, declared)


def _declared(student: Path) -> set[int]:
    """End tokens of the generation config, where there is one."""
    try:
        declared = json.loads((student / "generation_config.json").read_text()).get("eos_token_id")
    except (OSError, ValueError):
        return set()
    return set(declared) if isinstance(declared, list) else set() if declared is None else {int(declared)}
