"""Warnings of the preview of rows as they will be trained."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import MODELS
from tests.uniapl.chat.families import chatml
from tests.uniapl.chat.test_renderer import named, renderer_of
from uniapl.data.preview import Rendered, render_rows
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.training import DataOptions

pytestmark = pytest.mark.unit

DATED = "{{ strftime_now('%Y') }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
ROW = DatasetRow.model_validate({"messages": [{"role": "user", "content": "Hi"}], "reference": "Yo"})


def preview(folder: Path, template: str, eos: str = "<|im_end|>") -> Rendered:
    tokenizer = renderer_of(named("SmolLM2"), "off").tokenizer
    tokenizer.chat_template, tokenizer.eos_token = template, eos
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": tokenizer.convert_tokens_to_ids(eos)}))
    return render_rows([("r1", ROW)], folder, DataOptions(), references=True)


def test_an_end_of_turn_without_a_token_is_warned_of(tmp_path: Path) -> None:
    (warning,) = preview(tmp_path, chatml().replace("<|im_end|>", "<|over|>")).warnings
    assert "ends an answer with '<|over|>', which has no token of its own" in warning


def test_an_end_of_turn_that_the_student_does_not_declare_is_warned_of(tmp_path: Path) -> None:
    found = preview(tmp_path, chatml(), eos="<|im_start|>")
    assert found.first is not None
    assert found.first.trained == "Yo<|im_end|>"
    (warning,) = found.warnings
    assert "ends an answer with '<|im_end|>', but the student's generation stops at '<|im_start|>' only" in warning


def test_a_student_that_declares_its_end_of_turn_has_no_warning(tmp_path: Path) -> None:
    assert preview(tmp_path, chatml()).warnings == []


@pytest.mark.parametrize("date", [None, datetime.date(2026, 7, 1)])
@pytest.mark.parametrize("template", [None, DATED])
def test_a_date_that_no_template_shows_is_named(
    tmp_path: Path, template: str | None, date: datetime.date | None
) -> None:
    student = shutil.copytree(MODELS / "tiny-random-llama", tmp_path / "student")
    found = render_rows([], student, DataOptions(chat_template=template, date=date), references=False)
    assert found.problems == []
    dated = [warning for warning in found.warnings if warning.startswith("data.date")]
    assert len(dated) == (date is not None and template is None)
