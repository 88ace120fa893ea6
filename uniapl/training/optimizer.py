"""AdamW with moments in float32, or in 8 bits by bitsandbytes (arXiv:2110.02861), and its state as named tensors.

bitsandbytes keeps a moment as one byte per value and one float32 scale per block of 256 values. Parameters of fewer
than 4096 values have moments in float32.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from uniapl.errors import LibraryMissingError
from uniapl.spec import training as spec

State = dict[str, Any]
"""The optimizer's state of one parameter."""
FLOAT32 = ("exp_avg", "exp_avg_sq")
EIGHT_BIT = ("state1", "state2")
SCALES = ("absmax1", "absmax2")
"""Scales of the blocks, of moments in bytes only."""
CODES = {"qmap1": "dynamic", "qmap2": "udynamic"}
"""bitsandbytes' tables from bytes to numbers: constants, shared by all parameters."""


def adamw(parameters: Iterable[Tensor], options: spec.Optimizer) -> Optimizer:
    """The optimizer that `options` describe.

    Raises:
        LibraryMissingError: `moments` needs bitsandbytes, and it cannot be imported.
    """
    settings: dict[str, Any] = {
        "lr": options.learning_rate,
        "betas": (options.beta1, options.beta2),
        "eps": options.eps,
        "weight_decay": options.weight_decay,
    }
    if options.moments == "float32":
        return torch.optim.AdamW(parameters, fused=True, **settings)
    eight_bit: Optimizer = _bitsandbytes().AdamW8bit(parameters, **settings)
    return eight_bit


def require_library(options: spec.Optimizer) -> None:
    """Check that `adamw` can import what it needs, before a model is loaded.

    Raises:
        LibraryMissingError: as `adamw`.
    """
    if options.moments == "8bit":
        _bitsandbytes()


def _bitsandbytes() -> Any:
    try:
        return importlib.import_module("bitsandbytes.optim")
    except ImportError as error:
        raise LibraryMissingError.bitsandbytes(f"it cannot be imported here ({error})") from None


def moments(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The large tensors of one parameter's state by name: its moments, and the scales of those in bytes."""
    return {name: state[name] for name in (*FLOAT32, *EIGHT_BIT, *SCALES) if name in state}


def state_tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a checkpoint keeps of one parameter's state, by name; `restored_state` reads it."""
    if not state:
        return {}
    return {"step": torch.as_tensor(state["step"], dtype=torch.float32), **moments(state)}


def restored_state(optimizer: Optimizer, parameter: Tensor, saved: Callable[[str], Tensor]) -> State:
    """One parameter's state from the tensors of `state_tensors`, which `saved` returns by name.

    Raises:
        KeyError: by `saved`, which has no tensor of that name.
    """
    if isinstance(optimizer, torch.optim.AdamW):
        return {name: saved(name) for name in ("step", *FLOAT32)}
    state: State = {"step": int(saved("step").item()), **{name: saved(name) for name in EIGHT_BIT}}
    if state["state1"].dtype == torch.uint8:
        tables: dict[str, Tensor] = optimizer.name2qmap  # type: ignore[attr-defined]  # bitsandbytes' own
        for table in tables:
            tables[table] = tables[table].to(parameter.device)
        state |= {name: saved(name) for name in SCALES}
        state |= {name: tables[table] for name, table in CODES.items()}
    return state


def kind_of(names: Iterable[str]) -> str | None:
    """The value of `optimizer.moments` of saved tensors with these names; `None` where there are no moments."""
    endings = {name.rpartition(".")[2] for name in names}
    if endings & set(FLOAT32):
        return "float32"
    return "8bit" if endings & set(EIGHT_BIT) else None
