"""A tiny POLAR with random weights in its published layout: InternLM2's names, shapes, config keys and tokenizer.

Facts from internlm/POLAR-7B: config.json, tokenizer_config.json, the sizes and the pickle imports of its
pytorch_model-0000N-of-00008.bin. Only the sizes differ here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import sentencepiece
import torch
from safetensors.torch import save_file
from torch import Tensor

from uniapl.run.config import ModelSource

HIDDEN, HEADS, GROUPS, LAYERS, WIDE = 256, 8, 2, 2, 384
UNUSED = [f"[UNUSED_TOKEN_{n}]" for n in range(147)]
REPLACED = {
    0: "<|reward|>",
    141: "<|plugin|>",
    142: "<|interpreter|>",
    143: "<|action_end|>",
    144: "<|action_start|>",
    145: "<|im_end|>",
    146: "<|im_start|>",
}
"""Tokens that stand in the place of unused pieces: 92397 and 92538 to 92543 in the published vocabulary."""
TEXTS = [
    "How many apples are there? There are three apples, and two pears beside them.",
    "def f(x):\n    if x > 1:\n        return x * f(x - 1)\n    return 1\n",
    "天空是蓝色的。今天的天气很好，我们去公园散步吧！一共有多少个苹果？",
    "The sky is blue; the answer is 42, or 3.14159. Name a colour of the sky.",
]


def write_sentencepiece(folder: Path, *, prefixed: bool = False) -> None:
    """`tokenizer.model` and `tokenizer_config.json`."""
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter([line for text in TEXTS for line in text.splitlines()] * 3),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=700,
        byte_fallback=True,
        character_coverage=0.98,  # rare characters are spelt in bytes
        normalization_rule_name="identity",
        add_dummy_prefix=prefixed,
        remove_extra_whitespaces=False,
        user_defined_symbols=UNUSED,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    special = {0: "<unk>", 1: "<s>", 2: "</s>"}
    special |= {pieces.piece_to_id(UNUSED[n]): token for n, token in REPLACED.items()}
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": {str(i): {"content": token, **flags} for i, token in sorted(special.items())},
        "additional_special_tokens": [*reversed(REPLACED.values())],
        "auto_map": {
            "AutoTokenizer": [
                "tokenization_internlm2.InternLM2Tokenizer",
                "tokenization_internlm2_fast.InternLM2TokenizerFast",
            ]
        },
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "decode_with_prefix_space": False,
        "eos_token": "</s>",
        "extra_special_tokens": {},
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": "</s>",
        "sp_model_kwargs": None,
        "tokenizer_class": "InternLM2Tokenizer",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def config_of(folder: Path, **changes: Any) -> dict[str, Any]:
    """`config.json`, for the vocabulary in a folder."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return {
        "architectures": ["InternLM2ForRewardModel"],
        "attn_implementation": "flash_attention_2",
        "auto_map": {
            "AutoConfig": "configuration_internlm2.InternLM2Config",
            "AutoModel": "modeling_internlm2.InternLM2ForRewardModel",
        },
        "bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": WIDE,
        "max_position_embeddings": 262144,
        "model_type": "internlm2",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": GROUPS,
        "pad_token_id": 2,
        "pretraining_tp": 1,
        "reward_token_id": pieces.piece_to_id(UNUSED[130]),
        "rms_norm_eps": 1e-05,
        "rope_scaling": {"factor": 2.0, "type": "dynamic"},
        "rope_theta": 50000000,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "transformers_version": "4.49.0",
        "use_cache": True,
        "vocab_size": pieces.get_piece_size(),
    } | changes


def weights_of(config: dict[str, Any], dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """Random tensors under the published names."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int, std: float = 0.06) -> Tensor:
        return (torch.randn(shape, generator=draw) * std).to(dtype)

    packed = HIDDEN // HEADS * (HEADS + 2 * GROUPS)
    found = {
        "model.tok_embeddings.weight": normal(config["vocab_size"], HIDDEN, std=1.0),
        "model.norm.weight": 1 + normal(HIDDEN),
        "v_head.weight": normal(1, HIDDEN, std=0.2),
    }
    for n in range(LAYERS):
        layer = f"model.layers.{n}."
        found |= {
            f"{layer}attention.wqkv.weight": normal(packed, HIDDEN, std=0.12),
            f"{layer}attention.wo.weight": normal(HIDDEN, HIDDEN),
            f"{layer}feed_forward.w1.weight": normal(WIDE, HIDDEN),
            f"{layer}feed_forward.w2.weight": normal(HIDDEN, WIDE),
            f"{layer}feed_forward.w3.weight": normal(WIDE, HIDDEN),
            f"{layer}attention_norm.weight": 1 + normal(HIDDEN),
            f"{layer}ffn_norm.weight": 1 + normal(HIDDEN),
        }
        if config["bias"]:
            found |= {f"{layer}attention.wqkv.bias": normal(packed), f"{layer}attention.wo.bias": normal(HIDDEN)}
    return found


def write_published(
    folder: Path,
    *,
    files: Literal["bin", "safetensors"] = "bin",
    dtype: torch.dtype = torch.float16,
    prefixed: bool = False,
    **changes: Any,
) -> ModelSource:
    """A model in two shards with their index."""
    folder.mkdir(parents=True, exist_ok=True)
    write_sentencepiece(folder, prefixed=prefixed)
    config = config_of(folder, **changes)
    (folder / "config.json").write_text(json.dumps(config))
    write_weights(folder, weights_of(config, dtype), files)
    return ModelSource(path=str(folder))


def write_weights(folder: Path, weights: dict[str, Tensor], files: Literal["bin", "safetensors"]) -> None:
    """Two shards, split in the middle of the names."""
    names = sorted(weights)
    shards = (names[: len(names) // 2], names[len(names) // 2 :])
    stem, end = ("pytorch_model", "bin") if files == "bin" else ("model", "safetensors")
    where = {}
    for number, shard in enumerate(shards, start=1):
        file = folder / f"{stem}-{number:05}-of-00002.{end}"
        tensors = {name: weights[name] for name in shard}
        torch.save(tensors, file) if files == "bin" else save_file(tensors, file, metadata={"format": "pt"})
        where |= dict.fromkeys(shard, file.name)
    index = {"metadata": {"total_size": 0}, "weight_map": where}
    (folder / f"{stem}.{end}.index.json").write_text(json.dumps(index))
