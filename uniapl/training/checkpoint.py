"""Checkpoint contents: safetensors and JSON files, which `uniapl.run.manifest` publishes atomically.

    step-00000050/
        model.safetensors, config.json, tokenizer…   read by `AutoModelForCausalLM.from_pretrained`
        master.safetensors                           trained weights in float32, where the model's are in another type
        optimizer.safetensors                        AdamW's moments, by parameter name, in their type
        adapter/                                     with `lora`: read by peft; the model above has it merged in
        discriminator/                               a learned discriminator, with its own optimizer
        profile/                                     the behaviour profiles so far
        state.json                                   running means and windows of the trainer
        spec.json                                    the resolved job spec
        manifest.json                                step, versions, origin of random draws and schedules, hashes

The order of rows, every random draw and the learning rate are functions of (seed, step, spec), so no generator or
scheduler state is saved.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from uniapl.errors import CheckpointError
from uniapl.model import export
from uniapl.model.lora import save_merged
from uniapl.model.merge import merged
from uniapl.model.policy import Policy
from uniapl.run.manifest import SavedCheckpoint, folder_of, publish, steps_in
from uniapl.run.resolve import SPEC
from uniapl.spec.job import JobSpec
from uniapl.training.optimizer import kind_of, restored_state, state_tensors

FOLDER, STATE = "checkpoints", "state.json"
"""The folder of all checkpoints in a run directory; the trainer's state in a checkpoint."""
MASTER = "master.safetensors"
"""Trained weights in float32, by parameter name."""


def save(
    folder: Path,
    policy: Policy,
    optimizer: Optimizer,
    spec: JobSpec,
    step: int,
    state: dict[str, Any],
    parts: Mapping[str, Callable[[Path], None]] = {},  # never modified
) -> SavedCheckpoint:
    """Write the checkpoint after `step` updates to `folder/step-<step>`, atomically.

    Args:
        folder: of all checkpoints of the run.
        policy: weights and tokenizer.
        optimizer: AdamW.
        spec: the resolved job spec.
        step: updates so far.
        state: JSON-serialisable state of the trainer.
        parts: functions by name; each writes its state into the folder of that name, which it creates.

    Raises:
        ModelError: the weights do not match the student's architecture.
        Exception: raised while writing; older checkpoints are untouched, and nothing of this one is left.
    """

    def write(target: Path) -> None:
        _save_model(policy, target, policy.stored_dtype if spec.schedule.checkpoint_dtype == "student" else None)
        policy.tokenizer.save_pretrained(target)
        save_file(_optimizer_tensors(policy, optimizer), target / "optimizer.safetensors")
        (target / STATE).write_text(json.dumps(state))
        for name, write_part in parts.items():
            write_part(target / name)
        (target / SPEC).write_text(spec.model_dump_json(indent=2))

    return publish(folder, step, write, _manifest_entries(spec, step))


def _save_model(policy: Policy, target: Path, dtype: torch.dtype | None) -> None:
    """Write the model in this type, and what a resumed run needs beside it."""
    if isinstance(policy.model, PeftModel):
        save_merged(policy.model, target, dtype)
        return
    export.save(policy.model, merged(policy.model), target, dtype)
    if dtype not in (None, torch.float32):
        save_file({name: weight.contiguous() for name, weight in policy.model.named_parameters()}, target / MASTER)


@torch.no_grad()
def load_master(path: Path, policy: Policy) -> None:
    """Restore the trained weights where those of the checkpoint's model are rounded.

    Raises:
        CheckpointError: the weights of a parameter are missing.
    """
    if not (path / MASTER).exists():
        return
    saved = load_file(path / MASTER, device=str(policy.device))
    for name, parameter in policy.model.named_parameters():
        if name not in saved:
            raise CheckpointError(f"checkpoint {path.name}: {MASTER} has no {name!r}")
        parameter.copy_(saved[name])


def load_optimizer(path: Path, policy: Policy, optimizer: Optimizer) -> None:
    """Restore AdamW's moments; the weights are loaded like any other model folder.

    Raises:
        CheckpointError: the moments of a parameter are missing, or they are of another type than `optimizer.moments`.
    """
    saved = load_file(path / "optimizer.safetensors", device=str(policy.device))
    if not saved:  # no step so far had a gradient
        return
    kept, used = kind_of(saved), "float32" if isinstance(optimizer, torch.optim.AdamW) else "8bit"
    if kept not in (None, used):
        raise CheckpointError(
            f"checkpoint {path.name}: its moments are {kept}, and optimizer.moments is {used!r}",
            param="optimizer.moments",
            hint=f"set optimizer.moments to {kept!r}",
        )
    for name, parameter in policy.model.named_parameters():
        if not parameter.requires_grad:
            continue
        try:
            optimizer.state[parameter] = restored_state(optimizer, parameter, partial(_named, saved, name))
        except KeyError as error:
            raise CheckpointError(f"checkpoint {path.name}: optimizer.safetensors has no {error}") from None


def _named(saved: Mapping[str, Tensor], name: str, key: str) -> Tensor:
    return saved[f"{name}.{key}"]


def load_state(path: Path) -> dict[str, Any]:
    """The `state` of `save`.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        state: dict[str, Any] = json.loads((path / STATE).read_text())
    except OSError as error:
        raise CheckpointError(f"checkpoint {path.name}: cannot read {STATE}: {error.strerror}") from None
    return state


def prune(folder: Path, keep: int) -> list[int]:
    """Delete all but the newest `keep` checkpoints; returns the deleted steps."""
    old = steps_in(folder)[:-keep]
    for step in old:
        shutil.rmtree(folder_of(folder, step))
    return old


def _optimizer_tensors(policy: Policy, optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.contiguous()
        for name, parameter in policy.model.named_parameters()
        for key, value in state_tensors(optimizer.state.get(parameter, {})).items()
    }


def _manifest_entries(spec: JobSpec, step: int) -> dict[str, Any]:
    """Versions, and the origin of random draws and of the learning rate."""
    origin, o = {"seed": spec.seed, "step": step}, spec.optimizer
    return {
        "versions": {
            "uniapl": version("uniapl"),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        "world_size": 1,
        "rng": [{"rank": 0, "derived_from": origin}],
        "scheduler": {
            "derived_from": {
                "step": step,
                "learning_rate": o.learning_rate,
                "warmup_steps": o.warmup_steps,
                "decay": o.decay,
            }
        },
    }
