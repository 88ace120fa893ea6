"""Warnings of torch's compiler, which uses deprecated functions and reads gradients."""

from __future__ import annotations

import pytest

COMPILER_WARNINGS = (
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
)
"""Marks of test files that compile."""
