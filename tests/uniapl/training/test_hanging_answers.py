"""A job in which one answer in four hangs the grader: it ends, with counts."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODELS
from tests.uniapl.warm_trainer import train
from uniapl.run.reports import REPORT, MetricReport

pytestmark = pytest.mark.integration

ROWS = int(os.environ.get("UNIAPL_HANGING_ROWS", "16"))
"""Number of rows; one in four hangs. The published measurement is of 200."""
HANGING = {"type": "regex", "pattern": "(?s)^(.|.)*\\x00"}
"""No answer ends its search: 2^n ways to read n characters."""


def row(i: int) -> dict[str, Any]:
    reward = HANGING if i % 4 == 0 else {"type": "math", "answer": str(i)}
    return {"messages": [{"role": "user", "content": f"What is {i} + 0?"}], "reward": reward}


def test_a_job_of_which_a_quarter_hangs_succeeds_with_counts(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row(i)) for i in range(ROWS)))
    spec = {
        "student": str(MODELS / "tiny-random-llama"),
        "dataset_mix": [{"dataset": str(tmp_path / "rows.jsonl"), "role": "rl"}],
        "alpha": 0,
        "lambda_adv": 0,
        "grpo": {"group_size": 2},
        "rollout": {"max_new_tokens": 24},
        "reward": {"time_limit_s": 2},
        "schedule": {"steps": ROWS // 8, "prompts_per_step": 8},
    }
    run = tmp_path / "run.json"
    run.write_text(json.dumps({"spec": spec, "run_dir": str(tmp_path)}))
    begun = time.monotonic()
    status, errors = train(run, limit_s=60 + 15 * ROWS)
    took = time.monotonic() - begun
    assert status == 0, errors
    reports = [REPORT.validate_json(line) for line in (tmp_path / "reports.jsonl").read_text().splitlines()]
    steps = [r.values for r in reports if isinstance(r, MetricReport) and "loss" in r.values]
    assert len(steps) == ROWS // 8
    late = sum(values["reward/timeouts"] or 0 for values in steps)
    assert late == 2 * ROWS // 4  # two answers per row
    assert sum(values["reward/failed"] or 0 for values in steps) == 0
    print(f"{ROWS} rows, {late:g} answers that hang: {took:.1f} s")
