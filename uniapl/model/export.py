"""Export of a student for plain transformers: its config, and its weights under the names of its own checkpoints.

transformers fuses and renames weights when it loads some students, such as the experts of a mixture, and reverts that
when it saves. The same is done here for one layer at a time, so that merging adapters never copies the whole student.
The written names and shapes are then compared with those that the student's config implies.
"""

from __future__ import annotations

import copy
import json
import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import core_model_loading
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_utils import remove_tied_weights_from_state_dict

from uniapl.errors import ModelError

WEIGHTS = "model.safetensors"
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Names of the element types in a safetensors header."""
Shapes = dict[str, torch.Size]


class Source(Protocol):
    """The origin of one entry of a student's state dict."""

    @property
    def like(self) -> Tensor:
        """A tensor of the written shape and type."""

    @property
    def origin(self) -> object:
        """Equal for two names of the same weight."""

    def tensor(self) -> Tensor:
        """The values to write."""


Sources = Mapping[str, Source]


def save(student: Any, sources: Sources, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write weights, config and generation config to `folder`.

    The config keeps `tie_word_embeddings` only where the tied weights are one weight. `dtype` is the floating-point
    type of the written weights, by default the student's.

    Raises:
        ModelError: written names or shapes differ from those that the student's config implies.
    """
    save_as(student, sources, agreeing(student, sources), folder, dtype)
    if student.can_generate():
        student.generation_config.save_pretrained(folder)


def save_as(student: Any, sources: Sources, config: Any, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write to `folder` the weights as a student of this config has them, and the config.

    Args:
        student: the model.
        sources: its weights.
        config: the config to write.
        folder: where to write.
        dtype: floating-point type of the written weights, by default the student's; they are cast on their device.

    Raises:
        ModelError: as `save`.
    """
    twin = _twin(student, config)
    twin.config.architectures = [type(student).__name__]
    twin.config.dtype = str(dtype or student.dtype).removeprefix("torch.")
    folder.mkdir(parents=True, exist_ok=True)
    twin.config.save_pretrained(folder)
    _write(twin, _without_copies(twin, sources), folder / WEIGHTS, dtype)
    _compare(twin, _headers(folder))


def written_layers(student: Any, sources: Sources, config: Any) -> Iterator[dict[str, Tensor]]:
    """The weights that `save_as` writes, one layer at a time, on the student's device."""
    twin = _twin(student, config)
    yield from (_written(twin, group) for group in _groups(_without_copies(twin, sources)))


def cast(weight: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A weight in this type if it is a floating-point tensor."""
    return weight.to(dtype) if dtype is not None and weight.is_floating_point() else weight


def check(student: Any, sources: Sources) -> None:
    """Raises `ModelError` if `save` would, without writing."""
    twin = _twin(student, agreeing(student, sources))
    layers = _layers(twin, _without_copies(twin, sources))
    _compare(twin, {name: like.shape for layer in layers for name, like in layer.items()})


def agreeing(student: Any, sources: Sources) -> Any:
    """The student's config, untied where it would tie weights that differ."""
    config = student.config
    for name, other in _twin(student, config).all_tied_weights_keys.items():
        if name in sources and other in sources and sources[name].origin != sources[other].origin:
            return untied(config)
    return config


def untied(config: Any) -> Any:
    """The same config, with an output head separate from the embeddings."""
    config = copy.deepcopy(config)
    for part in (config, config.get_text_config()):
        if hasattr(part, "tie_word_embeddings"):
            part.tie_word_embeddings = False
    return config


def _twin(student: Any, config: Any) -> Any:
    """A student of this config on the meta device, with the student's conversion of weight names.

    Without the conversion of a quantized student: transformers would save its dequantized weights under the names of
    quantized ones, which it then cannot load.
    """
    with torch.device("meta"):
        twin = type(student)(copy.deepcopy(config))
    loaded = getattr(student, "_weight_conversions", None)
    if not any(_quantized(conversion) for conversion in loaded or ()):
        twin._weight_conversions = loaded
    return twin


def _quantized(conversion: Any) -> bool:
    """Whether a conversion does more than rename and rearrange weights."""
    operations = getattr(conversion, "operations", None) or []
    return any(type(operation).__module__ != core_model_loading.__name__ for operation in operations)


def _kept(twin: Any) -> dict[str, Tensor]:
    """The state dict, with one name for tied weights: the one that is saved."""
    ignored = set(twin._keys_to_ignore_on_save or ())
    state = {name: value for name, value in twin.state_dict().items() if name not in ignored}
    remove_tied_weights_from_state_dict(state, twin)
    return state


def _without_copies(twin: Any, sources: Sources) -> Sources:
    """The sources without second names of tied weights; names that the twin lacks are kept."""
    left_out = twin.state_dict().keys() - _kept(twin).keys()
    return {name: source for name, source in sources.items() if name not in left_out}


def _compare(twin: Any, written: Shapes) -> None:
    """Raises `ModelError` if names or shapes differ from those that the twin would be saved with."""
    expected = {name: like.shape for name, like in revert_weight_conversion(twin, _kept(twin)).items()}
    problems = {
        "missing": expected.keys() - written.keys(),
        "unexpected": written.keys() - expected.keys(),
        "of another shape": {name for name in expected.keys() & written.keys() if expected[name] != written[name]},
    }
    counted = [f"{len(names)} {kind} ({min(names)})" for kind, names in problems.items() if names]
    if counted:
        raise ModelError(
            f"a checkpoint of {type(twin).__name__} would not load; weights: {', '.join(counted)}",
            param="student",
            hint="choose another student, and report the name of this architecture",
        )


def _headers(folder: Path) -> Shapes:
    shapes: Shapes = {}
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, framework="pt") as file:
            shapes |= {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return shapes


def _groups(sources: Sources) -> list[dict[str, Source]]:
    """The sources by layer; no conversion spans two layers."""
    groups: dict[str, dict[str, Source]] = defaultdict(dict)
    for name, source in sources.items():
        layer = re.match(r".*?\.\d+\.", name)
        groups[layer[0] if layer else ""][name] = source
    return list(groups.values())


def _layers(twin: Any, sources: Sources) -> Iterator[dict[str, Tensor]]:
    """Names and shapes to write for each layer, on the meta device."""
    for group in _groups(sources):
        yield revert_weight_conversion(twin, {name: source.like.to("meta") for name, source in group.items()})


def _write(twin: Any, sources: Sources, path: Path, dtype: torch.dtype | None) -> None:
    """Write a safetensors file, with one layer in memory at a time."""
    layers = list(_layers(twin, sources))
    with path.open("wb") as file:
        file.write(_header({name: cast(like, dtype) for layer in layers for name, like in layer.items()}))
        for group, layer in zip(_groups(sources), layers, strict=True):
            _write_layer(_written(twin, group), list(layer), dtype, file)


def _written(twin: Any, group: Sources) -> dict[str, Tensor]:
    """The weights of one layer under the names of a checkpoint."""
    weights: dict[str, Tensor] = revert_weight_conversion(twin, {name: s.tensor() for name, s in group.items()})
    return weights


def _write_layer(weights: dict[str, Tensor], names: list[str], dtype: torch.dtype | None, file: BinaryIO) -> None:
    for name in names:
        file.write(cast(weights[name], dtype).contiguous().cpu().reshape(-1).view(torch.uint8).numpy().data)


def _header(likes: Mapping[str, Tensor]) -> bytes:
    """Length and JSON, padded to 8 bytes (https://github.com/huggingface/safetensors#format)."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, like in likes.items():
        begin, end = end, end + like.numel() * like.element_size()
        entries[name] = {"dtype": DTYPES[like.dtype], "shape": list(like.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
