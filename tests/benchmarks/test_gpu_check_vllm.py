"""The phase of the GPU check with a vLLM server, against a server of the same routes without a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu_check.phases import other_card, vllm_sampler
from benchmarks.gpu_check.report import Report
from tests.conftest import MODELS

pytestmark = pytest.mark.full


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return Report("vllm_sampler", "cpu", tmp_path / "result.jsonl", MODELS)


def unchecked(report: Report) -> list[str]:
    lines = map(json.loads, report.results.read_text().splitlines())
    return [line["unchecked"] for line in lines if "unchecked" in line]


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str = "0.32.0+cpu") -> Path:
    """A vLLM of this version in `folder`, as the Makefile installs it; returns the folder of its behaviour."""
    (behaviour := folder / "behaviour").mkdir()
    program = folder / vllm_sampler.ENVIRONMENTS["cpu"]
    program.parent.mkdir(parents=True)
    serve = f"PYTHONPATH={Path.cwd()}:$PYTHONPATH exec {sys.executable} -m tests.worker.vllm.fake_vllm {behaviour}"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo {version} && exit\n{serve} "$@"\n')
    program.chmod(0o755)
    monkeypatch.chdir(folder)
    return behaviour


def test_a_server_without_the_trainers_weights_is_a_red_flag(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch)
    vllm_sampler.run(report)
    assert {figure.name for figure in report.found if figure.verdict == "red flag"} == {"mean difference"}
    assert [figure.value for figure in report.found if figure.name == "failed probes"] == [0]
    assert unchecked(report) == ["weights handed over on a card, sleep, a full KV cache: no GPU"]


def test_a_server_that_does_not_start_fails_the_phase_with_its_log(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (install(tmp_path, monkeypatch) / "starts").write_text("exit1")
    with pytest.raises(RuntimeError, match="no such architecture"):
        vllm_sampler.run(report)
    assert "no such architecture" in capsys.readouterr().err


@pytest.mark.parametrize(("version", "reason"), [("", "none found"), ("0.33.0", "0.33.0 is not built for CPUs")])
def test_without_a_vllm_for_this_device_the_phase_reports_that_no_server_ran(
    version: str, reason: str, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, version)
    vllm_sampler.run(report)
    assert report.found == []
    assert [reason in line for line in unchecked(report)] == [True]


def test_the_phase_of_another_card_reports_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = Report("other_card", "cpu", tmp_path / "short.jsonl", MODELS)
    other_card.run(short)
    assert (short.found, unchecked(short)) == ([], ["weights by NCCL to a sampler on another card: no GPU"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(other_card, "library", lambda report: None)  # it needs a GPU
    one = Report("other_card", "cuda", tmp_path / "one.jsonl", MODELS)
    other_card.run(one)
    assert unchecked(one) == ["weights by NCCL to a sampler on another card: it needs two GPUs, and there is 1"]
