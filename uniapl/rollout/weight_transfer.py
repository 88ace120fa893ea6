"""Transports of full weights from the trainer to its sampling server.

`DeviceIpc` shares tensors on the card by vLLM's IPC engine (vllm/distributed/weight_transfer/ipc_engine.py of vLLM
0.33, the same in 0.32): no copy through the host. `SharedFolder` writes a folder that the server reloads;
`uniapl.rollout.nccl_transfer` has the transport to another card. All send weights in the sampler's data type, which is
half of float32, and set the version that the server reports.
"""

from __future__ import annotations

import base64
import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from uniapl.errors import ServerError
from uniapl.inference.client import ModelServer, Question
from uniapl.inference.protocol import read_nothing, read_success
from uniapl.model import export
from uniapl.model.merge import merged
from uniapl.model.policy import Policy
from uniapl.run import atomic

REQUEST_BYTES = 2**30
"""Weights of one request: it bounds the second copy of the weights on the card."""
Handle = tuple[Any, ...]
"""Arguments of `torch.multiprocessing.reductions.rebuild_cuda_tensor`."""


class TransferUnavailable(Exception):
    """The server does not support a transport; its weights are as before."""


class TransferBroken(Exception):
    """A transport failed; the server may have a part of the weights, or hang, until it is restarted."""


class Transport(Protocol):
    """Sends the policy's weights to a server."""

    def send(self, life: int, version: int) -> None:
        """Send the weights after `version` updates, and have the server report this version.

        Args:
            life: start of the server that must receive them.
            version: number of updates.

        Raises:
            ServerRestarted: the server's life is no longer `life`.
            ServerError: the server did not load the weights in time.
            TransferUnavailable: the server does not support this transport.
        """


@dataclass(frozen=True)
class Commands:
    """Requests that change a server, each within `within_s` seconds."""

    server: ModelServer
    within_s: float

    def post(self, path: str, life: int, *, once: bool = False, **body: object) -> None:
        """Send a command; with `once` a failure is not repeated. Raises as `Transport.send`."""
        question = Question(path, lambda _: body, read_nothing, repeat=not once)
        self.server.ask([question], life=life, within_s=self.within_s)

    def reset_prefix_cache(self, life: int) -> None:
        """Repeat until the server has dropped the keys and values of older weights: a running request prevents it."""
        question = Question("/reset_prefix_cache", lambda _: {}, read_success)
        self.server.ask([question], life=life, within_s=self.within_s)


class SharedFolder:
    """Weights in a folder, in shared memory where it has room, which the server reloads."""

    def __init__(self, policy: Policy, commands: Commands, folder: Path, dtype: torch.dtype) -> None:
        self._policy, self._commands, self._folder, self._dtype = policy, commands, folder, dtype

    def send(self, life: int, version: int) -> None:
        """See `Transport.send`."""
        for older in self._folder.glob("version-*"):  # loaded already; a restarted server begins with `start`
            shutil.rmtree(older)
        folder = self._folder / f"version-{version}"
        write_weights(self._policy, folder, self._dtype)
        where = {"weights_path": str(folder.absolute())}
        self._commands.post("/collective_rpc", life, method="reload_weights", kwargs=where)
        self._commands.reset_prefix_cache(life)
        self._commands.post("/update_weight_version", life, new_version=str(version))


