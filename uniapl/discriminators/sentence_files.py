"""Declarations in the files of a sentence-embedding model, in the format of sentence-transformers.

    modules.json                         the modules after each other: Transformer, Pooling, Dense, Normalize
    sentence_bert_config.json            longest input, lower case
    1_Pooling/config.json                how tokens become one vector
    config_sentence_transformers.json    the prompt before each text

Without `modules.json` sentence-transformers averages the tokens, and so does this module's reader.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from uniapl.errors import ModelError
from uniapl.run.config import ModelSource

MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Pooling of each flag, in the order in which the vectors of several are joined."""
LENGTH_FILES = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
"""Parts of the names of the files with the longest input."""


@dataclass(frozen=True)
class DenseLayer:
    """A linear layer after pooling."""

    folder: str
    """Its folder, which contains `model.safetensors`."""
    activation: str
    """Name of a class of `torch.nn`."""


@dataclass(frozen=True)
class SentenceFiles:
    """What a model's files declare."""

    transformer: str = ""
    """Folder of the transformer within the model."""
    longest: int | None = None
    """Longest input in tokens, special tokens included."""
    lower_case: bool = False
    prompt: str = ""
    """Text before each input."""
    pooling: tuple[str, ...] = ("mean",)
    """Values of `MODES`."""
    include_prompt: bool = True
    """Whether pooling includes the tokens of the prompt."""
    dense: tuple[DenseLayer, ...] = ()
    normalized: bool = False
    """Whether the vectors have length 1."""


def read_sentence_files(source: ModelSource) -> SentenceFiles:
    """The declarations of a model on this machine or on a hub.

    Raises:
        ModelError: a file is invalid, or declares a module that is not supported.
    """
    try:
        return _read(source)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"the sentence-transformers files of the discriminator {source.hub or source.path} are invalid: {error!r}",
            param="discriminator.model",
        ) from error


def _read(source: ModelSource) -> SentenceFiles:
    modules = _json(source, "modules.json") or [{"type": "Transformer", "path": ""}]
    found: dict[str, Any] = {}
    dense = []
    for module in modules:
        kind, folder = module["type"].rpartition(".")[2], module["path"]
        match kind:
            case "Transformer":
                found |= {"transformer": folder} | _input(source, folder)
            case "Pooling":
                found |= _pooling(_json(source, f"{folder}/config.json") or {})
            case "Dense":
                config = _json(source, f"{folder}/config.json") or {}
                dense.append(DenseLayer(folder, config.get("activation_function", "Identity").rpartition(".")[2]))
            case "Normalize":
                found["normalized"] = True
            case "Dropout":
                pass  # not active
            case _:
                raise ModelError(
                    f"the discriminator {source.hub or source.path} has a module of type {kind!r}, which is not "
                    "supported",
                    param="discriminator.model",
                    hint="choose a model of the modules Transformer, Pooling, Dense and Normalize",
                )
    about = _json(source, "config_sentence_transformers.json") or {}
    prompt = (about.get("prompts") or {}).get(about.get("default_prompt_name")) or ""
    return SentenceFiles(**found, dense=tuple(dense), prompt=prompt)


def _input(source: ModelSource, folder: str) -> dict[str, Any]:
    for name in LENGTH_FILES:
        config = _json(source, f"{folder}/sentence_{name}_config.json".lstrip("/"))
        if config is not None:
            return {"longest": config.get("max_seq_length"), "lower_case": bool(config.get("do_lower_case"))}
    return {}


def _pooling(config: dict[str, Any]) -> dict[str, Any]:
    """Older files have a flag for each mode, newer ones its name."""
    named = config.get("pooling_mode")
    modes = tuple(mode for flag, mode in MODES.items() if config.get(flag))
    if named is not None:
        modes = tuple(named) if isinstance(named, list) else (named,)
    if unknown := set(modes) - set(MODES.values()):
        raise ValueError(f"unknown pooling {sorted(unknown)}")
    return {"pooling": modes or ("mean",), "include_prompt": bool(config.get("include_prompt", True))}


def _json(source: ModelSource, name: str) -> Any:
    """A JSON file of the model; `None` without it."""
    path = file_of(source, name)
    return None if path is None else json.loads(path.read_text(encoding="utf-8"))


def file_of(source: ModelSource, name: str) -> Path | None:
    """A file of the model on this machine; `None` without it."""
    found = cached_file(
        source.hub or source.path or "",
        name,
        revision=source.revision,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else Path(found)
