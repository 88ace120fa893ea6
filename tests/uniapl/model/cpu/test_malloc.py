"""Memory that a step frees stays in the heap for the next step."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

STEPS = """
import resource
import torch
from uniapl.model.cpu.malloc import keep_freed_memory
{call}
def step():
    held = [torch.ones(2**22) for _ in range(4)]  # 16 MiB each
    held.append(torch.ones(2**24))  # 64 MiB
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(call: str) -> int:
    code = STEPS.format(call=call)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


def test_steps_after_the_first_take_their_memory_from_the_heap() -> None:
    assert page_faults("keep_freed_memory()") < page_faults("") / 5
