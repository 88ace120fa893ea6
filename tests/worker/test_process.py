"""Groups die whole, strangers are spared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from worker import process

pytestmark = pytest.mark.integration

FORKING = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def start(folder: Path, code: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-u", "-c", code]
    return process.start(command, log=folder / "log", environment=dict(os.environ), folder=folder)


def wait_for_pid(log: Path) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if log.exists() and (text := log.read_text().strip()):
            return int(text)
        time.sleep(0.02)
    raise AssertionError("the child did not start")


def test_killing_a_group_takes_grandchildren_along(tmp_path: Path) -> None:
    child = start(tmp_path, FORKING)
    grandchild = wait_for_pid(tmp_path / "log")
    assert psutil.pid_exists(grandchild)
    process.kill_group(child.pid, started=process.start_time(child.pid))
    assert child.wait(5) == -9
    assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE
    process.kill_group(child.pid)  # a second call on an empty group is harmless


def test_a_stranger_with_the_recorded_number_is_spared(tmp_path: Path) -> None:
    child = start(tmp_path, "import time; time.sleep(60)")
    started = process.start_time(child.pid)
    assert started is not None
    process.kill_group(child.pid, started=started - 1)
    time.sleep(0.2)
    assert child.poll() is None
    process.kill_group(child.pid, started=started)
    assert child.wait(5) == -9


def test_what_is_started_is_no_rank_of_the_workers_launcher(tmp_path: Path) -> None:
    ranks = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "node-1", "TORCHELASTIC_RUN_ID": "7"}
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    child = process.start(
        [sys.executable, "-c", code],
        log=tmp_path / "log",
        environment={**os.environ, **ranks, "OMP_NUM_THREADS": "3"},
        folder=tmp_path,
    )
    assert child.wait(30) == 0
    found = json.loads((tmp_path / "log").read_text())
    assert not ranks.keys() & found.keys()
    assert found["OMP_NUM_THREADS"] == "3"


def test_the_tail_of_a_log_is_short_and_without_progress_bars(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(f"line {i}" for i in range(100)) + "\n 10%|#\r 20%|##\rdone\n")
    text = process.tail(log, lines=3)
    assert text == "line 98\nline 99\ndone"
    assert process.tail(tmp_path / "missing") == ""
