"""Rollouts from a vLLM server that loads the policy's weights after each update.

Adapters are loaded under a name that contains their version, which every reply repeats. Full weights are written to a
folder that the server reloads, and their version is read back before and after sampling. A restarted server has
neither, so each request is bound to one start of the server, its `life`.

Written weights always have a separate output head, also where the student shares it with its embeddings: vLLM 0.32 on
CPU caches a packed copy of a shared head, which a reload does not renew (measured: it then sampled from old weights).
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel

from uniapl.errors import ServerError
from uniapl.inference.client import ModelServer, Question, ServerRestarted
from uniapl.inference.protocol import Sampled, completion_request, read_completions, read_nothing, read_version
from uniapl.model import export
from uniapl.model.lora import save_adapter
from uniapl.model.merge import merged
from uniapl.model.policy import Policy
from uniapl.rollout.generator import Completion, OnGroup
from uniapl.run import atomic
from uniapl.run.config import SAMPLER_START
from uniapl.spec.training import Rollout

SEED_BITS = 62
"""Bits of a request's seed, to which the server adds the index of the completion within the group."""


class VllmGenerator:
    """Samples from a server that the worker manages."""

    def __init__(self, policy: Policy, server: ModelServer, options: Rollout, *, folder: Path) -> None:
        """
        Args:
            policy: the student, whose weights are sent.
            server: the sampling server.
            options: temperature, length, and the time to load weights.
            folder: where weights are written for the server.
        """
        self._policy, self._server, self._options, self._folder = policy, server, options, folder
        self._stop = set(policy.stop_ids)
        self._has_adapter = isinstance(policy.model, PeftModel)
        self._synced = (-1, -1)
        """Life of the server, and the version of the weights that it loaded."""
        if not self._has_adapter:
            write_weights(policy, folder / SAMPLER_START)

    def sync(self, version: int) -> None:
        """See `Generator.sync`."""
        while self._synced != (target := (self._server.life(), version)):
            try:
                self._send_weights(*target)
            except ServerRestarted:
                continue
            self._synced = target

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
        return [Completion(s.ids, s.logprobs, truncated=s.ids[-1] not in self._stop, version=version) for s in group]

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
        folder = self._folder / f"version-{version}"
        shutil.rmtree(folder, ignore_errors=True)
        if self._has_adapter:
            save_adapter(self._policy.model, folder)
            self._command("/v1/load_lora_adapter", life, lora_path=str(folder.absolute()), lora_name=version)
            if (before := self._synced) != (-1, -1) and before[0] == life:
                self._command("/v1/unload_lora_adapter", life, lora_name=before[1])
        else:
            write_weights(self._policy, folder)
            where = {"weights_path": str(folder.absolute())}
            self._command("/collective_rpc", life, method="reload_weights", kwargs=where)
            self._command("/reset_prefix_cache", life)
            self._command("/update_weight_version", life, new_version=str(version))
        for path in self._folder.iterdir():
            if path.name != SAMPLER_START and path != folder:  # a restarted server loads it
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


def write_weights(policy: Policy, folder: Path) -> None:
    """Write what vLLM loads, with an output head of its own; the folder appears whole."""
    with atomic.new_folder(folder) as new:
        export.save_as(policy.model, merged(policy.model), export.untied(policy.model.config), new)
        policy.tokenizer.save_pretrained(new)
        shutil.rmtree(folder, ignore_errors=True)
