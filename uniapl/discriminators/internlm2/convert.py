"""Converted models: folders in Llama's layout, written once for each state of their source.

<store>/<name>-<fingerprint>/    config.json, model.safetensors, tokenizer.json, tokenizer_config.json
                                 manifest.json    source and fingerprint
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from uniapl.discriminators.internlm2.config import read_config
from uniapl.discriminators.internlm2.layout import Target, llama_tensors
from uniapl.discriminators.internlm2.source import describes_internlm2, files_of, fingerprint
from uniapl.discriminators.internlm2.stored import StoredTensor, read_tensors, refused
from uniapl.discriminators.internlm2.tokenizer import write_tokenizer
from uniapl.errors import ModelError
from uniapl.run import atomic
from uniapl.run.config import ModelSource

FORMAT = 1
"""Version of the converted layout; a change converts every model anew."""
CHUNK = 16 << 20
"""Bytes that are copied at once."""
REPORT_S = 5.0
logger = logging.getLogger(__name__)


def converted(source: ModelSource, store: Path) -> ModelSource:
    """The source in a layout that transformers and vLLM support: itself, or the converted folder of an InternLM2.

    The first caller converts; others, also in other processes, wait for it.

    Args:
        source: a reward model.
        store: folder of the converted models; created if missing.

    Raises:
        ModelError: the model cannot be downloaded or converted; the message names the tensor or the setting.
        OSError: the disk is full.
    """
    if not describes_internlm2(source):
        return source
    folder = files_of(source, weights=True)
    state = f"{fingerprint(folder)[:20]}-v{FORMAT}"
    target = store.absolute() / f"{(source.hub or folder.name).replace('/', '--')}-{state}"
    try:
        with _alone(target):
            if not target.is_dir():
                _convert(folder, target, source)
    except (OSError, ValueError) as error:
        if atomic.no_space(error):
            raise
        raise refused(f"cannot convert {source.hub or source.path}: {error}") from error
    return ModelSource(path=str(target))


def _convert(folder: Path, target: Path, source: ModelSource) -> None:
    config, stored = read_config(folder), read_tensors(folder)
    tensors = llama_tensors(stored, config)
    needed, free = sum(tensor.size for tensor in tensors), shutil.disk_usage(target.parent).free
    if needed > free:
        problem = f"converting {folder.name} needs {needed / 1e9:.1f} GB; {free / 1e9:.1f} GB are free"
        raise OSError(errno.ENOSPC, problem, str(target))
    dtype = tensors[0].parts[0].dtype
    with atomic.new_folder(target) as new:
        write_tokenizer(folder, new)
        (new / "config.json").write_text(json.dumps(config.llama(dtype), indent=2))
        _write(tensors, new / "model.safetensors")
        described = {"source": source.model_dump(exclude_none=True), "files": str(folder.resolve()), "format": FORMAT}
        (new / "manifest.json").write_text(json.dumps(described, indent=2))
        for file in new.iterdir():
            atomic.sync(file)


def _write(tensors: Sequence[Target], file: Path) -> None:
    """Write a safetensors file, one chunk in memory at a time."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        dtype = tensor.parts[0].dtype
        header[tensor.name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [end, end + tensor.size]}
        end += tensor.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    reported = time.monotonic()
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        for number, tensor in enumerate(tensors):
            for part in tensor.parts:
                _copy(part, opened)
            if time.monotonic() - reported > REPORT_S:
                reported = time.monotonic()
                logger.info("%d of %d tensors are converted", number + 1, len(tensors))


def _copy(part: StoredTensor, into: BinaryIO) -> None:
    with part.file.open("rb") as source:
        source.seek(part.offset)
        left = part.size
        while left:
            if not (chunk := source.read(min(left, CHUNK))):
                raise ModelError(f"{part.file.name} is truncated", param="discriminator.model")
            into.write(chunk)
            left -= len(chunk)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Exclude other processes of this machine; the lock ends with its holder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("another process converts %s", target.name)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
