"""Rows to tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from uniapl.data import encode_row, load_encoded, load_rows
from uniapl.errors import DatasetError, ModelError
from uniapl.policy import Policy
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.job import DataOptions


def row(content: str = "Say hello.", reference: str | None = "Hello!") -> DatasetRow:
    return DatasetRow.model_validate({"messages": [{"role": "user", "content": content}], "reference": reference})


def write(folder: Path, *rows: DatasetRow) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(r.model_dump_json() for r in rows))
    return path


def test_the_prompt_is_the_chat_templates_and_the_reference_ends_with_the_end_token(policy: Policy) -> None:
    encoded = encode_row(row(), 4, policy.tokenizer)
    assert encoded.id == "row-4"
    text = policy.tokenizer.decode(encoded.prompt_ids)
    assert text.endswith("<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n")
    assert encoded.reference_ids is not None
    assert encoded.reference_ids[-1] == policy.tokenizer.eos_token_id
    assert policy.text(encoded.reference_ids) == "Hello!"


def test_a_line_ends_at_a_newline_and_nowhere_else(tmp_path: Path) -> None:
    odd = "one\u2028two\u0085three\x0bfour"
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": odd}]}, ensure_ascii=False) + "\n", encoding="utf-8-sig"
    )
    assert [r.messages[0].content for r in load_rows(tmp_path / "rows.jsonl")] == [odd]


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, row(), row())
    path.write_text(path.read_text() + '\n{"messages": []}')
    with pytest.raises(DatasetError, match=r"rows\.jsonl line 3: messages: "):
        load_rows(path)


def test_rows_beyond_the_limits_are_left_out_and_named(tmp_path: Path, policy: Policy) -> None:
    path = write(tmp_path, row(), row(content="word " * 200), row(reference="word " * 50), row(reference=None))
    usable, left_out = load_encoded(path, policy.tokenizer, DataOptions(max_prompt_tokens=100, max_reference_tokens=20))
    assert [r.id for r in usable] == ["row-0", "row-3"]
    assert left_out == ["row-1", "row-2"]


def test_a_student_without_chat_template_is_refused(tmp_path: Path, policy: Policy) -> None:
    policy.tokenizer.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        load_encoded(write(tmp_path, row()), policy.tokenizer, DataOptions())
