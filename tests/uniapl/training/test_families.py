"""Whole runs of students of several families; `make families` runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.uniapl.chat.families import FAMILIES, Family
from tests.uniapl.training.family_runs import COLUMNS, check

pytestmark = pytest.mark.full

FEW = ("Qwen3", "DeepSeek-R1", "gpt-oss", "Gemma-4")


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.name in FEW], ids=lambda family: family.name)
def test_a_family_is_rendered_trained_sampled_saved_reloaded_and_resumed(family: Family, tmp_path: Path) -> None:
    assert check(family, tmp_path) == dict.fromkeys(COLUMNS, True)
