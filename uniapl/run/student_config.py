"""Kinds of students that cannot be trained, by their `config.json`; without torch, so that services refuse them too."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from uniapl.errors import ModelError

DEQUANTIZED = ("mxfp4",)
"""Quantizations that the trainer undoes when it loads a student."""
BIDIRECTIONAL = (
    *("albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta", "deberta-v2", "distilbert"),
    *("electra", "ernie", "esm", "eurobert", "funnel", "layoutlm", "luke", "megatron-bert", "mobilebert", "modernbert"),
    *("mpnet", "mra", "nezha", "nystromformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer"),
    *("squeezebert", "xlm", "xlm-roberta", "xlm-roberta-xl", "xmod", "yoso"),
)
"""Model types whose tokens attend to later ones, unless `is_decoder` is set."""
HEADS = (
    "MaskedLM",
    "SequenceClassification",
    "TokenClassification",
    "QuestionAnswering",
    "RewardModel",
    "MultipleChoice",
)
"""Endings of architectures with another head than a language model's."""
WITH_TEXT = (
    *("dots3_note", "emu3", "fuyu", "gemma3", "gemma3n", "gemma4", "gemma4_unified", "git", "got_ocr2", "llama4"),
    *("mllama", "qwen3_5", "qwen3_5_moe", "qwen4_exp"),
)
"""Model types that read images, and whose text half transformers loads as a causal language model."""
_CHOOSE = "choose a causal language model"


def check_student_config(config: Mapping[str, Any]) -> None:
    """Check that a parsed `config.json` describes a causal language model with plain weights.

    Raises:
        ModelError: it does not; the message names the kind. Kinds that need the libraries are left to the trainer.
    """
    if (found := _problem(config)) is not None:
        raise ModelError(f"the student cannot be trained: {found[0]}", param="student", hint=found[1])


def _problem(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is wrong, and the remedy."""
    kind = str(config.get("model_type"))
    names = [str(name) for name in config.get("architectures") or () if isinstance(config.get("architectures"), list)]
    method = _quantization(config)
    if method is not None and method not in DEQUANTIZED:
        return (
            f"its weights are quantized ({method}), and quantized weights have no gradient",
            "choose the release with plain weights, or dequantize it and save it as safetensors",
        )
    if config.get("is_encoder_decoder"):
        return f"model_type {kind!r} is an encoder-decoder", _CHOOSE
    if kind in BIDIRECTIONAL and not config.get("is_decoder"):
        return f"model_type {kind!r} is an encoder: its tokens attend to later tokens", _CHOOSE
    if (head := next((name for name in names if name.endswith(HEADS)), None)) is not None:
        return f"its architecture {head} has no language-model head", _CHOOSE
    parts = [part for part in ("vision", "audio") if config.get(f"{part}_config") is not None]
    if parts and kind not in WITH_TEXT and not any(name.endswith("ForCausalLM") for name in names):
        return (
            f"model_type {kind!r} also reads {' and '.join(parts)}, and transformers has no causal language model "
            "for it",
            "choose a text student, or save the text model of this one with its config, and train that",
        )
    if config.get("auto_map") and not _is_known(kind):
        return (
            f"model_type {kind!r} is not part of transformers, and the code of its folder (auto_map) is not executed",
            "choose a student whose architecture is part of transformers, or convert it to one",
        )
    return None


def _quantization(config: Mapping[str, Any]) -> str | None:
    """The quantization of a config, or of the text model in it."""
    for part in (config, config.get("text_config")):
        found = part.get("quantization_config") if isinstance(part, Mapping) else None
        if isinstance(found, Mapping):
            bits = next(
                (f"bitsandbytes, {n} bits" for n in (4, 8) if found.get(f"load_in_{n}bit")), "of unknown method"
            )
            return str(found.get("quant_method") or bits)
    return None


def _is_known(kind: str) -> bool:
    """Whether transformers has a folder for this model type or its family; true where it is not installed.

    Its own list of model types imports torch.
    """
    found = find_spec("transformers")
    folders = [Path(place) / "models" for place in (found.submodule_search_locations or ())] if found else []
    name = kind.replace("-", "_")
    return not folders or any(name.startswith(family.name) for folder in folders for family in folder.iterdir())
