"""Config of a student: read with the values that transformers refuses, and refused where it has no text model."""

from __future__ import annotations

from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, GenerationConfig, PreTrainedConfig
from transformers.utils import GENERATION_CONFIG_NAME

from uniapl.errors import ModelError

SINGLE_TOKENS = ("pad_token_id", "bos_token_id")
"""Fields that some checkpoints have as a list; transformers takes a single token."""


def load_configs(where: str, options: dict[str, Any]) -> dict[str, Any]:
    """Arguments `config` and, where transformers would refuse the files' own, `generation_config` of `from_pretrained`.

    Args:
        where: folder or hub id of a student, which is trained as a causal language model.
        options: `revision`.

    Raises:
        ModelError: transformers has no causal language model for it.
        Exception: one of `policy.LOAD_ERRORS`.
    """
    given, _ = PreTrainedConfig.get_config_dict(where, **options)
    changed = _with_single_tokens(given)
    if changed == given:
        config: Any = AutoConfig.from_pretrained(where, trust_remote_code=False, **options)
    else:
        config = AutoConfig.for_model(**changed)
    _check_kind(config)
    return {"config": config} | _generation_config(where, options, config, is_changed=changed != given)


def _check_kind(config: Any) -> None:
    """Raises `ModelError` if transformers has no causal language model of this kind."""
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return
    parts = [part for part in ("vision", "audio") if getattr(config, f"{part}_config", None) is not None]
    also = f" which also reads {' and '.join(parts)}," if parts else ""
    raise ModelError(
        f"the student is of model_type {config.model_type!r},{also} and transformers has no causal language model for "
        "it",
        param="student",
        hint="choose a text student, or save the text model of this one with its config, and train that"
        if parts
        else "choose a causal language model",
    )


def _generation_config(where: str, options: dict[str, Any], config: Any, *, is_changed: bool) -> dict[str, Any]:
    """The generation config with single tokens; transformers makes one from `config.json` where there is none."""
    try:
        given, _ = PreTrainedConfig.get_config_dict(where, _configuration_file=GENERATION_CONFIG_NAME, **options)
    except OSError:
        return {"generation_config": GenerationConfig.from_model_config(config)} if is_changed else {}
    changed = _with_single_tokens(given)
    return {} if changed == given else {"generation_config": GenerationConfig.from_dict(changed)}


def _with_single_tokens(given: dict[str, Any]) -> dict[str, Any]:
    """The same config with the first of several padding or beginning tokens."""
    changed = dict(given)
    for name, value in given.items():
        if isinstance(value, dict):
            changed[name] = _with_single_tokens(value)
        elif name in SINGLE_TOKENS and isinstance(value, list) and value:
            changed[name] = value[0]
    return changed
