"""Transport of full weights by NCCL, to a sampling server on another GPU of the same machine.

Trainer and server form a group in which the trainer has rank 0 (vllm/distributed/weight_transfer/nccl_engine.py of vLLM
0.32). `/update_weights` and the broadcast of the same tensors run at the same time: each waits for the other. A server
that dies or hangs leaves a broadcast that never ends; it runs in a thread, and ends when the communicator is aborted.
Joining cannot be ended: NCCL has no communicator yet. That thread is left behind and holds no GPU kernel.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from uniapl.errors import ServerError
from uniapl.inference.client import Question, ServerRestarted
from uniapl.inference.protocol import read_version, read_world_size
from uniapl.model.policy import Policy
from uniapl.rollout.nccl import Group, GroupError, Nccl, Network
from uniapl.rollout.weight_transfer import Commands, TransferBroken, TransferUnavailable, described, requests_of

JOIN_S = 60.0
"""Deadline of the group, which takes seconds, and of an idle engine's reply."""
END_S = 15.0
"""Deadline of a broadcast after the server's reply, and of an aborted one."""
FAILURES = (ServerError, ServerRestarted, GroupError, TimeoutError)
T = TypeVar("T")


class NcclTransfer:
    """Broadcasts of weights to a server whose requests are paused meanwhile."""

    def __init__(self, policy: Policy, commands: Commands, dtype: torch.dtype, network: Network | None = None) -> None:
        """
        Args:
            policy: the student.
            commands: requests to the server.
            dtype: data type of the sampler.
            network: makes the group, by default with NCCL.
        """
        self._policy, self._commands, self._dtype = policy, commands, dtype
        self._network = network or Nccl()
        self._group: Group | None = None
        self._joined: int | None = None
        """Life of the server that is a member of the group."""
        self._sending: Future[None] | None = None

    def send(self, life: int, version: int) -> None:
        """See `Transport.send`.

        Raises:
            TransferBroken: the server may have a part of the weights, or hang.
            ServerError: the broadcast cannot be ended, so the trainer cannot continue.
        """
        if self._joined != life:
            self._join(life)
        try:
            self._send_all(life, version)
        except FAILURES as error:
            reason = self._failure_of(self._sending) or _text(error)
            self._leave()
            raise TransferBroken(f"NCCL: {reason}") from error
        except BaseException:  # a request to stop
            self._leave()
            raise

    def _join(self, life: int) -> None:
        """Make the group.

        Raises:
            TransferUnavailable: it cannot be made, and the server's engine replies.
            TransferBroken: it cannot be made, and the server's engine does not reply.
        """
        joining: Future[Group] | None = None
        try:
            size, group_id = 1 + self._workers(life), self._network.new_id()
            joining = in_background(partial(self._network.join, group_id, size, self._policy.device))
            given = {"rank_offset": 1, "world_size": size, "packed": False}
            info = given | {"nccl_unique_id_b64": base64.b64encode(group_id).decode()}
            self._within(JOIN_S).post("/init_weight_transfer_engine", life, once=True, init_info=info)
            self._group, self._joined = joining.result(END_S), life
        except FAILURES as error:
            reason = f"NCCL: {self._failure_of(joining) or _text(error)}"
            if not self._replies(life):
                raise TransferBroken(reason) from error
            raise TransferUnavailable(reason) from error

    def _workers(self, life: int) -> int:
        """Processes of the server that receive weights."""
        question = Question("/get_world_size", lambda _: None, read_world_size, method="GET", repeat=False)
        [found] = self._commands.server.ask([question], life=life, within_s=JOIN_S)
        return found

    def _replies(self, life: int) -> bool:
        """Whether the server's engine replies, so that it is not waiting for the group."""
        question = Question("/weight_info", lambda _: None, read_version, method="GET", repeat=False)
        try:
            self._commands.server.ask([question], life=life, within_s=JOIN_S)
        except (ServerError, ServerRestarted):
            return False
        return True

    def _send_all(self, life: int, version: int) -> None:
        self._commands.post(
            "/pause?mode=wait&clear_cache=false", life, once=True
        )  # a request would use half the layers
        self._commands.post("/start_weight_update", life, once=True)
        for weights in requests_of(self._policy, self._dtype):
            self._send_some(weights, life)
        self._commands.post("/finish_weight_update", life, once=True, weight_version=str(version))
        self._commands.reset_prefix_cache(life)
        self._commands.post("/resume", life, once=True)

    def _send_some(self, weights: Mapping[str, Tensor], life: int) -> None:
        assert self._group is not None, "joined"
        if self._policy.device.type == "cuda":
            torch.cuda.synchronize(self._policy.device)  # they are sent on another stream
        self._sending = in_background(partial(self._group.broadcast, list(weights.values())))
        self._commands.post("/update_weights", life, once=True, update_info=described(weights))
        self._sending.result(END_S)

    def _leave(self) -> None:
        """Leave the group, and wait until the GPU no longer reads what was being sent.

        Raises:
            ServerError: it still does.
        """
        group, self._group, self._joined = self._group, None, None
        ended = [in_background(group.abort)] if group is not None else []
        for work in [*ended, *([self._sending] if self._sending is not None else [])]:
            try:
                work.exception(END_S)
            except TimeoutError:
                raise ServerError(
                    f"a transfer of weights by NCCL did not end within {END_S:g} s of its abort",
                    param="rollout.backend",
                ) from None

    def _within(self, seconds: float) -> Commands:
        return replace(self._commands, within_s=min(seconds, self._commands.within_s))

    @staticmethod
    def _failure_of(work: Future[T] | None) -> str | None:
        """The error of work that has failed by itself."""
        error = work.exception() if work is not None and work.done() else None
        return None if error is None else _text(error)


def in_background(call: Callable[[], T]) -> Future[T]:
    """Start a call in a thread that does not keep the process alive: it may never return."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 - `result` raises it
            future.set_exception(error)

    threading.Thread(target=run, name="weights", daemon=True).start()
    return future


def _text(error: BaseException) -> str:
    if isinstance(error, ServerError):
        return error.message
    return "the server was restarted" if isinstance(error, ServerRestarted) else str(error) or "no end in time"
