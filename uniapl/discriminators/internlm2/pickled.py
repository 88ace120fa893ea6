"""Tensors of a PyTorch zip file (`torch.save`), without torch and without running what the pickle names.

The format: `<root>/data.pkl` describes each tensor by storage key, offset, shape and strides, and `<root>/data/<key>`
holds the storage, uncompressed. A pickle can name any function; this reader accepts the three names that a state dict
of dense tensors needs, and builds descriptions instead of calling them.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

from uniapl.discriminators.internlm2.stored import SIZES, StoredTensor, refused

STORAGES = {"HalfStorage": "F16", "BFloat16Storage": "BF16", "FloatStorage": "F32"}
LOCAL_HEADER = 30
"""Bytes of a zip entry's local header before the name."""


def read_pickled(file: Path) -> dict[str, StoredTensor]:
    """The tensors of a file, by name.

    Raises:
        ModelError: it is not such a file, or contains anything but dense tensors.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            description = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            root = description.removesuffix("data.pkl")
            little = f"{root}byteorder"
            if little in archive.namelist() and archive.read(little) != b"little":
                raise refused(f"{file.name} is not little-endian")
            found = _Descriptions(file, archive, root).load()
    except (zipfile.BadZipFile, StopIteration, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise refused(f"{file.name} is not a file of tensors written by torch.save: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(tensor, StoredTensor) for tensor in found.values()):
        raise refused(f"{file.name} contains more than named tensors")
    return found


class _Descriptions(pickle.Unpickler):
    """Unpickler that maps each tensor to its byte range."""

    def __init__(self, file: Path, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")))
        self._file, self._archive, self._root = file, archive, root

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not accepted")

    def persistent_load(self, pid: Any) -> tuple[str, int, int]:
        """(dtype, position in the file, bytes) of a storage."""
        kind, dtype, key, _, numbers = pid
        entry = self._archive.getinfo(f"{self._root}data/{key}")
        if kind != "storage" or entry.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError(f"storage {key} is not stored uncompressed")
        if entry.file_size < numbers * SIZES[dtype]:
            raise pickle.UnpicklingError(f"storage {key} has {entry.file_size} bytes for {numbers} numbers of {dtype}")
        with self._file.open("rb") as opened:
            opened.seek(entry.header_offset)
            name, extra = struct.unpack("<HH", opened.read(LOCAL_HEADER)[26:])
        return dtype, entry.header_offset + LOCAL_HEADER + name + extra, entry.file_size

    def _tensor(
        self, storage: tuple[str, int, int], first: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
    ) -> StoredTensor:
        dtype, offset, size = storage
        dense = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        tensor = StoredTensor(self._file, offset + first * SIZES[dtype], dtype, tuple(shape))
        if tuple(strides) != dense or first * SIZES[dtype] + tensor.size > size:
            raise pickle.UnpicklingError(f"a tensor of shape {list(shape)} is not contiguous in its storage")
        return tensor
