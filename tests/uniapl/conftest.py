"""A small policy to test with: real architecture, random weights."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import MODELS
from uniapl.policy import Policy, load_policy
from uniapl.spec.run import ModelSource


@pytest.fixture
def policy() -> Policy:
    """The tiny random Llama, fresh for each test."""
    return load_policy(ModelSource(path=str(MODELS / "tiny-random-llama")), torch.device("cpu"))
