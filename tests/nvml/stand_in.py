"""Replacement of nvidia-ml-py by its stand-in, in this process and in those that it starts."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.nvml import pynvml


def install(
    monkeypatch: pytest.MonkeyPatch,
    *gpus: tuple[str, int | None] | dict[str, Any] | None,
    driver: str | None = "570.86.10",
    failing: tuple[str, ...] = (),
) -> ModuleType:
    """A machine with these GPUs, this driver, and these functions that fail.

    A GPU is a name with its MiB (`None`: memory is "Not Supported"), a dict with `name`, `mib`, `uuid`, `cc`, and
    `slices` in MIG mode, or `None` without permission.
    """
    described = [dict(zip(("name", "mib"), gpu, strict=True)) if isinstance(gpu, tuple) else gpu for gpu in gpus]
    machine = json.dumps({"gpus": described, "driver": driver, "failing": failing})
    monkeypatch.setenv("NVML_STAND_IN", machine)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setitem(sys.modules, "pynvml", pynvml)
    return pynvml
