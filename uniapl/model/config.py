"""Config of a student: read with the values that transformers refuses, and refused where it has no text model.

Some published configs have a list of padding tokens. Padding is masked, so the first of several is used where all of
them end a sequence; else the list is ambiguous, and checkpoints would declare a token by chance.
"""

from __future__ import annotations

from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, GenerationConfig, PreTrainedConfig
from transformers.utils import GENERATION_CONFIG_NAME

from uniapl.errors import ModelError
from uniapl.run.student_config import check_student_config

SINGLE_TOKENS = ("pad_token_id", "bos_token_id")
"""Fields that some checkpoints have as a list; transformers takes a single token."""


def load_configs(where: str, options: dict[str, Any]) -> dict[str, Any]:
    """Arguments `config` and, where transformers would refuse the files' own, `generation_config` of `from_pretrained`.

    Args:
        where: folder or hub id of a student, which is trained as a causal language model.
        options: `revision`.

    Raises:
        ModelError: transformers has no causal language model for it, or its weights are quantized.
        Exception: one of `policy.LOAD_ERRORS`.
    """
    given, _ = PreTrainedConfig.get_config_dict(where, **options)
    check_student_config(given)
    changed = _with_single_tokens(given, _ends(given))
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
    changed = _with_single_tokens(given, _ends(given))
    return {} if changed == given else {"generation_config": GenerationConfig.from_dict(changed)}


def _with_single_tokens(given: dict[str, Any], ends: set[Any]) -> dict[str, Any]:
    """The same config with the first of several padding or beginning tokens.

    Args:
        given: the config, or a part of it.
        ends: tokens that end a sequence.

    Raises:
        ModelError: several tokens, of which one does not end a sequence.
    """
    changed = dict(given)
    for name, value in given.items():
        if isinstance(value, dict):
            changed[name] = _with_single_tokens(value, ends | _ends(value))
        elif name in SINGLE_TOKENS and isinstance(value, list) and value:
            _refuse_ambiguous(name, value, ends)
            changed[name] = value[0]
    return changed


def _refuse_ambiguous(name: str, tokens: list[Any], ends: set[Any]) -> None:
    """Raises `ModelError` if a list of tokens stands for more than one meaning."""
    if len(tokens) > 1 and not ends.issuperset(tokens):
        raise ModelError(
            f"the student's config has several tokens as {name}: {tokens}, and not all of them are in eos_token_id",
            param="student",
            hint=f"set {name} to one token in the student's config.json and generation_config.json",
        )


def _ends(config: dict[str, Any]) -> set[Any]:
    """Tokens that end a sequence."""
    declared = config.get("eos_token_id")
    return set(declared) if isinstance(declared, list) else {declared} - {None}
