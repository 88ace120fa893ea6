"""Helpers: a small student with its objective, and sequences as one packed batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from uniapl.batching.batch import Sequence
from uniapl.batching.packed import PackedBatch, pack
from uniapl.batching.packing import Layout
from uniapl.model.logprobs import completion_logprobs
from uniapl.model.lora import with_lora
from uniapl.model.policy import Policy
from uniapl.spec.job import JobSpec
from uniapl.spec.training import Lora

VOCABULARY = 23
PROMPT = [3, 1, 4]
ALIKE = [Sequence(PROMPT, [i, i], advantage=0.0, coef=0.0, old_logprobs=[-2.0, -1.0]) for i in range(1, 5)]


def tiny(*, lora: bool = False, layers: int = 2) -> Policy:
    """A random Llama in float64 with grouped heads; with `lora`, adapters with non-zero weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config)
    for owner in [model.model, *model.model.layers]:
        for name, part in list(owner.named_children()):
            if isinstance(part, LlamaRMSNorm):  # which computes in float32 whatever the model's dtype
                setattr(owner, name, torch.nn.RMSNorm(16, eps=1e-6))
    tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=0)
    policy = Policy(model.double().eval(), tokenizer, Layout("trees"))
    if lora:
        policy = with_lora(policy, Lora(rank=2), seed=0)
        for name, parameter in policy.model.named_parameters():
            parameter.data = parameter.data.double()
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    return policy


def objective(**blocks: Any) -> JobSpec:
    fields = {
        "alpha": 0.3,
        "lambda_adv": 0.05,
        "rollout": {"temperature": 0.5},
        "optimizer": {"max_grad_norm": 1e9},
        "adversarial": {"aggregate": "seq_sum"},
    }
    return JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], **fields, **blocks})


def trained(policy: Policy) -> list[Tensor]:
    return [p for p in policy.model.parameters() if p.requires_grad]


def one_pack(sequences: list[Sequence], kind: Any = "trees") -> PackedBatch:
    """All sequences in one batch; longer trees first, trees of equal length in their order."""
    (packed,) = pack(sequences, 10_000, pad_id=0, device=torch.device("cpu"), layout=Layout(kind))
    return packed


def gradient_of_a_group(policy: Policy) -> tuple[Tensor, ...]:
    """The gradient of the summed log-probabilities of four completions of one prompt, by trainable parameters."""
    packed = one_pack([Sequence([5, 6, 7], [i, 8, 9]) for i in range(4)], "trees")
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    return torch.autograd.grad(completion_logprobs(policy.model, packed, temperature=1.0)[0].sum(), parameters)
