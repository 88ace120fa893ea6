"""Gradients of the shared layout against the plain one, around the edges of FlexAttention's tiles."""

from __future__ import annotations

import time
from collections.abc import Sequence as Seq
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.gpu_check import models
from benchmarks.gpu_check.flops import Group
from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.road import cuda_road, graphs, limit_hits
from uniapl.batching.batch import Sequence
from uniapl.batching.packed import pack
from uniapl.batching.packing import Layout
from uniapl.model.layout_check import disagreement
from uniapl.model.lm_head import token_logprobs
from uniapl.model.logprobs import completion_logprobs
from uniapl.model.policy import Policy

BLOCKS, PLAIN = Layout("blocks"), Layout("plain")
CASES = {
    "several trees": [Group(7, (3, 5, 1)), Group(4, (2, 6)), Group(5, (4,))],
    "branches at tile edges": [Group(130, (100, 129, 3)), Group(40, (260,)), Group(1, (127, 1))],
    "one group": [Group(300, (40,) * 5)],
    "long prompt": [Group(500, (200,) * 6)],
    "one tile": [Group(20, (30, 30))],
}
SHORT = ("several trees", "branches at tile edges")
"""Cases of the short form."""
CONFIGS = {"Qwen3, 4 layers": models.QWEN3_SMALL, "Llama, 4 layers, 9 heads": models.LLAMA_SMALL}
TINY = {
    "Qwen3, 4 layers": models.TINY | {"num_attention_heads": 4, "num_key_value_heads": 2},
    "Llama, 4 layers, 9 heads": models.TINY | {"hidden_size": 144},
}


@dataclass(frozen=True)
class Measured:
    """Log-probabilities and gradient of the same objective."""

    logprobs: Tensor
    """(N,) of all completion tokens, in an order that does not depend on the layout."""
    gradients: list[Tensor]


def run(report: Report) -> None:
    """Compare both layouts on each model in float32 and bfloat16."""
    with cuda_road(report.device):
        report.figures("output head, bfloat16", head_errors(report))
        for name, config in CONFIGS.items():
            tiny = TINY[name] if report.is_short else {}
            spread = 0.1 if report.is_short else 0.03  # logits of about the same size in both
            policy = models.random_policy(config | tiny, report.device, spread=spread)
            torch._dynamo.reset()  # a run compiles for one model
            before = graphs()
            with limit_hits() as hits:
                compare(report, name, policy)
            report.figures(f"{name}, compiler", {"graphs": graphs() - before, "limit hits": float(hits.count)})
    if report.is_short:
        report.unchecked("generated kernels; errors of bfloat16 products on a GPU; compile times")


def head_errors(report: Report) -> dict[str, float]:
    """Errors of log-probabilities from bfloat16 operands, against float64: products that are rounded have about 0.05.

    Logits are up to 25, as those of a trained model.
    """
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(300, 256, generator=generator).bfloat16().to(report.device)
    weight = (torch.randn(8192, 256, generator=generator) * 0.35).bfloat16().to(report.device)
    ids = torch.randint(8192, (300,), generator=generator).to(report.device)
    with torch.autocast(report.device, dtype=torch.bfloat16):
        found, _ = token_logprobs(states.float(), weight.float(), None, ids, torch.ones(300, device=report.device))
    logits = states.double() @ weight.double().T
    exact = torch.log_softmax(logits, dim=-1).gather(1, ids[:, None])[:, 0]
    return {"largest logit": logits.max().item(), "head error": (found - exact).abs().max().item()}


def compare(report: Report, model: str, policy: Policy) -> None:
    """The product's own check of a layout, then each case."""
    problem = disagreement(policy, BLOCKS)
    report.figures(model, {"falls back": float(problem is not None), "reason": problem or "none"})
    vocabulary = policy.model.config.vocab_size
    for seed, (case, groups) in enumerate(CASES.items()):
        if report.is_short and case not in SHORT:
            continue
        sequences = models.step_of(groups, vocabulary, seed, demonstrations=False)
        started = time.monotonic()
        plain = measure(policy, sequences, PLAIN, nullcontext())
        blocks = measure(policy, sequences, BLOCKS, nullcontext())
        errors = {"logprob difference": difference(blocks, plain), "gradient difference": distance(blocks, plain)}
        report.figures(f"{model}, {case}, float32", {**errors, "seconds": time.monotonic() - started})
        report.figures(f"{model}, {case}, bfloat16", in_bfloat16(policy, sequences, plain))


def in_bfloat16(policy: Policy, sequences: Seq[Sequence], exact: Measured) -> dict[str, float]:
    """Errors of both layouts under autocast, against float32."""
    started = time.monotonic()
    plain = measure(policy, sequences, PLAIN, autocast(policy))
    blocks = measure(policy, sequences, BLOCKS, autocast(policy))
    return {
        "mean logprob error": (blocks.logprobs - exact.logprobs).abs().mean().item(),
        "gradient error": distance(blocks, exact),
        "gradient error over plain's": distance(blocks, exact) / distance(plain, exact),
        "seconds": time.monotonic() - started,
    }


def autocast(policy: Policy) -> AbstractContextManager[object]:
    """The precision of training on a GPU."""
    return torch.autocast(policy.device.type, dtype=torch.bfloat16)


def measure(
    policy: Policy, sequences: Seq[Sequence], layout: Layout, precision: AbstractContextManager[object]
) -> Measured:
    """Log-probabilities, and the gradient of their sum weighted by the coefficients, in one layout."""
    policy.model.zero_grad()
    rows: list[tuple[float, Tensor]] = []
    with precision:
        for packed in pack(sequences, 100_000, policy.pad_id, policy.device, layout):
            logprobs, _ = completion_logprobs(policy.model, packed, temperature=0.8)
            (packed.batch.coef[:, None] * logprobs).sum().backward()
            found = zip(packed.batch.coef.tolist(), logprobs.detach(), packed.batch.completion_mask, strict=True)
            rows += [(coef, row[mask]) for coef, row, mask in found]
    ordered = torch.cat([row for _, row in sorted(rows, key=lambda found: found[0])])
    return Measured(ordered, [p.grad.clone() for p in policy.model.parameters() if p.grad is not None])


def difference(a: Measured, b: Measured) -> float:
    """Largest difference of a token's log-probability, in nats."""
    return (a.logprobs - b.logprobs).abs().max().item()


def distance(a: Measured, b: Measured) -> float:
    """Norm of the gradients' difference, relative to the norm of `b`'s."""
    if len(a.gradients) != len(b.gradients):
        return float("nan")
    apart = [x - y for x, y in zip(a.gradients, b.gradients, strict=True)]
    return norm(apart) / norm(b.gradients)


def norm(gradients: list[Tensor]) -> float:
    """Euclidean norm over all parameters."""
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
