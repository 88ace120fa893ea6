"""Forwards without a gradient in the trainer's process: sampling, with LoRA too, and scoring by a discriminator.

Time of a token, kernels, memory of frozen weights, and agreement of the sampler with the training forward.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence as Seq

import torch

from benchmarks.gpu_check import models
from benchmarks.gpu_check.figures import Value
from benchmarks.gpu_check.kernels import shares, watch
from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.road import cuda_road, synchronize
from benchmarks.gpu_check.scoring import score
from uniapl.batching.batch import Sequence
from uniapl.batching.packed import pack
from uniapl.model.layout_check import with_layout
from uniapl.model.logprobs import completion_logprobs, precision
from uniapl.model.lora import with_lora
from uniapl.model.policy import Policy
from uniapl.rollout.generator import Completion
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.spec.training import Lora

GROUP_SIZE = 8
TINY = models.QWEN3_06B | models.TINY | {"num_attention_heads": 4, "num_key_value_heads": 2}


def run(report: Report) -> None:
    """Sample with all weights trained and with LoRA."""
    config, prompts = (TINY, (24,)) if report.is_short else (models.QWEN3_06B, (1024, 2900))
    with cuda_road(report.device):
        policy = models.random_policy(config, report.device, spread=0.1 if report.is_short else 0.02)
        for length in prompts:
            measure(report, f"prompts of {length}", policy, length)
        adapted = with_lora(policy, Lora(rank=16), seed=0)
        report.figures("base below LoRA", {"bytes per frozen weight": bytes_per_frozen_weight(adapted)})
        measure(report, f"prompts of {prompts[0]}, LoRA", adapted, prompts[0])
        score(report)
    if report.is_short:
        report.unchecked("time of a token, kernels and utilisation on a GPU")


def bytes_per_frozen_weight(policy: Policy) -> float:
    """Mean over the weights of linear layers; an embedding that the head shares is no linear layer's."""
    frozen = [m.weight for m in policy.model.modules() if isinstance(m, torch.nn.Linear) and not m.weight.requires_grad]
    embedded = {id(m.weight) for m in policy.model.modules() if isinstance(m, torch.nn.Embedding)}
    known = {id(w): w for w in frozen if id(w) not in embedded}.values()
    return sum(w.numel() * w.element_size() for w in known) / sum(w.numel() for w in known)


def measure(report: Report, group: str, policy: Policy, length: int) -> None:
    """Figures of one policy with prompts of one length."""
    count, tokens = (2, 12) if report.is_short else (8, 64)
    draw = random.Random(0)
    prompts = [draw.choices(range(policy.model.config.vocab_size), k=length) for _ in range(count)]
    _, first = sample(report, policy, prompts, 2)  # a warm-up, and the prefill with one more token
    _, first = sample(report, policy, prompts, 2)
    groups, whole = sample(report, policy, prompts, tokens)
    per_token = (whole - first) / (tokens - 2)
    speed: dict[str, Value] = {"ms per token": 1000 * per_token, "tokens/s": count * GROUP_SIZE / per_token}
    report.figures(group, {**speed, "prefill s": first, **kernels_per_token(report, policy, prompts)})
    report.figures(f"{group}, trainer against sampler", agreement(policy, prompts, groups))


def sample(
    report: Report, policy: Policy, prompts: list[list[int]], tokens: int
) -> tuple[list[list[Completion]], float]:
    """Groups of completions, all of `tokens` tokens, and the seconds for them."""
    rows = len(prompts) * GROUP_SIZE
    sampler = TransformersGenerator(policy, temperature=1.0, max_new_tokens=tokens, batch_size=rows)
    synchronize(report.device)
    started = time.perf_counter()
    groups = sampler.sample(prompts, group_size=GROUP_SIZE, seed=0)
    synchronize(report.device)
    return groups, time.perf_counter() - started


def kernels_per_token(report: Report, policy: Policy, prompts: list[list[int]]) -> dict[str, Value]:
    """Kernels of one decoding step, and the share of its time in which the device is busy."""
    counts = []
    for tokens in (2, 10):
        with watch(report.device) as seen:
            sample(report, policy, prompts, tokens)
        found = shares(seen, report.device)
        counts.append((float(found["kernels"]), float(found["busy"]) * seen.wall_s, seen.wall_s))
    (kernels, busy, wall), (more, busier, longer) = counts
    return {"kernels per token": (more - kernels) / 8, "busy": (busier - busy) / (longer - wall)}


def agreement(policy: Policy, prompts: Seq[list[int]], groups: Seq[list[Completion]]) -> dict[str, float]:
    """Differences between the log-probabilities of the training forward and those of the sampler, in nats."""
    policy, _ = with_layout(policy)
    sequences = [
        Sequence(prompt, completion.ids, old_logprobs=completion.logprobs)
        for prompt, group in zip(prompts, groups, strict=True)
        for completion in group
    ]
    differences = []
    for packed in pack(sequences, 20_480, policy.pad_id, policy.device, policy.layout):
        with torch.no_grad(), precision(policy.device):
            logprobs, _ = completion_logprobs(policy.model, packed, temperature=1.0)
        mask = packed.batch.completion_mask
        differences.append((logprobs - packed.batch.old_logprobs)[mask].abs())
    found = torch.cat(differences)
    return {
        "mean difference": found.mean().item(),
        "max difference": found.max().item(),
        "falls back": float(not policy.layout.shares),
    }
