"""InternLM2's tensors under Llama's names.

    model.tok_embeddings                 model.embed_tokens
    layers.N.attention.wqkv              q_proj, k_proj, v_proj: see `_split`
    layers.N.attention.wo                self_attn.o_proj
    layers.N.feed_forward.w1, w3, w2     mlp.gate_proj, up_proj, down_proj
    layers.N.attention_norm, ffn_norm    input_layernorm, post_attention_layernorm
    v_head                               score

Source of the names: modeling_internlm2.py of internlm/POLAR-7B, and vLLM's and llama.cpp's InternLM2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from uniapl.discriminators.internlm2.config import InternLM2
from uniapl.discriminators.internlm2.stored import StoredTensor, refused

DERIVED = ".rotary_emb.inv_freq"
"""A buffer that old versions stored; it follows from the config."""


@dataclass(frozen=True)
class Target:
    """A tensor of the converted model: parts of stored ones, one after another along the first dimension."""

    name: str
    parts: list[StoredTensor]

    @property
    def shape(self) -> list[int]:
        """Its shape."""
        return [sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:]]

    @property
    def size(self) -> int:
        """Size in bytes."""
        return sum(part.size for part in self.parts)


def llama_tensors(stored: Mapping[str, StoredTensor], config: InternLM2) -> list[Target]:
    """The tensors of a `LlamaForSequenceClassification` with one label.

    Raises:
        ModelError: a tensor is missing, unknown, or of another shape than the config says.
    """
    left = {name: tensor for name, tensor in stored.items() if not name.endswith(DERIVED)}

    def take(name: str, *shape: int) -> StoredTensor:
        if name not in left:
            raise refused(f"tensor {name} is missing")
        if left[name].shape != shape:
            raise refused(f"tensor {name} has shape {list(left[name].shape)}; its config.json gives {list(shape)}")
        return left.pop(name)

    targets = [
        Target("model.embed_tokens.weight", [take("model.tok_embeddings.weight", config.vocab, config.hidden)]),
        Target("model.norm.weight", [take("model.norm.weight", config.hidden)]),
        Target("score.weight", [take("v_head.weight", 1, config.hidden)]),
    ]
    for number in range(config.layers):
        targets += _layer(config, take, number)
    if left:
        raise refused(f"unknown tensors: {', '.join(sorted(left)[:5])}")
    if len(kinds := {tensor.dtype for tensor in stored.values()}) > 1:
        raise refused(f"the tensors have different data types: {', '.join(sorted(kinds))}")
    return targets


def _layer(config: InternLM2, take: Callable[..., StoredTensor], number: int) -> Iterator[Target]:
    layer = f"model.layers.{number}."
    hidden, wide = config.hidden, config.intermediate
    queries, packed = config.heads * config.head_size, (config.heads + 2 * config.groups) * config.head_size
    for kind, width in (("weight", (hidden,)), ("bias", ())) if config.bias else (("weight", (hidden,)),):
        parts = _split(take(f"{layer}attention.wqkv.{kind}", packed, *width), config)
        for name, rows in zip(("q_proj", "k_proj", "v_proj"), parts, strict=True):
            yield Target(f"{layer}self_attn.{name}.{kind}", rows)
        into = (queries,) if kind == "weight" else ()
        yield Target(f"{layer}self_attn.o_proj.{kind}", [take(f"{layer}attention.wo.{kind}", hidden, *into)])
    for name, theirs, shape in (
        ("mlp.gate_proj", "feed_forward.w1", (wide, hidden)),
        ("mlp.up_proj", "feed_forward.w3", (wide, hidden)),
        ("mlp.down_proj", "feed_forward.w2", (hidden, wide)),
        ("input_layernorm", "attention_norm", (hidden,)),
        ("post_attention_layernorm", "ffn_norm", (hidden,)),
    ):
        yield Target(f"{layer}{name}.weight", [take(f"{layer}{theirs}.weight", *shape)])


def _split(packed: StoredTensor, config: InternLM2) -> tuple[list[StoredTensor], ...]:
    """Rows of queries, keys and values. They are packed by key-value head: its group of query heads, key, value."""
    size, group = config.head_size, config.heads // config.groups
    starts = [g * (group + 2) * size for g in range(config.groups)]
    return (
        [packed.rows(start, group * size) for start in starts],
        [packed.rows(start + group * size, size) for start in starts],
        [packed.rows(start + (group + 1) * size, size) for start in starts],
    )
