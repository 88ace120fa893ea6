"""Models with random weights, made from a config, and random sequences for them; nothing is loaded or downloaded."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence as Seq
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.gpu_check.flops import Group
from uniapl.batching.batch import Sequence
from uniapl.batching.packing import Layout
from uniapl.estimate.model_shape import ModelShape, from_config
from uniapl.model.policy import Policy
from uniapl.spec.job import JobSpec

Config = dict[str, Any]
_QWEN3 = {
    "model_type": "qwen3", "vocab_size": 151_936, "head_dim": 128, "num_key_value_heads": 8, "hidden_act": "silu",
    "rms_norm_eps": 1e-6, "max_position_embeddings": 40_960, "tie_word_embeddings": True,
}  # fmt: skip
QWEN3_06B: Config = _QWEN3 | {
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
}  # fmt: skip
QWEN3_4B: Config = _QWEN3 | {
    "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32,
}  # fmt: skip
QWEN3_SMALL: Config = QWEN3_06B | {"num_hidden_layers": 4, "vocab_size": 8192}
"""Four layers of Qwen3-0.6B: two query heads of 128 for each key-value head."""
LLAMA_SMALL: Config = {
    "model_type": "llama", "vocab_size": 8192, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 4,
    "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "max_position_embeddings": 8192,
    "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
}  # fmt: skip
"""Four layers of SmolLM2-135M: three query heads of 64 for each key-value head, which is no power of two."""
TINY = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 16}
"""Changes of a config for the short form on a CPU."""
NO_END = -1
"""End token that no sampler draws, so that all completions have the full length."""


def random_policy(config: Config, device: str, layout: str = "plain", *, spread: float = 0.02) -> Policy:
    """A policy with random float32 weights on the device, always the same.

    Args:
        config: entries of a transformers config, `model_type` included.
        device: `cpu` or `cuda`.
        layout: kind of the layout of its sequences.
        spread: standard deviation of the weights.
    """
    options = {name: value for name, value in config.items() if name != "model_type"}
    made = AutoConfig.for_model(config["model_type"], **options, initializer_range=spread)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(made, dtype=torch.float32)
    tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=NO_END)
    model.eval()
    return Policy(model, tokenizer, Layout(layout))  # type: ignore[arg-type]


def shape_of(config: Config) -> ModelShape:
    """Dimensions for the estimate and the FLOP count."""
    return from_config(config)


def spec_of(**options: Any) -> JobSpec:
    """A job with all three terms."""
    fields = {"student": "s", "dataset_mix": [{"dataset": "d"}], "alpha": 0.3, "lambda_adv": 0.05}
    return JobSpec.model_validate({**fields, **options})


def step_of(groups: Seq[Group], vocabulary: int, seed: int, *, demonstrations: bool = True) -> list[Sequence]:
    """Random sequences of a step; the first completion of each group is the demonstration, the others are rollouts."""
    draw = random.Random(seed)
    found: list[Sequence] = []
    for group in groups:
        prompt, *completions = (draw.choices(range(vocabulary), k=n) for n in (group.prompt, *group.completions))
        first = 1 if demonstrations else 0
        found += [Sequence(prompt, ids, demonstration=True) for ids in completions[:first]]
        for ids in completions[first:]:
            weights = {"advantage": draw.gauss(0, 1), "coef": draw.gauss(0, 1)}
            found.append(Sequence(prompt, ids, old_logprobs=[-math.log(vocabulary)] * len(ids), **weights))
    return found
