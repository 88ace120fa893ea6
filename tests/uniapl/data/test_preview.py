"""Rows as they will be trained: warnings of options that the student's chat template does not read."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest

from tests.conftest import MODELS
from uniapl.data.preview import render_rows
from uniapl.spec.training import DataOptions

pytestmark = pytest.mark.integration
DATED = "{{ strftime_now('%Y') }}{% for m in messages %}{{ m['content'] }}{% endfor %}"


@pytest.mark.parametrize("date", [None, datetime.date(2026, 7, 1)])
@pytest.mark.parametrize("template", [None, DATED])
def test_a_date_that_no_template_shows_is_named(
    tmp_path: Path, template: str | None, date: datetime.date | None
) -> None:
    student = shutil.copytree(MODELS / "tiny-random-llama", tmp_path / "student")
    found = render_rows([], student, DataOptions(chat_template=template, date=date), references=False)
    assert found.problems == []
    assert [warning.split()[0] for warning in found.warnings] == ["data.date"] * (date is not None and template is None)
