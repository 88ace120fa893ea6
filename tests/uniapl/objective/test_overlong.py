"""The soft penalty on long completions."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from uniapl.objective.overlong import overlong_penalty

pytestmark = pytest.mark.integration


def test_the_penalty_is_dapos() -> None:
    lengths = torch.tensor([1, 16384, 16385, 18432, 20480])  # arXiv:2503.14476: 16384 free, 4096 punished
    expected = torch.tensor([0, 0, -1 / 4096, -0.5, -1], dtype=torch.float64)
    assert_close(overlong_penalty(lengths, limit=20480, tokens=4096), expected)


def test_without_tokens_there_is_no_penalty() -> None:
    assert_close(overlong_penalty(torch.tensor([1, 8]), limit=8, tokens=0), torch.zeros(2, dtype=torch.float64))
