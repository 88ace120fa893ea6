"""Tiny random students of several architectures, saved as transformers save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tests.conftest import MODELS
from uniapl.model.policy import Policy, load_policy
from uniapl.run.config import ModelSource

COMMON = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
EXPERTS = {"moe_intermediate_size": 24, "num_experts_per_tok": 2, "head_dim": 8}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}
KINDS: dict[str, dict[str, Any]] = {
    "qwen3_moe": COMMON | EXPERTS | {"num_experts": 4},
    "qwen2_moe": COMMON | EXPERTS | {"num_experts": 4, "shared_expert_intermediate_size": 24},
    "mixtral": COMMON | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v3": COMMON
    | {"moe_intermediate_size": 24, "num_experts_per_tok": 2, "n_routed_experts": 4, "n_group": 1, "topk_group": 1}
    | {"first_k_dense_replace": 1}
    | LATENT,
    "gpt_oss": COMMON | {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8, "sliding_window": 16},
    "laguna": COMMON | EXPERTS | {"num_experts": 4, "shared_expert_intermediate_size": 24},
    "granitemoe": COMMON | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "olmoe": COMMON | {"num_experts": 4, "num_experts_per_tok": 2},
    "glm4_moe": COMMON
    | EXPERTS
    | {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1},
    "llama4_text": COMMON
    | {"num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 64, "head_dim": 8}
    | {"interleave_moe_layer_step": 1, "attention_chunk_size": 32},
    "phi3": COMMON,
    "gemma3_text": COMMON | {"head_dim": 8, "sliding_window": 16},
    "phimoe": COMMON | {"num_local_experts": 4},
    "qwen3": COMMON | {"head_dim": 8},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
}
"""Config of each architecture: with fused experts, one that adapters do not fit, and dense ones."""
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}
SECOND_ATTENDS = {"layer_types": ["linear_attention", "full_attention"]}
RECURRENT: dict[str, dict[str, Any]] = {
    "qwen3_next": COMMON
    | EXPERTS
    | LINEAR
    | SECOND_ATTENDS
    | {"num_experts": 4, "shared_expert_intermediate_size": 24, "decoder_sparse_step": 1},
    "qwen3_5_text": COMMON | LINEAR | SECOND_ATTENDS | {"head_dim": 8},
    "lfm2": COMMON | {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "falcon_h1": COMMON | MAMBA | {"mamba_d_ssm": 64},
    "granitemoehybrid": COMMON
    | MAMBA
    | {"num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 24, "mamba_expand": 2}
    | {"layers_block_type": ["mamba", "attention"], "layer_types": ["mamba", "attention"]},
}
"""Config of each architecture with states of convolutions or recurrences."""
KINDS |= RECURRENT | {
    "minimax": COMMON
    | SECOND_ATTENDS
    | {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8, "block_size": 16}
}


def save_student(kind: str, folder: Path) -> Path:
    """Write a student of this architecture, the same each time, with the tokenizer of the tiny Llama."""
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "tiny-random-llama")
    tokens = {"vocab_size": len(tokenizer), "pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **KINDS[kind], **tokens))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def quantize_experts(folder: Path) -> Path:
    """Make a saved gpt-oss into one with experts in MXFP4, as its published checkpoints have them."""
    weights = load_file(folder / "model.safetensors")
    for name in [name for name in weights if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, inputs, outputs = weights.pop(name).shape
        generator = torch.Generator().manual_seed(0)
        blocks = (experts, outputs, inputs // 32, 16)
        weights[f"{name}_blocks"] = torch.randint(256, blocks, dtype=torch.uint8, generator=generator)
        weights[f"{name}_scales"] = torch.full(blocks[:3], 120, dtype=torch.uint8)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": kept}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def load_student(folder: Path) -> Policy:
    """As a run loads it."""
    return load_policy(ModelSource(path=str(folder)), torch.device("cpu"))


@torch.no_grad()
def let_adapters_act(policy: Policy) -> None:
    """Give fresh adapters, which change nothing, numbers that do."""
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name or "lora_embedding_A" in name:
            parameter.normal_(std=0.05)
