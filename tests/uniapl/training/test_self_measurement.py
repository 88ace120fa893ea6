"""The self-measurement of a box, on a CPU with small models: its rates are those of the trainer's own parts."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from uniapl.spec.estimate import Speed
from uniapl.training.self_measurement import SMOLLM2_135M, WORKLOADS, Workload, measure

pytestmark = pytest.mark.integration

SMALL = SMOLLM2_135M | {"vocab_size": 512, "hidden_size": 72, "intermediate_size": 128, "num_hidden_layers": 2}
TINY = Workload(SMALL, sequences=2, length=32, prompts=1, group_size=2, answer=8)
DEEP = replace(TINY, config=SMALL | {"num_hidden_layers": 24})


def test_rates_are_tokens_per_second_and_a_deeper_model_is_slower() -> None:
    started = time.perf_counter()
    tiny = measure(TINY, torch.device("cpu"), update_s=0.5)
    spent = time.perf_counter() - started
    deep = measure(DEEP, torch.device("cpu"), update_s=0.5)
    assert spent > 0.5
    assert tiny.sampling > 16 / spent  # 16 tokens took less than everything together
    assert tiny.update > 64 / spent
    assert tiny.update > 2 * deep.update
    assert tiny.sampling > 2 * deep.sampling
    assert (tiny.device, tiny.memory) == ("cpu", None)


def test_the_models_have_the_sizes_of_their_names() -> None:
    from benchmarks.gpu_check.models import shape_of

    sizes = [shape_of(workload.config).parameters for workload in WORKLOADS.values()]
    assert sizes == pytest.approx([134.5e6, 596e6], rel=0.01)


def test_the_program_writes_its_result_at_the_lowest_priority(tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    script = (
        "import os; from tests.uniapl.training.test_self_measurement import TINY;"
        "from uniapl.training.self_measurement import main; main({'cpu': TINY}, update_s=0.1); print(os.nice(0))"
    )
    command = [sys.executable, "-c", script, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split()[-1] == "19"
    found = Speed.model_validate_json(out.read_text())
    assert found.parameters == measure(TINY, torch.device("cpu"), update_s=0.0).parameters
    assert min(found.update, found.sampling) > 0
