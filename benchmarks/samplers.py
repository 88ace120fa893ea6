"""Three samplers of groups with prescribed completion lengths, so that all sample equal numbers of tokens."""

from __future__ import annotations

import math
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from uniapl.model.policy import Policy
from uniapl.rollout import transformers
from uniapl.rollout.generator import Completion
from uniapl.rollout.token_sampling import sample_tokens

ENDS = 2.0
"""Marker in place of a uniform number: the sequence ends at this token."""
PAGE = 32
"""Page size of continuous batching's cache in tokens. The number of pages is limited to those needed: by default the
cache uses most of the machine's memory for one attention mask, which dominates the time."""


def force_lengths(policy: Policy) -> None:
    """Prevent the model from ending sequences, with the same cost for all samplers."""

    def forbid(_: Any, __: Any, logits: Tensor) -> None:
        logits[..., policy.stop_ids] = -torch.inf

    policy.model.get_output_embeddings().register_forward_hook(forbid)


def ours(policy: Policy, prompts: list[list[int]], lengths: list[int]) -> list[list[Completion]]:
    """UniAPL's sampler; the last token of each completion is the forced end."""

    class Scheduled(transformers.TransformersGenerator):
        def _draws(self, rows: int, seed: int) -> Tensor:
            draws = super()._draws(rows, seed)
            draws[torch.arange(rows), torch.tensor(lengths) - 1] = ENDS
            return draws

    def scheduled(logits: Tensor, draws: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        tokens, logprobs = sample_tokens(logits, draws.masked_fill(draws == ENDS, 0.0), **options)
        return tokens.masked_fill(draws == ENDS, policy.stop_ids[0]), logprobs

    sampler = Scheduled(policy, temperature=1.0, max_new_tokens=max(lengths), batch_size=len(lengths))
    with patch.object(transformers, "sample_tokens", scheduled):
        return sampler.sample(prompts, group_size=len(lengths) // len(prompts), seed=0)


def generate(policy: Policy, prompts: list[list[int]], lengths: list[int]) -> int:
    """Transformers' `generate`; returns the number of sampled tokens."""
    stop, width = policy.stop_ids[0], len(prompts[0])
    found = policy.model.generate(
        torch.tensor(prompts, device=policy.device),
        attention_mask=torch.ones(len(prompts), width, dtype=torch.long, device=policy.device),
        generation_config=_whole_distribution(
            max_new_tokens=max(lengths),
            num_return_sequences=len(lengths) // len(prompts),
            eos_token_id=stop,
            pad_token_id=stop,
        ),
        logits_processor=LogitsProcessorList([_PrescribedEnds(lengths, stop, width)]),
    )[:, width:]
    return int((found != stop).sum()) + len(found)  # rows are padded with the end token


class _PrescribedEnds(LogitsProcessor):
    def __init__(self, lengths: list[int], stop: int, width: int) -> None:
        self._stop, self._last = stop, torch.tensor(lengths) + width - 1

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ending = self._last.to(scores.device) == input_ids.shape[1]
        scores[ending] = -torch.inf
        scores[ending, self._stop] = 0.0
        return scores


def continuous(policy: Policy, prompts: list[list[int]], lengths: list[int]) -> int:
    """Transformers' continuous batching; returns the number of sampled tokens."""
    config = _whole_distribution(max_new_tokens=max(lengths), eos_token_id=-1, pad_token_id=policy.pad_id)
    group = len(lengths) // len(prompts)
    found: list[Any] = []
    pages = sum(math.ceil((len(prompts[0]) + length) / PAGE) for length in lengths)
    sizes = ContinuousBatchingConfig(page_size=PAGE, num_blocks=pages, max_batch_tokens=512)
    context = policy.model.continuous_batching_context_manager(
        generation_config=config, continuous_batching_config=sizes, warmup=False
    )
    with torch.no_grad(), context as manager:
        for i, length in enumerate(lengths):
            manager.add_request(prompts[i // group], max_new_tokens=length)
        while len(found) < len(lengths):
            result = manager.get_result(timeout=1)
            if result is not None and result.is_finished():
                found.append(result)
            elif result is None and not manager.is_running():
                raise RuntimeError("continuous batching stopped before all sequences were complete")
    return sum(len(result.generated_tokens) for result in found)


def _whole_distribution(**options: Any) -> GenerationConfig:
    return GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, **options)
