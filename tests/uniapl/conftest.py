"""A small policy to test with: real architecture, random weights; and this process as a trainer that gets signals."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.conftest import MODELS
from uniapl.run.signals import Signals

if TYPE_CHECKING:
    from uniapl.model.policy import Policy

Listening = Callable[[], Signals]


@pytest.fixture
def policy() -> Policy:
    """The tiny random Llama, fresh for each test."""
    import torch

    from uniapl.model.policy import load_policy
    from uniapl.run.config import ModelSource

    return load_policy(ModelSource(path=str(MODELS / "tiny-random-llama")), torch.device("cpu"))


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    """Installs signals in this process, afresh at each call; after the test there are none."""
    monkeypatch.setattr("uniapl.run.signals._installed", None)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}

    def install() -> Signals:
        signals = Signals()
        signals.install()
        return signals

    yield install
    for number, handler in before.items():
        signal.signal(number, handler)
