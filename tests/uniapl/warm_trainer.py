"""Trainer runs as forks of a process that has imported torch and transformers, which takes five seconds of each start.

A fork behaves like `python -m uniapl train`: it has its own output, environment, signal handlers and exit status. Tests
of the start itself, of signals and of limits start an interpreter.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NoReturn

from tests.conftest import ROOT

LIMIT_S = 120


def train(run: Path, *, limit_s: int = LIMIT_S) -> tuple[int, str]:
    """Train as a run file specifies, for `limit_s` at most; return the exit status and the process's standard error."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with NamedTemporaryFile("r") as errors:
        request = {"run": str(run), "errors": errors.name, "environment": dict(os.environ), "limit_s": limit_s}
        print(json.dumps(request), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        return status, errors.read()


@cache
def _server() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.uniapl.warm_trainer"]
    neutral = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # each request has its own
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    server = subprocess.Popen(command, cwd=ROOT, env=neutral, text=True, **pipes)
    atexit.register(server.communicate)  # it ends with its input
    return server


def _serve() -> None:
    """Fork for each request; report the exit status of the fork."""
    import transformers.models.bert.modeling_bert
    import transformers.models.llama.modeling_llama  # noqa: F401

    import uniapl.rewards.pool
    import uniapl.training.setup  # noqa: F401

    for line in sys.stdin:
        if (child := os.fork()) == 0:
            _become_trainer(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become_trainer(run: str, errors: str, environment: dict[str, str], limit_s: int) -> NoReturn:
    from uniapl.__main__ import main

    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.modules.pop("pynvml", None)  # torch has imported it; PYTHONPATH may name another
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.dup2(os.open(errors, os.O_WRONLY), 2)
    signal.alarm(limit_s)
    sys.exit(main(["train", run]))


if __name__ == "__main__":
    _serve()
