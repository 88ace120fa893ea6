"""The tables of docs/gpu.md are those that the estimate and the arithmetic give; the targets follow from them."""

from __future__ import annotations

import pytest

from benchmarks.gpu_arithmetic import GPUS, MODELS, TARGETS, mfu, step_s, written
from tests.conftest import ROOT

pytestmark = pytest.mark.unit
H200 = GPUS[-1]


def test_the_document_has_the_tables_of_this_code() -> None:
    text = (ROOT / "docs" / "gpu.md").read_text()
    assert text.count("| Qwen3-0.6B") == 4
    assert written(text) == text, "run `python -m benchmarks.gpu_arithmetic --write docs/gpu.md`"


@pytest.mark.parametrize("name", TARGETS)
def test_the_targets_on_an_h200_follow_from_the_arithmetic(name: str) -> None:
    seconds, share = TARGETS[name]
    parts = step_s(MODELS[name], H200)
    assert parts is not None
    assert sum(parts) <= seconds
    assert mfu(MODELS[name], H200, parts[1]) >= share


def test_the_models_have_their_published_sizes() -> None:
    sizes = {"Qwen3-0.6B": 0.596e9, "Qwen3-1.7B": 1.72e9, "Qwen3-4B": 4.02e9, "Qwen3-8B": 8.19e9}
    assert {name: shape.parameters for name, shape in MODELS.items()} == pytest.approx(sizes, rel=0.01)
