"""Version of the vLLM that a command starts, determined in that vLLM's own environment."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from worker.vllm.command import environment_of_vllm

LIMIT_S = 120.0
"""Time limit. `vllm --version` imports torch, which takes 10 to 20 s from a cold disk."""
METADATA = "from importlib.metadata import version; print(version('vllm'))"
logger = logging.getLogger(__name__)


def find_version(command: Sequence[str], limit_s: float = LIMIT_S) -> str | None:
    """The version of vLLM; `None` if the command is missing, fails, or exceeds the time limit.

    A script is not run: the Python of its first line reads the version from the installed metadata within a second.
    """
    program = shutil.which(command[0])
    if program is None:
        logger.info("this worker has no vLLM: program %r not found", command[0])
        return None
    python = python_of(command)
    asked = [python, "-c", METADATA] if python else [*command, "--version"]
    try:
        done = subprocess.run(
            asked, capture_output=True, text=True, timeout=limit_s, env=environment_of_vllm(os.environ), check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("this worker has no vLLM: %s", error)
        return None
    lines = done.stdout.split()
    return lines[-1] if lines else None


def python_of(command: Sequence[str]) -> str | None:
    """The Python of vLLM's environment; `None` where the command is missing, has options, or is not a script."""
    program = shutil.which(command[0])
    return _interpreter(Path(program)) if program and len(command) == 1 else None


def _interpreter(program: Path) -> str | None:
    """The Python that runs a script, from its first line; `None` for another program."""
    with program.open("rb") as file:
        first = file.readline(256)
    if not first.startswith(b"#!"):
        return None
    words = first[2:].decode(errors="replace").split()
    return words[0] if len(words) == 1 and "python" in Path(words[0]).name else None
