"""Float32 matrix products of SmolLM2-135M's shapes with MKL and oneDNN (`make bench-products`).

`uniapl.model.cpu.linear` chooses by these figures, on AMD and Intel processors. Both libraries alternate in one
process; the figures are medians. The output is a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.fresh import conditions

SHAPES = {"attention": (576, 576), "gate and up": (576, 1536), "down": (1536, 576), "head": (576, 49152)}
"""Input and output sizes of the layers."""


def by_mkl(states: Tensor, weight: Tensor) -> Tensor:
    """states @ weight.T with MKL."""
    return torch.nn.functional.linear(states, weight)


def by_onednn(states: Tensor, weight: Tensor) -> Tensor:
    """states @ weight.T with oneDNN."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, None, "none", [], "")
    return found


def measure(tokens: int, inputs: int, outputs: int, repeats: int) -> dict[str, dict[str, float]]:
    """GFLOP/s of the three products of a layer by library: forward, gradient of the states, gradient of the weight."""
    x, weight, grad = torch.randn(tokens, inputs), torch.randn(outputs, inputs), torch.randn(tokens, outputs)
    operands = {"forward": (x, weight), "states": (grad, weight.T), "weight": (grad.T, x.T)}
    gflop = 2 * tokens * inputs * outputs / 1e9
    found = {}
    for product, (a, b) in operands.items():
        seconds = taking_turns({"mkl": partial(by_mkl, a, b), "onednn": partial(by_onednn, a, b)}, repeats)
        found[product] = {library: gflop / s for library, s in seconds.items()}
    return found


def taking_turns(sides: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds per side, after two warm-up calls."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(2 + repeats):
        for name, side in sides.items():
            started = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(found[2:]) for name, found in seconds.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=(16, 264, 760), help="rows of the left operand")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--repeats", type=int, default=15, help="measured calls per side")
    options = parser.parse_args()
    setup = conditions(options.threads)
    torch.set_num_threads(options.threads)
    rows = []
    print("| layer | tokens | forward, MKL / oneDNN | gradient of states | gradient of weight |")
    print("|---|---:|---:|---:|---:|")
    for layer, (inputs, outputs) in SHAPES.items():
        for tokens in options.tokens:
            found = measure(min(tokens, 341) if layer == "head" else tokens, inputs, outputs, options.repeats)
            rows.append({"layer": layer, "tokens": tokens, "gflop_s": found})
            cells = (f"{speed['mkl']:.0f} / {speed['onednn']:.0f}" for speed in found.values())
            print(f"| {layer} | {tokens} | {' | '.join(cells)} |", flush=True)
    print(json.dumps({"benchmark": "products", **setup, "rows": rows}))


if __name__ == "__main__":
    main()
