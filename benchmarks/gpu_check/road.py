"""Code path of a GPU: the GPU itself, or its emulation on a CPU; and what torch's compiler did there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from benchmarks.cuda_on_cpu import emulate_cuda
from benchmarks.gpu_check.report import Device


def cuda_road(device: Device) -> AbstractContextManager[object]:
    """A block that runs the code of a GPU."""
    return nullcontext() if device == "cuda" else emulate_cuda()


def synchronize(device: Device) -> None:
    """Wait for the device, before a clock is read."""
    if device == "cuda":
        torch.cuda.synchronize()


def graphs() -> float:
    """Graphs that torch's compiler has compiled in this process, recompilations included."""
    return float(torch._dynamo.utils.counters["stats"]["unique_graphs"])


class LimitHits(logging.Handler):
    """Counts functions that exceed the limit of recompilations, and run without a compiled kernel from then on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count a warning of the compiler."""
        self.count += "torch._dynamo hit config" in record.getMessage()


@contextmanager
def limit_hits() -> Iterator[LimitHits]:
    """Count the hits within a block."""
    handler, logger = LimitHits(), logging.getLogger("torch._dynamo")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
