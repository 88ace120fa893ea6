"""InternLM2's `config.json`, and the Llama config of the same model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniapl.discriminators.internlm2.stored import refused

DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
REWARD = "InternLM2ForRewardModel"


@dataclass(frozen=True)
class InternLM2:
    """Dimensions and constants of a model."""

    vocab: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    """Query heads."""
    groups: int
    """Key-value heads."""
    positions: int
    norm_epsilon: float
    bias: bool
    """Whether the projections of attention have a bias."""
    rope: dict[str, Any]
    """`rope_parameters` of transformers."""
    ids: dict[str, int | None]
    """Ids of the beginning, end and padding tokens."""

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    def llama(self, dtype: str) -> dict[str, Any]:
        """`config.json` of a Llama classifier with one label; `dtype` as in safetensors."""
        return {
            "architectures": ["LlamaForSequenceClassification"],
            "model_type": "llama",
            "vocab_size": self.vocab,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.groups,
            "head_dim": self.head_size,
            "max_position_embeddings": self.positions,
            "hidden_act": "silu",
            "rms_norm_eps": self.norm_epsilon,
            "attention_bias": self.bias,
            "mlp_bias": False,
            "rope_parameters": self.rope,
            "tie_word_embeddings": False,
            "id2label": {"0": "LABEL_0"},
            "label2id": {"LABEL_0": 0},
            "dtype": DTYPES[dtype],
            **self.ids,
        }


def is_internlm2(config: Any) -> bool:
    """Whether a parsed `config.json` describes InternLM2."""
    return isinstance(config, dict) and config.get("model_type") == "internlm2"


def read_config(folder: Path) -> InternLM2:
    """The config of an InternLM2 reward model.

    Raises:
        ModelError: it describes another model, or a variant that Llama's layout cannot express.
    """
    config = json.loads((folder / "config.json").read_text())
    if REWARD not in (kinds := config.get("architectures") or []):
        raise refused(f"its architecture is {', '.join(kinds) or 'unknown'}; convert an {REWARD}")
    try:
        found = InternLM2(
            vocab=int(config["vocab_size"]),
            hidden=int(config["hidden_size"]),
            intermediate=int(config["intermediate_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            groups=int(config.get("num_key_value_heads") or config["num_attention_heads"]),
            positions=int(config["max_position_embeddings"]),
            norm_epsilon=float(config["rms_norm_eps"]),
            bias=bool(config["bias"]),
            rope=_rope(config),
            ids={name: config.get(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
        )
    except KeyError as error:
        raise refused(f"its config.json has no {error.args[0]}") from error
    if config.get("hidden_act", "silu") != "silu":
        raise refused(f"its hidden_act is {config['hidden_act']!r}; supported is 'silu'")
    if found.hidden % found.heads or found.heads % found.groups:
        raise refused(f"{found.heads} heads in {found.groups} groups do not divide a hidden size of {found.hidden}")
    return found


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """Rotary position embedding.

    `dynamic` changes the base for texts longer than `max_position_embeddings` only: transformers, vLLM (which refuses
    such texts) and InternLM2's own code agree that the factor has no effect below.
    """
    theta, scaling = float(config["rope_theta"]), config.get("rope_scaling")
    if scaling is None:
        return {"rope_type": "default", "rope_theta": theta}
    kind = scaling.get("type", scaling.get("rope_type")) if isinstance(scaling, dict) else None
    if kind not in ("dynamic", "linear") or not scaling.keys() <= {"type", "rope_type", "factor"}:
        raise refused(
            f"its rope_scaling is {scaling}; supported are null, and type 'dynamic' or 'linear' with a factor"
        )
    return {"rope_type": kind, "rope_theta": theta, "factor": float(scaling["factor"])}
