"""Rollouts in the trainer's process, with transformers.

Each prompt is prefilled once and its cache shared by the group, or repeated for it where the student's attention does
not allow that; finished rows leave the batch; log-probabilities of the sampled tokens are computed during sampling.
Students with states of convolutions or recurrences are sampled in batches of prompts of equal length, since padding
would change these states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor
from transformers import DynamicCache

from uniapl.batching.packing import prompts_at_once
from uniapl.errors import ModelError
from uniapl.model.logprobs import precision
from uniapl.model.policy import Policy
from uniapl.rollout.continuation import Continuation, can_share, continue_prompts, prefill
from uniapl.rollout.generator import Completion, OnGroup
from uniapl.rollout.kv_cache import can_be_padded
from uniapl.rollout.stop_strings import StopStrings
from uniapl.rollout.token_sampling import ALL, sample_tokens
from uniapl.rollout.truncation import Truncation
from uniapl.run.signals import raise_if_stopped


class TransformersGenerator:
    """Samples from the weights in training, so no synchronisation is needed."""

    def __init__(
        self,
        policy: Policy,
        *,
        temperature: float,
        max_new_tokens: int,
        batch_size: int,
        truncation: Truncation = ALL,
        stop: Sequence[str] = (),
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            policy: the student.
            temperature: divides the logits.
            max_new_tokens: a completion is truncated at this length.
            batch_size: sequences sampled at once, at least a group.
            truncation: tokens that may be sampled.
            stop: strings that end a completion.
            on_batch: called after each batch.
        """
        self._policy = policy
        self._temperature = temperature
        self._max_new_tokens = max_new_tokens
        self._batch_size = batch_size
        self._truncation = truncation
        self._stop = StopStrings(policy, stop)
        self._on_batch = on_batch
        self._shares: bool | None = None
        """Whether prompts are stored once for their group; `None` before the first group."""

    def sync(self, version: int) -> None:
        """Nothing to do."""

    def release(self) -> None:
        """Nothing to do: the caches end with each call of `sample`."""

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[list[int]],
        *,
        group_size: int,
        seed: int,
        greedy: bool = False,
        on_group: OnGroup | None = None,
    ) -> list[list[Completion]]:
        """See `Generator.sample`; `on_group` is not called, since scoring in parallel would slow sampling.

        Raises:
            ModelError: the student has a cache of its own.
        """
        draws = self._draws(len(prompts) * group_size, seed)
        per_batch = prompts_at_once(self._batch_size, group_size)
        groups: dict[int, list[Completion]] = {}
        for chosen in self._batches(prompts, per_batch):
            rows = [i * group_size + g for i in chosen for g in range(group_size)]
            with precision(self._policy.device):  # as in training, so that importance ratios begin at 1
                completions = self._sample_batch([prompts[i] for i in chosen], group_size, draws[rows], greedy)
            self._on_batch()
            for position, i in enumerate(chosen):
                groups[i] = completions[position * group_size : (position + 1) * group_size]
        return [groups[i] for i in range(len(prompts))]

    def _batches(self, prompts: Sequence[list[int]], size: int) -> Iterator[list[int]]:
        """Indices of the prompts of each batch, of similar lengths, or of equal ones where padding would matter."""
        by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        padded = can_be_padded(DynamicCache(config=self._policy.model.config))
        alike = [by_length] if padded else [list(g) for _, g in groupby(by_length, lambda i: len(prompts[i]))]
        for indices in alike:
            yield from (indices[start : start + size] for start in range(0, len(indices), size))

    def _draws(self, rows: int, seed: int) -> Tensor:
        """(rows, max_new_tokens) uniform numbers: one per token, independent of the batching."""
        return torch.rand(rows, self._max_new_tokens, generator=torch.Generator().manual_seed(seed)).to(
            self._policy.device
        )

    def _sample_batch(self, prompts: list[list[int]], group_size: int, draws: Tensor, greedy: bool) -> list[Completion]:
        device = self._policy.device
        stop = torch.tensor(self._policy.stop_ids, device=device)
        logits, batch = self._start(prompts, group_size)
        ids: list[list[int]] = [[] for _ in range(len(draws))]
        logprobs: list[list[float]] = [[] for _ in range(len(draws))]
        ended = [False] * len(draws)
        active = torch.arange(len(draws), device=device)  # rows still in the batch
        for t in range(self._max_new_tokens):
            raise_if_stopped()
            tokens, token_logprobs = sample_tokens(
                logits,
                draws[active, t],
                temperature=self._temperature,
                greedy=greedy,
                truncation=self._truncation,
            )
            stopping = torch.isin(tokens, stop)
            for row, token, logprob, is_end in zip(
                active.tolist(), tokens.tolist(), token_logprobs.tolist(), stopping.tolist(), strict=True
            ):
                if not ended[row]:
                    ids[row].append(token)
                    logprobs[row].append(logprob)
                    ended[row] = is_end or self._stop.end(ids[row])
            alive = torch.tensor([not ended[row] for row in active.tolist()], device=device)
            if not alive.any() or t + 1 == self._max_new_tokens:
                break
            if (~alive).sum() * 8 >= len(active):  # copying the cache for every row would cost more
                keep = alive.nonzero().squeeze(1)
                batch.keep(keep)
                active, tokens = active[keep], tokens[keep]
            logits = batch.forward(tokens)
        return [Completion(i, p, truncated=not e) for i, p, e in zip(ids, logprobs, ended, strict=True)]

    def _start(self, prompts: list[list[int]], group_size: int) -> tuple[Tensor, Continuation]:
        """Next-token logits (B, V) and state of the completions of every prompt."""
        model, pad_id = self._policy.model, self._policy.pad_id
        try:
            if self._shares is None:
                self._shares = can_share(model, pad_id) if group_size > 1 else None
            logits, cache, mask = prefill(model, prompts, pad_id)
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{type(model).__name__} cannot be sampled by transformers: {error}",
                hint='sample with vLLM: set "rollout": {"backend": {"type": "vllm"}}, or train without rollouts: set '
                "alpha to 1 and lambda_adv to 0, without `evaluation`",
                param="student",
            ) from error
        share = group_size > 1 and bool(self._shares)
        return logits.repeat_interleave(group_size, dim=0), continue_prompts(
            model, cache, mask, group_size, share=share
        )
