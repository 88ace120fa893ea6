"""The option `--device` of the benchmarks."""

from __future__ import annotations

import argparse

import pytest
import torch

from benchmarks import memory, packs, profile, rollout, train, unified
from benchmarks.fresh import add_device

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "benchmark", [memory, packs, profile, rollout, train, unified], ids=lambda module: module.__name__
)
@pytest.mark.parametrize(
    ("device", "problem"),
    [("cuda", "torch finds no GPU on this machine; choose cpu"), ("tpu", "'tpu' is not a device")],
)
def test_a_benchmark_refuses_a_device_that_is_not_there(
    benchmark: object, device: str, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["benchmark", "--device", device])
    with pytest.raises(SystemExit):
        benchmark.main()  # type: ignore[attr-defined]
    assert problem in capsys.readouterr().err


def test_the_default_is_the_cpu() -> None:
    parser = argparse.ArgumentParser()
    add_device(parser)
    assert parser.parse_args([]).device == parser.parse_args(["--device", "cpu"]).device == "cpu"
