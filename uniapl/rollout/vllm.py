"""Rollouts from a vLLM server that loads the policy's weights after each update.

Adapters are loaded under a name that contains their version, which every reply repeats. Full weights are sent by
`uniapl.rollout.weight_transfer`, and their version is read back before and after sampling. A restarted server has
neither, so each request is bound to one start of the server, its `life`. It begins with the weights of the folder
`start`, which are not sent again.

A server that shares the trainer's card sleeps between two samplings. Full weights are discarded then (level 2), since
the next `sync` sends newer ones; base weights below adapters are kept in host memory (level 1). Full weights are only
sent to a sleeping server there: it has no KV cache then, whose memory the transfer uses, and runs no request.

Written weights always have a separate output head, also where the student shares it with its embeddings: vLLM 0.32 on
CPU caches a packed copy of a shared head, which a reload does not renew (measured: it then sampled from old weights).
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from peft import PeftModel

from uniapl.errors import ServerError
from uniapl.inference.client import ModelServer, Question, ServerRestarted
from uniapl.inference.endpoint import ProbePause, RestartRequest
from uniapl.inference.protocol import Sampled, completion_request, read_completions, read_nothing, read_version
from uniapl.model.lora import save_adapter
from uniapl.model.policy import Policy
from uniapl.rollout.generator import Completion, OnGroup
from uniapl.rollout.nccl_transfer import NcclTransfer
from uniapl.rollout.stop_strings import StopStrings
from uniapl.rollout.weight_transfer import (
    Commands,
    DeviceIpc,
    SharedFolder,
    TransferBroken,
    TransferUnavailable,
    Transport,
    free_cached_memory,
    size_of,
    write_weights,
)
from uniapl.run.config import SAMPLER_START
from uniapl.run.shared_memory import SharedMemoryFolder
from uniapl.run.signals import raise_if_stopped
from uniapl.spec.backend import VllmSampler
from uniapl.spec.training import Rollout

POLL_S = 0.1
COMMANDS = 4
"""Commands of a weight update, each of which may take `sync_s`; probes are suspended for no longer."""
SEED_BITS = 62
"""Bits of a request's seed, to which the server adds the index of the completion within the group."""


@dataclass(frozen=True)
class SamplerPlace:
    """The server's relation to the trainer."""

    probes: ProbePause
    """Suspends the worker's health probes while the server cannot answer."""
    restart: RestartRequest
    """Has the worker restart the server."""
    report: Callable[[str], object]
    """Adds a warning to the run's events."""
    shared_card: bool = False
    """Whether the server uses the trainer's GPU."""


