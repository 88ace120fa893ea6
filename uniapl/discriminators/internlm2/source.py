"""Files of a model on this machine: its folder, or a snapshot of its hub repository."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from uniapl.discriminators.internlm2.config import is_internlm2
from uniapl.discriminators.internlm2.stored import refused
from uniapl.run.config import ModelSource

DESCRIPTION = ["config.json", "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "*.index.json"]
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""Safetensors are preferred: the second is downloaded only without the first."""


def describes_internlm2(source: ModelSource) -> bool:
    """Whether a model is an InternLM2; false where its config cannot be read, which its loader reports."""
    try:
        return is_internlm2(json.loads(_config_file(source).read_text()))
    except (OSError, ValueError):
        return False


def files_of(source: ModelSource, *, weights: bool) -> Path:
    """The folder with a model's files; a hub repository is downloaded into the hub's cache.

    Raises:
        ModelError: the hub cannot be reached, and the cache lacks the files.
    """
    if source.path is not None:
        return Path(source.path)
    try:
        folder = _snapshot(source, DESCRIPTION)
        for pattern in WEIGHTS if weights else ():
            _snapshot(source, [pattern])
            if any(folder.glob(pattern)):
                break
    except (OSError, ValueError) as error:
        raise refused(f"cannot download {source.hub}: {next(iter(str(error).splitlines()), '')}") from error
    return folder


def fingerprint(folder: Path) -> str:
    """Digest of a folder's files: of the weights' names, sizes and times of change, and of the other files' content."""
    digest = hashlib.sha256()
    files = {file for pattern in (*DESCRIPTION, *WEIGHTS) for file in folder.glob(pattern)}
    for file in sorted(files):
        is_weights = file.suffix in (".safetensors", ".bin")
        found: Any = [file.stat().st_size, file.stat().st_mtime_ns] if is_weights else _digest(file)
        digest.update(json.dumps([file.name, found]).encode())
    return digest.hexdigest()


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _config_file(source: ModelSource) -> Path:
    if source.path is not None:
        return Path(source.path) / "config.json"
    from huggingface_hub import hf_hub_download  # the import takes half a second

    return Path(hf_hub_download(str(source.hub), "config.json", revision=source.revision))


def _snapshot(source: ModelSource, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(source.hub), revision=source.revision, allow_patterns=patterns))
