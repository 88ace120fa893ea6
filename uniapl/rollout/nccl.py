"""Group of processes with a GPU each that broadcasts tensors by NCCL.

The NCCL library is called directly (nccl.h), since the group's other members are workers of a vLLM server: they join by
the group's id and begin with an all-reduce of one element (`PyNcclCommunicator.from_unique_id_bytes` in
vllm/distributed/device_communicators/pynccl.py of vLLM 0.32). Neither side needs the other's packages. NCCL refuses
members of another version, so both load the library that `VLLM_NCCL_SO_PATH` names, vLLM's own variable, where it is
set.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_void_p
from typing import Any, Protocol

import torch
from torch import Tensor

LIBRARY, LIBRARY_VARIABLE = "libnccl.so.2", "VLLM_NCCL_SO_PATH"
"""The library that torch has loaded, and the variable that names another."""
INTERFACE_VARIABLE, LOOPBACK = "NCCL_SOCKET_IFNAME", "=lo"
"""NCCL's variable for the network interface over which members find each other, and the loopback interface only."""
ID_BYTES = 128
SUM = 0
TYPES = {
    torch.uint8: 1,
    torch.int32: 2,
    torch.int64: 4,
    torch.float16: 6,
    torch.float32: 7,
    torch.float64: 8,
    torch.bfloat16: 9,
}
"""`ncclDataType_t`."""


class GroupError(Exception):
    """The group cannot be made, or a broadcast failed."""


class Group(Protocol):
    """A group in which this process has rank 0."""

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Send tensors one after another; returns when all are sent, and may block until `abort`.

        Raises:
            GroupError: they could not be sent.
        """

    def abort(self) -> None:
        """End a broadcast that blocks in another thread, and leave the group."""


class Network(Protocol):
    """Makes groups."""

    def new_id(self) -> bytes:
        """Id of a new group, `ID_BYTES` long. Raises `GroupError` where this machine cannot make one."""

    def join(self, group_id: bytes, size: int, device: torch.device) -> Group:
        """Join a group as rank 0 with a GPU; blocks until all `size` members have joined, for ever if one does not.

        Raises:
            GroupError: the group cannot be made.
        """


class _Id(ctypes.Structure):
    _fields_ = (("internal", ctypes.c_byte * ID_BYTES),)


class Nccl:
    """NCCL's library, loaded with the first group."""

    def __init__(self) -> None:
        self._library: ctypes.CDLL | None = None

    def new_id(self) -> bytes:
        """See `Network.new_id`."""
        os.environ.setdefault(INTERFACE_VARIABLE, LOOPBACK)  # all members are on this machine
        new = _Id()
        self.call("ncclGetUniqueId", ctypes.byref(new))
        return bytes(new)

    def join(self, group_id: bytes, size: int, device: torch.device) -> Group:
        """See `Network.join`."""
        return NcclGroup(self, group_id, size, device)

    def call(self, function: str, *arguments: object) -> None:
        """Call a function of the library; other threads run meanwhile. Raises `GroupError`."""
        self._library = self._library or _load()
        if (result := getattr(self._library, function)(*arguments)) != 0:
            reason = self._library.ncclGetErrorString(result).decode(errors="replace")
            detail = (self._library.ncclGetLastError(None) or b"").decode(errors="replace").strip()
            raise GroupError(f"{function}: {reason}" + (f" ({detail})" if detail else ""))


class NcclGroup:
    """A communicator with a stream of its own."""

    def __init__(self, nccl: Nccl, group_id: bytes, size: int, device: torch.device) -> None:
        self._nccl, self._device, self._comm = nccl, device, c_void_p()
        with torch.cuda.device(device):
            self._stream = torch.cuda.Stream(device)
            first = torch.zeros(1, device=device)
            torch.cuda.synchronize(device)
            nccl.call("ncclCommInitRank", ctypes.byref(self._comm), size, _Id.from_buffer_copy(group_id), 0)
            self._run("ncclAllReduce", first, SUM)
            self._stream.synchronize()

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """See `Group.broadcast`."""
        with torch.cuda.device(self._device):
            for tensor in tensors:
                self._run("ncclBroadcast", tensor, 0)
            self._stream.synchronize()

    def abort(self) -> None:
        """See `Group.abort`: NCCL's kernels on this GPU end, whatever the other members do."""
        self._nccl.call("ncclCommAbort", self._comm)

    def _run(self, function: str, tensor: Tensor, argument: int) -> None:
        """Start an operation in place; `argument` is that between data type and communicator."""
        if (kind := TYPES.get(tensor.dtype)) is None:
            raise GroupError(f"NCCL has no type for {tensor.dtype}")
        memory, stream = c_void_p(tensor.data_ptr()), c_void_p(self._stream.cuda_stream)
        self._nccl.call(function, memory, memory, tensor.numel(), kind, argument, self._comm, stream)


def _load() -> ctypes.CDLL:
    """The library with the types of its functions; its symbols hide those of another NCCL in this process."""
    try:
        library = ctypes.CDLL(os.environ.get(LIBRARY_VARIABLE) or LIBRARY, mode=os.RTLD_LOCAL | os.RTLD_DEEPBIND)
    except OSError as error:
        raise GroupError(f"the NCCL library cannot be loaded: {error}") from error
    operation: Sequence[Any] = [c_void_p, c_void_p, c_size_t, c_int, c_int, c_void_p, c_void_p]
    library.ncclGetErrorString.argtypes, library.ncclGetErrorString.restype = [c_int], c_char_p
    library.ncclGetLastError.argtypes, library.ncclGetLastError.restype = [c_void_p], c_char_p
    library.ncclGetUniqueId.argtypes = [POINTER(_Id)]
    library.ncclCommInitRank.argtypes = [POINTER(c_void_p), c_int, _Id, c_int]
    library.ncclAllReduce.argtypes = library.ncclBroadcast.argtypes = operation
    library.ncclCommAbort.argtypes = [c_void_p]
    return library
