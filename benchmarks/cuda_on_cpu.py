"""Emulation of a CUDA run on a CPU: the same Python code, compiler front end and dtypes, without CUDA's kernels.

Within `emulate_cuda`, a CPU has the operators of a GPU (`uniapl.model.kernels.PORTABLE`) and its bfloat16 autocast;
FlexAttention computes gradients; `torch.compile` traces and differentiates (TorchDynamo and AOTAutograd) and runs the
graphs without code generation. Inductor and Triton are the parts of a GPU run that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch._dynamo
import torch._functorch.config
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.attention import flex_attention as torch_flex
from transformers.integrations import flex_attention as transformers_flex

from uniapl.model import kernels

FLEX = torch.ops.higher_order.flex_attention


@dataclass(frozen=True)
class Compiled:
    """Counts of what was compiled within `emulate_cuda`."""

    backend: Any = field(default_factory=lambda: CompileCounterWithBackend("aot_eager"))

    @property
    def frames(self) -> int:
        """Compiled graphs, recompilations included."""
        return int(self.backend.frame_count)

    @property
    def flex_variants(self) -> int:
        """Compiled graphs that contain FlexAttention."""
        return sum(any(node.target is FLEX for node in graph.graph.nodes) for graph in self.backend.graphs)

    @property
    def operators(self) -> set[str]:
        """Names of the operators in all graphs, those of their subgraphs included."""
        parts = [
            part for graph in self.backend.graphs for part in graph.modules() if isinstance(part, torch.fx.GraphModule)
        ]
        return {str(node.target) for part in parts for node in part.graph.nodes}


@contextmanager
def emulate_cuda(precision: torch.dtype = torch.bfloat16) -> Iterator[Compiled]:
    """Run the code of a GPU on CPU tensors; restores every setting at the end.

    Students that are loaded within it have the layers of a GPU. Graphs compiled earlier, or within it, are dropped.

    Args:
        precision: dtype of matrix products under `uniapl.model.logprobs.precision`; float32 for exact comparisons.
    """
    compiled = Compiled()
    with_sum = _asking_for_the_sum(transformers_flex.compile_friendly_flex_attention)
    torch._dynamo.reset()
    try:
        with (
            patch.dict(kernels.SELECTED, {"cpu": replace(kernels.PORTABLE, precision=precision)}),
            patch.object(torch, "compile", partial(torch.compile, backend=compiled.backend)),
            patch.object(torch_flex, "_validate_device", lambda *_: None),  # refuses gradients on a CPU
            patch.object(transformers_flex, "compile_friendly_flex_attention", with_sum),
            patch.object(transformers_flex.WrappedFlexAttention, "_instance", None),  # holds the compiled function
            torch._functorch.config.patch(donated_buffer=True),  # torch's default
        ):
            yield compiled
    finally:
        torch._dynamo.reset()


def _asking_for_the_sum(attention: Callable[..., Any]) -> Callable[..., Tensor]:
    """Attention that also computes the log-sum-exp, which transformers asks for on every device except a CPU."""

    def with_sum(*args: Any, **options: Any) -> Tensor:
        output: Tensor = attention(*args, **options | {"return_aux": torch_flex.AuxRequest(lse=True)})[0]
        return output

    return with_sum