class VllmGenerator:
    """Samples from a server that the worker manages."""

    def __init__(
        self,
        policy: Policy,
        server: ModelServer,
        options: Rollout,
        *,
        folder: Path,
        place: SamplerPlace,
        version: int = 0,
    ) -> None:
        """
        Args:
            policy: the student, whose weights are sent.
            server: the sampling server.
            options: temperature, length, and the time to load weights.
            folder: where weights are written for the server; created here. Its folder `start` lets the server start.
            place: the server's relation to the trainer.
            version: number of updates in the policy's present weights.
        """
        self._policy, self._server, self._options, self._folder = policy, server, options, folder
        self._place, self._started_from = place, version
        self._stop = set(policy.stop_ids)
        self._stop_strings = StopStrings(policy, options.stop)
        self._has_adapter = isinstance(policy.model, PeftModel)
        self._commands = Commands(server, options.sync_s)
        self._synced = (-1, -1)
        """Life of the server, and the version of the weights that it loaded."""
        self._altered, self._asleep = -1, -1
        """Life of the server that no longer has the weights of `start`; life of the server that sleeps."""
        self._dtype = dtype_of(options)
        self._transports: list[Transport] = []
        """The transport in use, and the one that replaces it if the server does not support it."""
        if self._has_adapter:
            (folder / SAMPLER_START).mkdir(parents=True, exist_ok=True)
        else:
            self._memory = self._new_folder()
            write_weights(policy, folder / SAMPLER_START, self._dtype)
            self._transports = self._possible_transports()
        if place.shared_card:
            free_cached_memory()  # the server starts now, or wakes later, in what this process leaves

    def _new_folder(self) -> SharedMemoryFolder:
        """The folder of weights, with room for those of the server's start and of one update."""
        memory = SharedMemoryFolder(self._folder, 2 * size_of(self._policy, self._dtype))
        if memory.obstacle is not None:
            self._place.report(f"weights for the sampler are written to disk, not to shared memory: {memory.obstacle}")
        return memory

    def _possible_transports(self) -> list[Transport]:
        written = SharedFolder(self._policy, self._commands, self._folder, self._dtype)
        if self._policy.device.type != "cuda":
            return [written]
        on_card = DeviceIpc if self._place.shared_card else NcclTransfer
        return [on_card(self._policy, self._commands, self._dtype), written]

    def sync(self, version: int) -> None:
        """See `Generator.sync`."""
        while self._synced != (target := (self._server.life(), version)) or self._asleep == target[0]:
            self._place.probes.begin(self._options.sync_s * COMMANDS)
            try:
                if self._place.shared_card:
                    free_cached_memory()
                self._send_weights(*target)
            except ServerRestarted:
                continue
            finally:
                self._place.probes.end()
            self._synced = target

    def release(self) -> None:
        """See `Generator.release`; a server with a card of its own keeps its memory."""
        while self._place.shared_card and self._asleep != (life := self._server.life()):
            self._place.probes.begin()
            try:
                self._sleep(life)
            except ServerRestarted:
                self._place.probes.end()

    def _sleep(self, life: int) -> None:
        level = 1 if self._has_adapter else 2
        self._commands.post(f"/sleep?level={level}&mode=wait", life)
        self._asleep = life
        if not self._has_adapter:
            self._altered = life

    def sample(
        self,
        prompts: Sequence[list[int]],
        *,
        group_size: int,
        seed: int,
        greedy: bool = False,
        on_group: OnGroup | None = None,
    ) -> list[list[Completion]]:
        """See `Generator.sample`; the result is reproducible as far as the server's arithmetic is."""
        number = 1 if greedy else group_size  # greedy completions of a prompt are equal
        seeds = [random.Random(f"{seed}/{i}").getrandbits(SEED_BITS) for i in range(len(prompts))]
        while True:
            life, version = self._synced
            questions = [self._question(p, s, number, greedy) for p, s in zip(prompts, seeds, strict=True)]
            try:
                self._check_version(life, version)
                groups = self._server.ask(questions, life=life, on_answer=self._on_reply(on_group))
                self._check_version(life, version)
                return [self._completions(group) * (group_size // number) for group in groups]
            except ServerRestarted:
                self.sync(version)

    def _on_reply(self, on_group: OnGroup | None) -> Callable[[int, list[Sampled]], None] | None:
        return None if on_group is None else lambda i, group: on_group(i, self._completions(group))

    def _completions(self, group: list[Sampled]) -> list[Completion]:
        version = self._synced[1]
        return [Completion(s.ids, s.logprobs, truncated=not self._is_finished(s.ids), version=version) for s in group]

    def _is_finished(self, ids: list[int]) -> bool:
        return ids[-1] in self._stop or self._stop_strings.end(ids)

    def _question(self, prompt: list[int], seed: int, number: int, greedy: bool) -> Question[list[Sampled]]:
        version = self._synced[1]

        def body(model: str) -> dict[str, Any]:
            return completion_request(
                self._name(model, version),
                prompt=prompt,
                number=number,
                max_tokens=self._options.max_new_tokens,
                temperature=0.0 if greedy else self._options.temperature,
                stop_ids=sorted(self._stop),
                seed=seed,
                stop=self._options.stop,
                top_p=self._options.top_p,
                top_k=self._options.top_k,
                min_p=self._options.min_p,
            )

        def read(content: bytes, model: str) -> list[Sampled]:
            return read_completions(content, model=self._name(model, version), count=number)

        return Question("/v1/completions", body, read)

    def _name(self, model: str, version: int) -> str:
        return f"{model}@{version}" if self._has_adapter else model

    def _send_weights(self, life: int, version: int) -> None:
        """Send the policy's weights to the server.

        Raises:
            ServerRestarted: the server's life is no longer `life`.
            ServerError: the server did not load them in time.
        """
        if self._has_adapter:
            if self._asleep == life:
                self._commands.post("/wake_up", life)
                self._asleep = -1
            if self._synced != (life, version):
                self._send_adapter(life, version)
        elif version == self._started_from and self._altered != life:
            self._commands.post("/update_weight_version", life, new_version=str(version))
        else:
            self._send_all(life, version)

    def _send_all(self, life: int, version: int) -> None:
        """Send full weights. A sleeping server first gets memory for them, and afterwards for its KV cache."""
        self._altered = life
        if not self._place.shared_card:
            self._transport(life, version)
            return
        if self._asleep != life:
            self._sleep(life)
        self._commands.post("/wake_up?tags=weights", life)
        self._transport(life, version)
        self._commands.post("/wake_up?tags=kv_cache", life)
        self._asleep = -1

    def _transport(self, life: int, version: int) -> None:
        try:
            self._transports[0].send(life, version)
        except TransferUnavailable as reason:
            self._replace_transport(reason)
            self._transports[0].send(life, version)
        except TransferBroken as reason:
            self._replace_transport(reason)
            self._restart(life)

    def _replace_transport(self, reason: Exception) -> None:
        del self._transports[0]
        where = "on the card" if self._place.shared_card else "from card to card"
        self._place.report(f"weights are handed to the sampler in a folder, not {where}: {reason}")

    def _restart(self, life: int) -> NoReturn:
        """Have the worker restart the server, and wait for the end of this life. Raises `ServerRestarted`."""
        self._place.restart.make(life)
        while self._server.life() == life:
            raise_if_stopped()
            time.sleep(POLL_S)
        raise ServerRestarted

    def _send_adapter(self, life: int, version: int) -> None:
        folder = self._folder / f"version-{version}"
        shutil.rmtree(folder, ignore_errors=True)
        save_adapter(self._policy.model, folder)
        self._command("/v1/load_lora_adapter", life, lora_path=str(folder.absolute()), lora_name=version)
        if (before := self._synced) != (-1, -1) and before[0] == life:
            self._command("/v1/unload_lora_adapter", life, lora_name=before[1])
        for path in self._folder.glob("version-*"):
            if path != folder:
                shutil.rmtree(path)

    def _command(self, path: str, life: int, **body: object) -> None:
        def named(model: str) -> dict[str, object]:
            if isinstance(version := body.get("lora_name"), int):
                return {**body, "lora_name": self._name(model, version)}
            return body

        self._server.ask([Question(path, named, read_nothing)], life=life, within_s=self._options.sync_s)

    def _check_version(self, life: int, version: int) -> None:
        """Check the version of full weights; replies contain the version of an adapter.

        Raises:
            ServerError: the server has another version.
            ServerRestarted: the server's life is no longer `life`.
        """
        if self._has_adapter:
            return
        [loaded] = self._server.ask([Question("/weight_info", lambda _: None, read_version, method="GET")], life=life)
        if loaded != str(version):
            raise ServerError(
                f"the sampler has version {loaded} of the weights instead of {version}", param="rollout.backend"
            )


def dtype_of(options: Rollout) -> torch.dtype:
    """Data type in which the server computes: with `auto` vLLM takes that of the written config, bfloat16."""
    chosen = options.backend.dtype if isinstance(options.backend, VllmSampler) else "auto"
    types = {"float32": torch.float32, "float16": torch.float16}
    return types.get(chosen, torch.bfloat16)
