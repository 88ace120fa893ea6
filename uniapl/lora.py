"""Low-rank adapters (arXiv:2106.09685) by way of peft: put on, saved beside a merged model, put back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor

from uniapl.errors import CheckpointError, SpecError
from uniapl.policy import Policy
from uniapl.spec.training import Lora

ADAPTER = "adapter"
"""Folder of the adapter within a checkpoint."""


def with_lora(policy: Policy, options: Lora, *, seed: int) -> Policy:
    """The same student with frozen weights and adapters that change nothing yet.

    Raises:
        SpecError: the student has none of the named layers.
    """
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,  # type: ignore[arg-type]  # it is only ever divided
        target_modules=options.target_modules,
        lora_dropout=0.0,  # the policy that is trained must be the one that sampled
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = get_peft_model(policy.model, config)
        except ValueError as error:
            raise SpecError(
                f"the student has no layers named {options.target_modules}: {error}",
                param="lora.target_modules",
                hint="leave it at 'all-linear'",
            ) from None
    chosen: Any = model.peft_config["default"]
    chosen.target_modules = sorted(chosen.target_modules or [])  # a set would be written in another order each time
    model.eval()
    return replace(policy, model=model)


def save_merged(model: PeftModel, folder: Path) -> None:
    """Write the adapter to `folder/adapter`, and to `folder` the student with the adapter merged in.

    The trained model itself is not touched: merging and unmerging in place would change its last bits.
    """
    model.save_pretrained(str(folder / ADAPTER))
    student: Any = model.get_base_model()
    student.save_pretrained(folder, state_dict=_merged(student))


def _merged(student: Any) -> dict[str, Tensor]:
    """The student's own parameter names with the adapters added to the weights they belong to."""
    adapted: dict[str, Any] = {
        name: module for name, module in student.named_modules() if isinstance(module, LoraLayer)
    }
    merged = {}
    for name, value in student.state_dict().items():
        owner, layer, parameter = name.rpartition(".base_layer.")
        if owner in adapted and layer:
            if parameter == "weight":
                value = value + adapted[owner].get_delta_weight("default")
            merged[f"{owner}.{parameter}"] = value
        elif not any(name.startswith(f"{adapter}.lora_") for adapter in adapted):
            merged[name] = value
    return merged


def load_adapter(model: PeftModel, checkpoint: Path) -> None:
    """Put a checkpoint's adapter back.

    Raises:
        CheckpointError: it has none, or one of another shape.
    """
    try:
        saved = load_file(checkpoint / ADAPTER / "adapter_model.safetensors", device=str(model.device))
        if set(saved) != set(get_peft_model_state_dict(model)):
            raise ValueError("its layers are not those of this job")
        set_peft_model_state_dict(model, saved)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: the adapter cannot be loaded: {error}") from error
