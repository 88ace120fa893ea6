"""A group of two processes by gloo, in place of NCCL, which needs a GPU for each of them.

    python -m tests.uniapl.rollout.gloo_group

is the server's process: it joins the group of the file that the first line of its standard input names as rank 1, and
receives what each further line describes, as vLLM's NCCL engine does, into the safetensors file that the line names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from uniapl.rollout.nccl import ID_BYTES


class Gloo:
    """Groups whose members meet in a file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "group"

    def new_id(self) -> bytes:
        """See `Network.new_id`."""
        return str(self._file).encode().ljust(ID_BYTES)

    def join(self, group_id: bytes, size: int, device: torch.device) -> GlooGroup:
        """See `Network.join`."""
        return GlooGroup(group_id.decode().strip(), 0, size)


class GlooGroup:
    """A member of a group."""

    def __init__(self, file: str, rank: int, size: int) -> None:
        options = dist.ProcessGroupGloo._Options()
        options._devices = [dist.ProcessGroupGloo.create_device(interface="lo")]
        options._timeout = timedelta(seconds=60)
        self._group = dist.ProcessGroupGloo(dist.FileStore(file, size), rank, size, options)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Send, or receive from rank 0."""
        for tensor in tensors:
            self._group.broadcast([tensor.view(-1).view(torch.uint8)], dist.BroadcastOptions()).wait()

    def abort(self) -> None:
        """Nothing blocks here for longer than the test."""


def receive() -> None:
    """Run rank 1."""
    print("ready", flush=True)
    group = GlooGroup(sys.stdin.readline().strip(), 1, 2)
    print("joined", flush=True)
    for line in sys.stdin:
        info = json.loads(line)
        each = zip(info["names"], info["dtype_names"], info["shapes"], strict=True)
        weights = {name: torch.empty(shape, dtype=getattr(torch, dtype)) for name, dtype, shape in each}
        group.broadcast(list(weights.values()))
        save_file(weights, info["into"])
        print("received", flush=True)


if __name__ == "__main__":
    receive()
