"""Low-rank adapters (arXiv:2106.09685) with peft: added to a student, saved beside a merged model, loaded again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    NoMatchingPeftModuleError,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
)
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file

from uniapl.errors import CheckpointError, SpecError
from uniapl.model import export
from uniapl.model.frozen import round_frozen
from uniapl.model.lora_check import FAILS, obstacle, quietly, unfit_layers
from uniapl.model.merge import merged
from uniapl.model.policy import Policy
from uniapl.spec.training import Lora

ADAPTER = "adapter"
"""Folder of the adapter within a checkpoint."""


def with_lora(policy: Policy, options: Lora, *, seed: int) -> Policy:
    """The same student with frozen weights and fresh adapters, which do not change its outputs.

    On a GPU the frozen weights of linear layers are in bfloat16 (`uniapl.model.frozen`), adapters in float32.

    Raises:
        SpecError: the student has none of the named layers, or its adapters cannot be merged.
    """
    all_linear = options.target_modules == "all-linear"
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,  # type: ignore[arg-type]  # used in a division only
        target_modules=options.target_modules,
        exclude_modules=(unfit_layers(policy.model) or None) if all_linear else None,
        lora_dropout=0.0,  # the trained policy must equal the one that sampled
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), quietly():
        torch.manual_seed(seed)
        try:
            model = get_peft_model(policy.model, config)
        except NoMatchingPeftModuleError as error:
            raise SpecError(
                f"the student has no layers named {options.target_modules}: {error}",
                param="lora.target_modules",
                hint="use 'all-linear'",
            ) from None
        except FAILS as error:
            raise _unsuited(policy, str(error)) from error
    chosen: Any = model.peft_config["default"]
    for targets in ("target_modules", "target_parameters"):  # the order of a set differs between runs
        if (names := getattr(chosen, targets)) is not None:
            setattr(chosen, targets, sorted(names))
    model.eval()
    if (reason := obstacle(model)) is not None:
        raise _unsuited(policy, reason)
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = False  # autocast casts inputs; peft would copy them to float32 before
    round_frozen(model, keep_exact=True)
    return replace(policy, model=model)


def _unsuited(policy: Policy, why: str) -> SpecError:
    return SpecError(
        f"{type(policy.model).__name__} cannot be trained with `lora`: {why}",
        param="lora.target_modules",
        hint="name other layers in lora.target_modules, such as q_proj and v_proj, or train all weights without `lora`",
    )


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter to `folder` in peft's format."""
    with quietly():
        model.save_pretrained(str(folder))


def save_merged(model: PeftModel, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write the adapter to `folder/adapter`, and to `folder` the student with the adapter merged in.

    The trained model is unchanged: merging and unmerging in place would change its last bits. `dtype` is the
    floating-point type of the merged weights, by default the student's.

    Raises:
        ModelError: as `export.save`.
    """
    save_adapter(model, folder / ADAPTER)
    student: Any = model.get_base_model()
    export.save(student, merged(student), folder, dtype)


@torch.no_grad()
def load_adapter(model: PeftModel, checkpoint: Path) -> None:
    """Load a checkpoint's adapter into the model.

    Raises:
        CheckpointError: the checkpoint has no adapter, or one of another shape.
    """
    try:
        saved = load_file(checkpoint / ADAPTER / "adapter_model.safetensors", device=str(model.device))
        with quietly():
            parameters = get_peft_model_state_dict(model)
        if set(saved) != set(parameters):
            raise ValueError("its layers differ from this job's")
        for name, parameter in parameters.items():  # not peft's loader, which renames the layers of some students
            parameter.copy_(saved[name])
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: the adapter cannot be loaded: {error}") from error
