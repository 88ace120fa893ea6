"""Out of memory: the texts are classified, and an update without memory is repeated with smaller micro-batches.

On a GPU torch's allocator is limited to what the smaller micro-batch needs; on a CPU the forward of a large pack raises
the same error.
"""

from __future__ import annotations

import gc
from typing import Any

import torch

from benchmarks.gpu_check import models
from benchmarks.gpu_check.flops import Group
from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.road import cuda_road
from uniapl.model.layout_check import with_layout
from uniapl.run.out_of_memory import is_out_of_memory
from uniapl.training.learner import Learner, Metrics

TEXTS = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.00 GiB",
    "torch.AcceleratorError: CUDA error: out of memory",
    "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "RuntimeError: Triton Error [CUDA]: out of memory",
)
"""Errors of torch, cuBLAS and Triton for an allocation that fails."""
LARGE, SMALL = 2048, 1024
"""Tokens of a micro-batch that does not fit, and of its half, which does."""
TINY = models.QWEN3_06B | models.TINY | {"num_attention_heads": 4, "num_key_value_heads": 2}
CONFIG = models.QWEN3_06B | {"num_hidden_layers": 8, "vocab_size": 8192}


def run(report: Report) -> None:
    """Classify the texts, then make an update without enough memory."""
    classify_texts(report)
    with cuda_road(report.device):
        expected = update(learner_of(report, SMALL))
        learner = learner_of(report, LARGE)
        limit_memory(report, learner)
        try:
            found = update(learner)
        except torch.OutOfMemoryError as error:
            report.figures("update", {"raised": 1.0, "continues": 0.0, "error": str(error)[:200]})
        else:
            apart = abs(found["grad_norm"] / expected["grad_norm"] - 1)
            report.figures("update", {"continues": 1.0, "norm difference": apart})
    if report.is_short:
        report.unchecked("an allocation that fails on a GPU")


def classify_texts(report: Report) -> None:
    """The trainer's recognition of these texts, and the worker's classification of logs that end with them."""
    for text in TEXTS:
        report.figures(text.partition(":")[0], {"recognised": float(is_out_of_memory(text))})
    try:
        from worker.failures import classify
    except ImportError as error:
        report.unchecked(f"classification by the worker, whose packages are not installed: {error}")
        return
    for text in TEXTS:
        found = classify(1, None, f"Traceback (most recent call last):\n{text}\n")
        report.figures(text.partition(":")[0], {"classified": float(found.error.code == "out_of_memory")})


def learner_of(report: Report, micro_batch_tokens: int) -> Learner:
    """A learner as the trainer makes it."""
    policy, _ = with_layout(models.random_policy(TINY if report.is_short else CONFIG, report.device, spread=0.05))
    return Learner(policy, models.spec_of(resources={"micro_batch_tokens": micro_batch_tokens}))


def update(learner: Learner) -> Metrics:
    """One update whose sequences fill a large micro-batch."""
    groups = [Group(128, (128,) * 7), Group(128, (100,) * 8)]
    return learner.update(models.step_of(groups, 97, 0), 0, measure_terms=False)


def limit_memory(report: Report, learner: Learner) -> None:
    """Let a forward of more than `SMALL` tokens run out of memory."""
    if report.device == "cuda":
        gc.collect()
        torch.cuda.empty_cache()

    def refuse(module: Any, arguments: Any, options: dict[str, Any]) -> None:
        if options["input_ids"].numel() > SMALL and report.device == "cuda":
            torch.empty(2 * torch.cuda.get_device_properties(0).total_memory, dtype=torch.uint8, device="cuda")
        if options["input_ids"].numel() > SMALL:
            raise torch.OutOfMemoryError("CUDA out of memory. Emulated on a CPU.")

    learner._policy.model.get_decoder().register_forward_pre_hook(refuse, with_kwargs=True)
