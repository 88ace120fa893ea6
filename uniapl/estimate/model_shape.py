"""Size and shape of a model, from its config and the headers of its files; no weights are read."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from uniapl.run.config import ModelSource
from uniapl.spec.training import Lora

MAX_HEADER = 100 << 20
"""Largest safetensors header in bytes that the format allows."""

REWARD_MODELS = ("ForRewardModel", "ForSequenceClassification")
"""Endings of architectures with a scalar head in the place of the language-model head."""
_POLAR = {
    "architectures": ["InternLM2ForRewardModel"],
    "vocab_size": 92544,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
}
_POLAR_1_8B = _POLAR | {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "max_position_embeddings": 32768,
}
_POLAR_7B = _POLAR | {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 262144,
}
PUBLISHED: dict[str | None, dict[str, Any]] = {
    "internlm/POLAR-1_8B": _POLAR_1_8B,
    "internlm/POLAR-1_8B-Base": _POLAR_1_8B,
    "internlm/POLAR-7B": _POLAR_7B,
    "internlm/POLAR-7B-Base": _POLAR_7B,
}
"""Sizes of hub models that are known without the network."""
NORMED_QUERIES = ("qwen3", "gemma3", "olmo2", "olmo3")
"""First parts of the names of model types with norms for queries and keys."""


class ShapeUnknown(Exception):
    """The model's files lack what the estimate needs; the message names it."""


