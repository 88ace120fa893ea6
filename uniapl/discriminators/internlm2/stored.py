"""Tensors of a checkpoint as byte ranges of its files: safetensors, or PyTorch's zip files."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniapl.errors import ModelError

SIZES = {"F16": 2, "BF16": 2, "F32": 4}
"""Bytes per number of the supported data types, by their names in safetensors."""
MAX_HEADER = 100 << 20
"""Largest header in bytes that the safetensors format allows."""


@dataclass(frozen=True)
class StoredTensor:
    """A contiguous tensor, row-major, in a file."""

    file: Path
    offset: int
    """Position of its first byte in the file."""
    dtype: str
    """`F16`, `BF16` or `F32`."""
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * SIZES[self.dtype]

    def rows(self, first: int, count: int) -> StoredTensor:
        """`count` rows from `first` on, along the first dimension."""
        width = self.size // self.shape[0]
        return StoredTensor(self.file, self.offset + first * width, self.dtype, (count, *self.shape[1:]))


def read_tensors(folder: Path) -> dict[str, StoredTensor]:
    """All tensors of a checkpoint, by name: of its safetensors, or of its `pytorch_model*.bin` without any.

    Raises:
        ModelError: there are no weights, a file is damaged, or two files have the same tensor.
    """
    from uniapl.discriminators.internlm2.pickled import read_pickled

    files = sorted(folder.glob("*.safetensors"))
    read = _read_safetensors if files else read_pickled
    found: dict[str, StoredTensor] = {}
    for file in files or sorted(folder.glob("pytorch_model*.bin")):
        for name, tensor in read(file).items():
            if name in found:
                raise refused(f"{found[name].file.name} and {file.name} both contain {name}")
            if tensor.offset + tensor.size > file.stat().st_size:
                raise refused(f"{file.name} is truncated: it ends before {name}")
            found[name] = tensor
    _check_index(folder, found)
    return found


def refused(problem: str) -> ModelError:
    """The error of a model that cannot be converted."""
    return ModelError(problem, param="discriminator.model")


def _check_index(folder: Path, found: dict[str, StoredTensor]) -> None:
    """Compare with the index of a sharded checkpoint, which names the file of each tensor."""
    kind = "model.safetensors.index.json" if any(folder.glob("*.safetensors")) else "pytorch_model.bin.index.json"
    if not found:
        raise refused(f"{folder.name} has no *.safetensors and no pytorch_model*.bin")
    if not (index := folder / kind).exists():
        return
    named = json.loads(index.read_text())["weight_map"]
    for name, file in named.items():
        if name not in found:
            raise refused(f"tensor {name} is missing: {kind} names {file}")


def _read_safetensors(file: Path) -> dict[str, StoredTensor]:
    with file.open("rb") as opened:
        start = opened.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER + 1
        if size > MAX_HEADER:
            raise refused(f"{file.name} is not a safetensors file")
        header: dict[str, Any] = json.loads(opened.read(size))
    header.pop("__metadata__", None)
    return {name: _stored(file, 8 + size, name, entry) for name, entry in header.items()}


def _stored(file: Path, start: int, name: str, entry: dict[str, Any]) -> StoredTensor:
    dtype, (first, end) = entry["dtype"], entry["data_offsets"]
    if dtype not in SIZES:
        raise refused(f"tensor {name} has data type {dtype}; supported are {', '.join(SIZES)}")
    tensor = StoredTensor(file, start + first, dtype, tuple(entry["shape"]))
    if tensor.size != end - first:
        raise refused(f"{file.name} is damaged: {name} has {end - first} bytes for shape {list(tensor.shape)}")
    return tensor
