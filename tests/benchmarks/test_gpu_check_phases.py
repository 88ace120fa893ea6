"""The short form of the GPU check detects faults that are put into the library.

CI runs all of it (`make gpu-check`), which shows that there are no red flags without a fault.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from benchmarks.cuda_on_cpu import emulate_cuda
from benchmarks.gpu_check import models
from benchmarks.gpu_check.phases import first_steps, gradients, sampling
from benchmarks.gpu_check.report import Report
from tests.compiler_warnings import COMPILER_WARNINGS
from tests.conftest import MODELS
from uniapl.model import attention, block_wrappers, lm_head
from uniapl.model.lora import with_lora
from uniapl.spec.training import Lora

pytestmark = [
    pytest.mark.full,
    *COMPILER_WARNINGS,
    pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning"),
]


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return Report("gradients", "cpu", tmp_path / "result.jsonl", MODELS)


def red_flags(report: Report) -> set[str]:
    return {figure.name for figure in report.found if figure.verdict == "red flag"}


@pytest.fixture
def one_small_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "CONFIGS", {"Qwen3, 4 layers": gradients.CONFIGS["Qwen3, 4 layers"]})
    monkeypatch.setattr(gradients, "SHORT", ("several trees",))


@pytest.mark.usefixtures("one_small_case")
def test_a_mask_that_shows_other_branches_is_a_red_flag(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaks(tree: Tensor, branch: Tensor, row: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (tree[row, query] == tree[row, key]) & (key <= query)

    monkeypatch.setattr(attention, "can_attend", leaks)
    gradients.run(report)
    assert {"falls back", "logprob difference", "gradient difference"} <= red_flags(report)


def test_rounded_logits_are_a_red_flag(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    with emulate_cuda():
        report.figures("output head", gradients.head_errors(report))
        assert red_flags(report) == set()
        exact = lm_head._product
        monkeypatch.setattr(lm_head, "_product", lambda *operands: exact(*operands).bfloat16().float())
        report.figures("output head", gradients.head_errors(report))
    assert red_flags(report) == {"head error"}


def test_the_bytes_of_frozen_weights_are_those_of_their_type() -> None:
    config = sampling.TINY | {"num_hidden_layers": 1}
    plain = with_lora(models.random_policy(config, "cpu"), Lora(rank=2), seed=0)
    assert sampling.bytes_per_frozen_weight(plain) == 4
    with emulate_cuda():
        assert (
            sampling.bytes_per_frozen_weight(with_lora(models.random_policy(config, "cpu"), Lora(rank=2), seed=0)) == 2
        )


def test_donated_buffers_end_the_first_steps(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (attention, block_wrappers):
        monkeypatch.setattr(module, "keep_buffers", lambda: None)
    with pytest.raises(RuntimeError, match="donated buffers"):
        first_steps.train(report, "plain", 1)
