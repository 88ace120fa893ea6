"""Replacement of nvidia-ml-py by its stand-in, in this process and in those that it starts."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.nvml import pynvml


def install(
    monkeypatch: pytest.MonkeyPatch,
    *gpus: tuple[str, int] | None,
    driver: str | None = "570.86.10",
    failing: tuple[str, ...] = (),
) -> ModuleType:
    """A machine with these GPUs (name and MiB; `None`: no permission), this driver, and these functions that fail."""
    machine = json.dumps({"gpus": gpus, "driver": driver, "failing": failing})
    monkeypatch.setenv("NVML_STAND_IN", machine)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setitem(sys.modules, "pynvml", pynvml)
    return pynvml
