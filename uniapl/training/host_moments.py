"""AdamW's moments in host memory while a sampler uses the trainer's GPU."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from uniapl.training.optimizer import moments


class HostMoments:
    """Moves an optimizer's moments between its device and host memory; no value changes.

    Checkpoints may be written and loaded in either place. The host memory is kept for the next time, and is page-locked
    for a GPU, which copies several times as fast from and to it.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._buffers: dict[Tensor, dict[str, Tensor]] = {}
        """By parameter and name of the moment."""
        self._offloaded = False

    def offload(self) -> None:
        """Copy the moments to host memory, and free the device's memory, that of earlier activations included."""
        for parameter, state in self._optimizer.state.items():
            state |= {name: self._to_host(parameter, name, moment) for name, moment in moments(state).items()}
        self._offloaded = True
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # the copies are asynchronous
            torch.cuda.empty_cache()

    def restore(self) -> None:
        """Copy offloaded moments back to the devices of their parameters."""
        if not self._offloaded:
            return
        for parameter, state in self._optimizer.state.items():
            for name, moment in moments(state).items():
                state[name] = moment.to(parameter.device, non_blocking=True, copy=True)
        self._offloaded = False

    def _to_host(self, parameter: Tensor, name: str, moment: Tensor) -> Tensor:
        buffers = self._buffers.setdefault(parameter, {})
        if name not in buffers:
            buffers[name] = torch.empty_like(moment, device="cpu", pin_memory=moment.is_cuda)
        return buffers[name].copy_(moment, non_blocking=True)