class DeviceIpc:
    """Handles of tensors on a card that trainer and server share.

    The server must sleep: a request that runs while layers are being replaced kills its engine.
    """

    def __init__(
        self,
        policy: Policy,
        commands: Commands,
        dtype: torch.dtype,
        handle: Callable[[Tensor], dict[str, Handle]] | None = None,
    ) -> None:
        """
        Args:
            policy: the student.
            commands: requests to the server.
            dtype: data type of the sampler.
            handle: exports a tensor, by default with CUDA IPC.
        """
        self._policy, self._commands, self._dtype = policy, commands, dtype
        self._handle = handle or cuda_handle
        self._ready: int | None = None
        """Life of the server whose engine is initialised."""
        self._proved: int | None = None
        """Life of the server that has received a request of weights."""

    def send(self, life: int, version: int) -> None:
        """See `Transport.send`."""
        if self._ready != life:
            self._try("/init_weight_transfer_engine", life, init_info={"packed": False})
            self._ready = life
        try:
            self._update_all(life, version)
        finally:
            free_cached_memory()

    def _update_all(self, life: int, version: int) -> None:
        self._try("/start_weight_update", life)
        for weights in requests_of(self._policy, self._dtype, allocation=fixed_segments):
            self._try("/update_weights", life, update_info=self._update(weights))
            self._proved = life
        self._commands.post("/finish_weight_update", life, once=True, weight_version=str(version))
        self._commands.reset_prefix_cache(life)

    def _try(self, path: str, life: int, **body: object) -> None:
        """Send a command once; before the server has received weights, its failure means that it cannot."""
        try:
            self._commands.post(path, life, once=True, **body)
        except ServerError as error:
            if self._proved == life:
                raise
            raise TransferUnavailable(f"{path}: {error.message}") from error

    def _update(self, weights: Mapping[str, Tensor]) -> dict[str, object]:
        """`IPCWeightTransferUpdateInfo`; the caller keeps the tensors until the server has replied."""
        if self._policy.device.type == "cuda":
            torch.cuda.synchronize(self._policy.device)  # the server reads them on a stream of its own
        handles = [self._handle(weight) for weight in weights.values()]
        return described(weights) | {"ipc_handles_pickled": base64.b64encode(pickle.dumps(handles)).decode()}


def described(weights: Mapping[str, Tensor]) -> dict[str, object]:
    """Names, types and shapes, as vLLM's `/update_weights` expects them."""
    return {
        "names": list(weights),
        "dtype_names": [str(weight.dtype).removeprefix("torch.") for weight in weights.values()],
        "shapes": [list(weight.shape) for weight in weights.values()],
    }


def cuda_handle(tensor: Tensor) -> dict[str, Handle]:
    """A CUDA IPC handle of a tensor, by the UUID of its card."""
    from torch.multiprocessing.reductions import reduce_tensor

    _, arguments = reduce_tensor(tensor)
    return {str(torch.cuda.get_device_properties(tensor.device).uuid): arguments}


@contextmanager
def fixed_segments() -> Iterator[None]:
    """Allocate GPU memory that has a CUDA IPC handle.

    Torch exports extendable segments by `pidfd_getfd`, which Linux refuses between siblings (Yama) and in containers.
    """
    configured = os.environ.get("PYTORCH_ALLOC_CONF", "")
    if "expandable_segments:True" not in configured:
        yield
        return
    torch._C._accelerator_setAllocatorSettings("expandable_segments:False")
    try:
        yield
    finally:
        torch._C._accelerator_setAllocatorSettings("expandable_segments:True")


def free_cached_memory() -> None:
    """Return GPU memory that this process holds without using it, exported memory included, to other processes."""
    if torch.cuda.is_initialized():
        torch.cuda.ipc_collect()
        torch.cuda.empty_cache()


def _copy(weight: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.detach().to(
        dtype if weight.is_floating_point() else weight.dtype, copy=True, memory_format=torch.contiguous_format
    )


def requests_of(
    policy: Policy, dtype: torch.dtype, *, allocation: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[dict[str, Tensor]]:
    """Copies of the weights under the names of their checkpoint, whole layers of about `REQUEST_BYTES` at a time.

    A layer is never divided: the server assembles fused weights from the tensors of one request. `allocation` is
    entered for the copies of each layer.
    """
    found: dict[str, Tensor] = {}
    for layer in export.written_layers(policy.model, merged(policy.model), export.untied(policy.model.config)):
        with allocation():
            found |= {name: _copy(weight, dtype) for name, weight in layer.items()}
        if sum(weight.nbytes for weight in found.values()) >= REQUEST_BYTES:
            yield found
            found = {}
    if found:
        yield found


def write_weights(policy: Policy, folder: Path, dtype: torch.dtype) -> None:
    """Write what vLLM loads, with an output head of its own; the folder appears whole."""
    with atomic.new_folder(folder) as new:
        export.save_as(policy.model, merged(policy.model), export.untied(policy.model.config), new, dtype)
        policy.tokenizer.save_pretrained(new)
        shutil.rmtree(folder, ignore_errors=True)


def size_of(policy: Policy, dtype: torch.dtype) -> int:
    """Bytes of one folder of weights."""
    head = policy.model.get_output_embeddings()
    separate = 0 if head is None or not policy.model.config.tie_word_embeddings else head.weight.numel()
    own = sum(parameter.numel() for parameter in policy.model.parameters())
    return int((own + separate) * dtype.itemsize)
