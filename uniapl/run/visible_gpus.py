"""Selection of GPUs by CUDA_VISIBLE_DEVICES, as CUDA reads it: numbers, and unique prefixes of `GPU-…` or `MIG-…` ids.

Numbers are those of `nvidia-smi` (CUDA_DEVICE_ORDER=PCI_BUS_ID). The number of a GPU in MIG mode selects its first
slice. The list ends at the first name that is unknown, ambiguous, or of another kind than the first one; a list that
names a device twice selects none.
https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from uniapl.run.gpus import PhysicalGpu

IDS = ("GPU-", "MIG-")
"""Prefixes of UUIDs."""


def select(gpus: Sequence[PhysicalGpu], visible: str | None) -> list[PhysicalGpu]:
    """The GPUs that a process with this CUDA_VISIBLE_DEVICES may use, in its order; `None` selects all."""
    if visible is None:
        return list(gpus)
    found = list(_named(gpus, visible))
    return [] if len(set(found)) < len(found) else found


def _named(gpus: Sequence[PhysicalGpu], visible: str) -> Iterator[PhysicalGpu]:
    kind = next((prefix for prefix in IDS if visible.startswith(prefix)), None)
    for name in visible.split(","):
        matching = _by_id(gpus, name, kind) if kind else _by_number(gpus, name)
        if len(matching) != 1:
            return
        yield matching[0]


def _by_id(gpus: Sequence[PhysicalGpu], name: str, kind: str) -> Sequence[PhysicalGpu]:
    return [gpu for gpu in gpus if name.startswith(kind) and gpu.uuid is not None and gpu.uuid.startswith(name)]


def _by_number(gpus: Sequence[PhysicalGpu], name: str) -> Sequence[PhysicalGpu]:
    """Numbers are read as `strtoul` does: digits at the start count, the rest is ignored."""
    digits = re.match(r"\s*\+?(\d+)", name)
    return [gpu for gpu in gpus if digits and gpu.number == int(digits[1])][:1]
