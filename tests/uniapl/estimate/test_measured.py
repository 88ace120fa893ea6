"""The estimate against the peak memory of real runs of three sizes; `make bench-memory` measures more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.memory import MODELS, SMALL, estimated, measured, run_config, write_mid

pytestmark = pytest.mark.integration

TOLERANCE = 0.25
FULL = pytest.mark.full


@pytest.fixture(scope="module")
def mid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mid(tmp_path_factory.mktemp("mid"))


@pytest.mark.parametrize(
    ("student", "changes"),
    [
        ("tiny-random-llama", {"grpo.group_size": 2, "schedule.prompts_per_step": 2, "rollout.max_new_tokens": 16}),
        pytest.param("mid", {"schedule.prompts_per_step": 2, "rollout.max_new_tokens": 16, "micro": 512}, marks=FULL),
        pytest.param("smollm2-135m-instruct", {**SMALL, "rollout.max_new_tokens": 8, "schedule.steps": 1}, marks=FULL),
    ],
)
def test_expected_memory_is_within_a_quarter_of_the_measured_peak(
    student: str, changes: dict[str, Any], mid: Path, tmp_path: Path
) -> None:
    run = run_config(mid if student == "mid" else MODELS / student, tmp_path / "run", **changes)
    need, found = estimated(run), measured(run)
    assert need.expected == pytest.approx(found, rel=TOLERANCE)
    assert need.low <= found <= need.high
