"""The version of the vLLM that a worker's command starts."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from worker.vllm.version import find_version

pytestmark = pytest.mark.integration


def script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_a_script_of_python_is_read_from_its_environment_without_running_it(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "vllm-0.33.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.33.0\n")
    python = script(tmp_path / "python3", f'#!/bin/sh\nPYTHONPATH={tmp_path / "lib"} exec {sys.executable} "$@"\n')
    assert find_version([script(tmp_path / "vllm", f"#!{python}\nraise SystemExit('it ran')\n")]) == "0.33.0"
    assert find_version([script(tmp_path / "other", f"#!{sys.executable}\n")]) is None  # no vLLM beside it


def test_another_program_is_run_with_a_time_limit(tmp_path: Path) -> None:
    fake = [sys.executable, "-m", "tests.worker.vllm.fake_vllm", str(tmp_path)]
    assert find_version(fake) == "0.0.1+fake"
    assert find_version([str(tmp_path / "missing")]) is None
    assert find_version([script(tmp_path / "broken", "#!/bin/sh\nexit 3\n")]) is None
    began = time.monotonic()
    assert find_version([script(tmp_path / "slow", "#!/bin/sh\nexec sleep 60\n")], limit_s=0.5) is None
    assert time.monotonic() - began < 30
