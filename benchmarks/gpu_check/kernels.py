"""Kernels of a block under PyTorch's profiler: their number, and the share of each kind in the device's time."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_check.figures import Value
from benchmarks.gpu_check.report import Device
from benchmarks.gpu_check.road import synchronize

KINDS = {  # the first that matches decides
    "attention": r"flex_attention|flash|fmha|attention",
    "products": r"gemm|nvjet|cutlass|cublas|aten::(mm|addmm|bmm)|mkldnn",
    "AdamW": r"adam",
    "softmax": r"softmax",
    "copies and casts": r"memcpy|memset|copy|_to_copy|fill",
    "reductions": r"reduce|norm|sum|triton_(red|per)",
    "elementwise": r"elementwise|triton_poi|vectorized|aten::(mul|add|silu|neg|exp|div)",
}
"""Kinds of kernels by their names, CUDA's, Triton's, and on a CPU those of operators."""


@dataclass
class Seen:
    """Events of a block, and its wall time."""

    events: Any = ()
    wall_s: float = 0.0


@contextmanager
def watch(device: Device) -> Iterator[Seen]:
    """Profile a block."""
    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    seen = Seen()
    synchronize(device)
    with profile(activities=[activity]) as profiler:
        started = time.perf_counter()
        yield seen
        synchronize(device)
        seen.wall_s = time.perf_counter() - started
    seen.events = profiler.key_averages()


def shares(seen: Seen, device: Device) -> dict[str, Value]:
    """Number of kernels, the share of the wall time in which the device is busy, and that of each kind in it."""
    seconds: Counter[str] = Counter()
    count = 0
    for event in seen.events:
        spent = event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
        if spent > 0:
            seconds[kind_of(event.key)] += spent / 1e6
            count += event.count
    busy = sum(seconds.values())
    found: dict[str, Value] = {"kernels": float(count), "busy": busy / seen.wall_s}
    return found | {kind: spent / busy for kind, spent in seconds.most_common()}


def kind_of(kernel: str) -> str:
    """Kind of a kernel by its name."""
    return next((kind for kind, names in KINDS.items() if re.search(names, kernel, re.IGNORECASE)), "other")
