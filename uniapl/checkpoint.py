"""Checkpoints that are whole or not there: safetensors and JSON, a manifest of hashes, one atomic rename.

    step-00000050/
        model.safetensors, config.json, tokenizer…   what `AutoModelForCausalLM.from_pretrained` reads
        optimizer.safetensors                        AdamW's moments, by parameter name
        adapter/                                     with `lora`: what peft reads; the model above has it merged in
    discriminator/                               a learned discriminator, with its own optimizer
    profile/                                     the behaviour profiles so far
    state.json                                   running means and windows of the trainer
    spec.json                                    the resolved job spec
        manifest.json                                step, versions, and each file's size and sha256

The order of rows and every random draw are functions of (seed, step), so nothing about them is saved.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from uniapl.errors import CheckpointError
from uniapl.lora import save_merged
from uniapl.policy import Policy
from uniapl.spec.job import JobSpec

MANIFEST = "manifest.json"
STATE = "state.json"


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint that is complete on disk."""

    step: int
    path: Path
    manifest_sha256: str
    bytes: int


def save(
    folder: Path,
    policy: Policy,
    optimizer: Optimizer,
    spec: JobSpec,
    step: int,
    state: dict[str, Any],
    parts: Mapping[str, Callable[[Path], None]] = {},  # never changed
) -> SavedCheckpoint:
    """Write the state after `step` updates to `folder/step-<step>`.

    `state` is what JSON can hold of it, `parts` write what else there is into folders of these names.

    Everything is written under a temporary name, synced, and renamed last; a crash leaves the old state or the new.
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        if isinstance(policy.model, PeftModel):
            save_merged(policy.model, temporary)
        else:
            policy.model.save_pretrained(temporary)
        policy.tokenizer.save_pretrained(temporary)
        save_file(_optimizer_tensors(policy, optimizer), temporary / "optimizer.safetensors")
        (temporary / STATE).write_text(json.dumps(state))
        for name, write in parts.items():
            write(temporary / name)
        (temporary / "spec.json").write_text(spec.model_dump_json(indent=2))
        sizes = _write_manifest(temporary, step)
        shutil.rmtree(final, ignore_errors=True)  # left by an attempt that died before reporting it
        temporary.rename(final)
        _sync(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return SavedCheckpoint(step, final, _sha256(final / MANIFEST), sizes)


def verify(path: Path) -> int:
    """Check every file against the manifest, and return the checkpoint's step.

    Raises:
        CheckpointError: the manifest is missing, or a file is missing, torn or altered.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        for name, expected in manifest["files"].items():
            if (path / name).stat().st_size != expected["bytes"] or _sha256(path / name) != expected["sha256"]:
                raise CheckpointError(f"checkpoint {path.name}: {name} is torn or altered")
        return int(manifest["step"])
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"checkpoint {path.name} cannot be read: {error}") from error


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


def steps_in(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, ascending."""
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


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
        shutil.rmtree(folder / f"step-{step:08d}")
    return old


def _optimizer_tensors(policy: Policy, optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.contiguous()
        for name, parameter in policy.model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _write_manifest(folder: Path, step: int) -> int:
    """Sync every file and record it; returns the bytes of all of them."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*")):  # tokenizers with several chat templates have a folder for them
        _sync(path)
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            files[name] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"step": step, "versions": versions, "files": files}, indent=2))
    _sync(manifest)
    _sync(folder)
    return sum(entry["bytes"] for entry in files.values())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
