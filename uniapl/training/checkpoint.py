"""The contents of a checkpoint: safetensors and JSON. `uniapl.run.manifest` publishes the folder atomically.

    step-00000050/
        model.safetensors, config.json, tokenizer…   what `AutoModelForCausalLM.from_pretrained` reads
        optimizer.safetensors                        AdamW's moments, by parameter name
        adapter/                                     with `lora`: what peft reads; the model above has it merged in
        discriminator/                               a learned discriminator, with its own optimizer
        profile/                                     the behaviour profiles so far
        state.json                                   running means and windows of the trainer
        spec.json                                    the resolved job spec
        manifest.json                                step, versions, what draws and schedules derive from, hashes

The order of rows, every random draw and the learning rate are functions of (seed, step, spec), so there is no state of
a generator or scheduler to save.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Mapping
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
from uniapl.spec.job import JobSpec

FOLDER, STATE = "checkpoints", "state.json"
"""The folder of all checkpoints in a run directory; the trainer's state in a checkpoint."""


def save(
    folder: Path,
    policy: Policy,
    optimizer: Optimizer,
    spec: JobSpec,
    step: int,
    state: dict[str, Any],
    parts: Mapping[str, Callable[[Path], None]] = {},  # never changed
) -> SavedCheckpoint:
    """Write the state after `step` updates to `folder/step-<step>`; a crash leaves the old state or the new.

    `state` is what JSON can hold of it, `parts` write what else there is into folders of these names.

    Raises:
        ModelError: the weights are not those of the student's architecture.
        Exception: what writing files raises; the older checkpoints are untouched, and nothing of this one is left.
    """

    def write(target: Path) -> None:
        if isinstance(policy.model, PeftModel):
            save_merged(policy.model, target)
        else:
            export.save(policy.model, merged(policy.model), target)
        policy.tokenizer.save_pretrained(target)
        save_file(_optimizer_tensors(policy, optimizer), target / "optimizer.safetensors")
        (target / STATE).write_text(json.dumps(state))
        for name, write_part in parts.items():
            write_part(target / name)
        (target / "spec.json").write_text(spec.model_dump_json(indent=2))

    return publish(folder, step, write, _about(spec, step))


def load_optimizer(path: Path, policy: Policy, optimizer: Optimizer) -> None:
    """Put the saved moments back; the weights are loaded like any other model folder.

    Raises:
        CheckpointError: a parameter has none.
    """
    saved = load_file(path / "optimizer.safetensors", device=str(policy.device))
    if not saved:  # no step so far had anything to learn from
        return
    for name, parameter in policy.model.named_parameters():
        if not parameter.requires_grad:
            continue
        try:
            optimizer.state[parameter] = {key: saved[f"{name}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        except KeyError as error:
            raise CheckpointError(f"checkpoint {path.name}: optimizer.safetensors has no {error}") from None


def load_state(path: Path) -> dict[str, Any]:
    """What `save` was given as `state`.

    Raises:
        CheckpointError: it is not there.
    """
    try:
        state: dict[str, Any] = json.loads((path / STATE).read_text())
    except OSError as error:
        raise CheckpointError(f"checkpoint {path.name}: {STATE} cannot be read: {error.strerror}") from None
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
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _about(spec: JobSpec, step: int) -> dict[str, Any]:
    """What the manifest records of the run: versions, and what draws and learning rate are functions of."""
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
        "scheduler": {"derived_from": {"step": step, "learning_rate": o.learning_rate, "warmup_steps": o.warmup_steps}},
    }
