"""Abilities of the training device that speed depends on: torch's kernels, bfloat16, tiles of attention.

`python -m uniapl.model.gpu_report` prints `Report` as JSON; `uniapl admin doctor` runs it with a trainer's environment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from uniapl.errors import DeviceError
from uniapl.model.device import find_device

BFLOAT16 = (8, 0)
"""First compute capability with bfloat16 products in hardware."""
TILES = ((131_072, "torch's own tiles"), (65_536, "smaller tiles, which is slower"), (32_768, "the smallest tiles"))
"""Shared memory per thread block in bytes that FlexAttention needs for heads of 128, and the tiles that it allows."""


@dataclass(frozen=True)
class Card:
    """A GPU as torch describes it."""

    name: str
    capability: tuple[int, int]
    shared_memory: int
    """Bytes per thread block that a kernel may request."""


@dataclass(frozen=True)
class Report:
    """The training device."""

    device: str = ""
    """The device in words."""
    attention: str = ""
    """How attention is computed; empty on a CPU."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Each problem with its remedy."""


def examine() -> Report:
    """The training device of this process."""
    try:
        found = find_device()
    except DeviceError as error:
        return Report(problems=[(error.message, error.hint or "")])
    if found.device.type != "cuda":
        return Report(found.message)
    properties: Any = torch.cuda.get_device_properties(found.device)  # torch's stubs lack a field
    card = Card(properties.name, (properties.major, properties.minor), properties.shared_memory_per_block_optin)
    return Report(found.message, attention(card), problems(card, torch.cuda.get_arch_list()))


def problems(card: Card, architectures: Sequence[str]) -> list[tuple[str, str]]:
    """What a GPU lacks, with the remedy.

    Args:
        card: the GPU.
        architectures: those that torch is built for, such as `sm_90` or `compute_120`.
    """
    name, number = f"the GPU {card.name}", ".".join(map(str, card.capability))
    found = []
    if not any(runs_on(each, card.capability) for each in architectures):
        remedy = "install a build of torch that contains this architecture, or use another GPU"
        built = f"torch is built for {', '.join(architectures)}"
        found.append((f"{name} has compute capability {number}, and {built}: no kernel can run", remedy))
    if card.capability < BFLOAT16:
        what = f"{name} has compute capability {number}, without bfloat16 products in hardware: training is slow"
        found.append((what, "use a GPU of compute capability 8.0 or newer"))
    if card.shared_memory < TILES[-1][0]:
        what = f"{name} has {card.shared_memory} bytes of shared memory per thread block, too little for FlexAttention"
        found.append((what, "use a newer GPU; until then jobs train each completion with a prompt of its own"))
    return found


def runs_on(architecture: str, capability: tuple[int, int]) -> bool:
    """Whether code for an architecture runs on a GPU.

    Machine code (`sm_`) runs on the same major version from its minor version on, PTX (`compute_`) on every later one;
    the suffix `a` restricts both to exactly that GPU, `f` to its major version.
    """
    match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", architecture)
    if match is None:
        return False
    code = int(match[2]), int(match[3])
    if match[4] == "a":
        return code == capability
    same_major = code[0] == capability[0]
    return code <= capability and (same_major or (match[1] == "compute" and not match[4]))


def attention(card: Card) -> str:
    """The layout that the trainer will use, with the tiles of FlexAttention for heads of 128."""
    size = f"{card.shared_memory / 1024:.0f} KiB of shared memory per thread block"
    tiles = next((text for least, text in TILES if card.shared_memory >= least), None)
    if tiles is None:
        return f"one row per completion, without shared prompts: {size}"
    return f"prompts are shared by their completions, FlexAttention with {tiles} for heads of 128: {size}"


if __name__ == "__main__":
    print(json.dumps(asdict(examine())))