@dataclass(frozen=True)
class ModelShape:
    """Dimensions of a transformer that its memory depends on. Widths are in numbers per token."""

    parameters: int
    vocab: int
    hidden: int
    layers: int
    intermediate: int
    """Width of the feed-forward layers."""
    queries: int
    """Query heads times head size."""
    keys: int
    """Key-value heads times head size."""
    positions: int
    """Longest sequence in tokens."""
    stored_bytes: int = 0
    """Size of the weights on disk in bytes; 0 where it is unknown."""
    gguf: bool = False
    keeps_less: bool = False
    """Whether `uniapl.model.cpu.norm_mlp` supports its norms and gates."""
    normed_queries: bool = False
    """Whether queries and keys have norms of their own."""

    @property
    def inside(self) -> int:
        """Parameters without embeddings and head: attention, gated feed-forward layers, two norms per layer."""
        attention = 2 * self.hidden * (self.queries + self.keys)
        return self.layers * (attention + 3 * self.hidden * self.intermediate + 2 * self.hidden) + self.hidden

    def adapters(self, lora: Lora) -> int:
        """Parameters of the adapters."""
        return sum(self.adapter_sizes(lora))

    def adapter_sizes(self, lora: Lora) -> list[int]:
        """Numbers of values of the adapters' matrices: two of rank `rank` per linear layer."""
        linear = {
            "q_proj": (self.hidden, self.queries),
            "k_proj": (self.hidden, self.keys),
            "v_proj": (self.hidden, self.keys),
            "o_proj": (self.queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }
        chosen = linear if lora.target_modules == "all-linear" else lora.target_modules
        return self.layers * [lora.rank * width for name in chosen for width in linear.get(name, ())]

    def trained(self, lora: Lora | None) -> int:
        """Parameters that are trained: those of the adapters, or all."""
        return self.adapters(lora) if lora else self.parameters


@lru_cache(maxsize=64)
def read_shape(source: ModelSource) -> ModelShape:
    """The shape of a model on this machine.

    Raises:
        ShapeUnknown: it is not on this machine, or its files lack what is needed.
    """
    if source.hub in PUBLISHED:
        return from_config(PUBLISHED[source.hub])
    if source.path is None:
        raise ShapeUnknown(f"{source.hub} is not on this machine")
    folder = Path(source.path)
    try:
        if source.gguf is not None:
            return _from_gguf(folder / source.gguf)
        config = json.loads((folder / "config.json").read_text())
        files = sorted(folder.glob("*.safetensors"))
        parameters = sum(_parameters(file) for file in files)
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise ShapeUnknown(f"the files of {folder.name} cannot be read ({type(error).__name__})") from None
    if not parameters and config.get("model_type") == "internlm2":  # published as pickles, which hold no sizes
        return from_config(config, stored_bytes=sum(file.stat().st_size for file in folder.glob("*.bin")))
    if not parameters:
        raise ShapeUnknown(f"{folder.name} has no safetensors")
    return from_config(config, parameters=parameters, stored_bytes=sum(file.stat().st_size for file in files))


def from_config(config: Any, *, parameters: int | None = None, stored_bytes: int = 0) -> ModelShape:
    """The shape that a `config.json` describes; without `parameters`, counted as for a dense Llama-like decoder.

    Raises:
        ShapeUnknown: it describes another kind of model.
    """
    if not isinstance(config, dict) or not isinstance(text := config.get("text_config", config), dict):
        raise ShapeUnknown("it has no config.json")
    if any(name in text for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        raise ShapeUnknown("the estimate does not support mixture-of-experts models")
    try:
        hidden, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
        size = int(text.get("head_dim") or hidden // heads)
        shape = ModelShape(
            parameters=parameters or 0,
            vocab=int(text["vocab_size"]),
            hidden=hidden,
            layers=int(text["num_hidden_layers"]),
            intermediate=int(text["intermediate_size"]),
            queries=heads * size,
            keys=int(text.get("num_key_value_heads") or heads) * size,
            positions=int(text["max_position_embeddings"]),
            stored_bytes=stored_bytes,
            keeps_less=text.get("hidden_act") == "silu" and "rms_norm_eps" in text,
            normed_queries=str(text.get("model_type")).startswith(NORMED_QUERIES),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ShapeUnknown(f"its config.json lacks the usual sizes ({error})") from None
    if min(shape.vocab, hidden, shape.layers, shape.intermediate, shape.queries, shape.keys) <= 0:
        raise ShapeUnknown("its config.json has sizes that are not positive")
    if parameters is not None:
        return shape
    scores = any(str(name).endswith(REWARD_MODELS) for name in config.get("architectures") or ())
    ends = 1 if scores or config.get("tie_word_embeddings", True) else 2
    return replace(shape, parameters=shape.inside + ends * shape.vocab * shape.hidden)


def _parameters(file: Path) -> int:
    """Number of parameters in a safetensors file, from its header."""
    with file.open("rb") as opened:
        (size,) = struct.unpack("<Q", opened.read(8))
        if size > MAX_HEADER:
            raise ValueError("the header is too long")
        header: dict[str, Any] = json.loads(opened.read(size))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _from_gguf(file: Path) -> ModelShape:
    from gguf import GGUFReader  # the import takes a quarter of a second, reading takes seconds

    reader = GGUFReader(str(file))

    def value(name: str) -> int:
        return int(reader.fields[name].contents())

    kind = str(reader.fields["general.architecture"].contents())
    hidden, heads = value(f"{kind}.embedding_length"), value(f"{kind}.attention.head_count")
    size = value(f"{kind}.attention.key_length") if f"{kind}.attention.key_length" in reader.fields else hidden // heads
    return ModelShape(
        parameters=sum(int(tensor.n_elements) for tensor in reader.tensors),
        vocab=max(int(n) for n in next(t for t in reader.tensors if t.name == "token_embd.weight").shape),
        hidden=hidden,
        layers=value(f"{kind}.block_count"),
        intermediate=value(f"{kind}.feed_forward_length"),
        queries=heads * size,
        keys=value(f"{kind}.attention.head_count_kv") * size,
        positions=value(f"{kind}.context_length"),
        stored_bytes=file.stat().st_size,
        gguf=True,
        keeps_less=kind in ("llama", "qwen2", "qwen3"),
        normed_queries=kind.startswith(NORMED_QUERIES),
    )
