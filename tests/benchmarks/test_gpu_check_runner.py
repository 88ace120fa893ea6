"""The runner of the GPU check cuts a hanging phase, keeps its figures, and runs the next one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from benchmarks.gpu_check import __main__ as command
from benchmarks.gpu_check.runner import Check, Phase, summary

pytestmark = pytest.mark.full

HANGS = Phase("hangs", "tests.benchmarks.hanging_phase", cuda_s=9, cpu_s=9)
FAILS = Phase("fails", "tests.benchmarks.failing_phase", cuda_s=60, cpu_s=60)


def test_a_phase_that_hangs_is_killed_with_its_children_and_the_next_one_runs(tmp_path: Path) -> None:
    check = Check(tmp_path, "cpu", tmp_path, budget_s=100)
    check.run([[HANGS], [FAILS]])
    lines = [json.loads(line) for line in check.results.read_text().splitlines()]
    found = {line["phase"]: line["outcome"] for line in lines if "outcome" in line}
    assert found == {"hangs": "cut", "fails": "failed"}
    figures = {line["group"]: line["figures"][0] for line in lines if "group" in line}
    assert not is_running(int(figures["before the hang"]["value"]))
    assert figures["before the error"]["value"] == 1
    assert [line["error"] for line in lines if "error" in line] == ["RuntimeError: no such kernel"]
    assert "no such kernel" in (tmp_path / "log").read_text()
    text, red_flags = summary(check.results)
    assert red_flags == 2
    assert "RED FLAG: hangs: cut: it did not end within 9 s" in text


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_phases_beyond_the_budget_are_cut_or_skipped(tmp_path: Path) -> None:
    started = time.monotonic()
    check = Check(tmp_path, "cpu", tmp_path, budget_s=2)
    check.run([[HANGS], [FAILS]])
    assert time.monotonic() - started < 8
    outcomes = [json.loads(line).get("outcome") for line in check.results.read_text().splitlines()]
    assert [outcome for outcome in outcomes if outcome] == ["cut", "skipped"]
    assert summary(check.results)[0].count("budget of all phases") == 2


def test_phases_beyond_those_at_once_wait(tmp_path: Path) -> None:
    check = Check(tmp_path, "cpu", tmp_path, budget_s=2)
    check.run([[HANGS, HANGS, FAILS]])
    ends = [line for line in map(json.loads, check.results.read_text().splitlines()) if "outcome" in line]
    assert [(end["phase"], end["outcome"]) for end in ends] == [("hangs", "cut")] * 2 + [("fails", "skipped")]


def test_both_forms_have_the_same_phases() -> None:
    long, short = ([phase for stage in stages for phase in stage] for stages in (command.STAGES, command.SHORT_STAGES))
    assert sorted(long, key=lambda phase: phase.name) == sorted(short, key=lambda phase: phase.name)


@pytest.mark.parametrize(("phase", "status"), [(FAILS, 1), (None, 0)])
def test_the_exit_status_is_1_after_a_red_flag(
    phase: Phase | None, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = ((phase,),) if phase else command.STAGES[:1]
    name = phase.name if phase else "environment"
    monkeypatch.setattr(command, "STAGES", stages)
    monkeypatch.setattr(command, "SHORT_STAGES", stages)
    monkeypatch.setattr("sys.argv", ["gpu_check", "--device", "cpu", "--out", str(tmp_path), "--phase", name])
    assert command.main() == status
