"""Selection of the training device, and errors for a GPU that torch cannot use."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from tests.uniapl.training.test_train_command import reports, run_file
from tests.uniapl.warm_trainer import train
from uniapl.errors import DeviceError
from uniapl.model import device
from uniapl.model.device import find_device
from uniapl.run.reports import ErrorReport, EventReport
from worker.failures import classify

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU of this machine can be used"),
]
LISTED = "echo 'NVIDIA A100-SXM4-80GB, 570.86.10'; echo 'NVIDIA A100-SXM4-80GB, 570.86.10'"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for `nvidia-smi` that lists two cards, independent of this machine."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    answer(program, LISTED)
    return program


def answer(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_an_unusable_gpu_is_a_device_error_without_a_spec_field(driver: Path, tmp_path: Path) -> None:
    path = run_file(tmp_path / "run")
    status, errors = train(path)
    assert status == 69, errors
    last = reports(tmp_path / "run")[-1]
    assert isinstance(last, ErrorReport)
    assert last.code == "gpu_unusable"
    for part in ("NVIDIA A100-SXM4-80GB", "driver 570.86.10", torch.__version__, "built without CUDA"):
        assert part in last.message
    assert last.hint is not None
    assert "driver 580 or newer" in last.hint
    assert not (tmp_path / "run" / "checkpoints").exists()
    for report in (last, None):  # the trainer may have had no time to report
        failure = classify(status, report, errors)
        assert (failure.error.code, failure.error.category, failure.may_pass) == ("gpu_unusable", "infra", True)


@pytest.mark.parametrize("hidden", ["", "-1", "NoDevFiles"])
def test_a_hidden_gpu_leaves_the_cpu(
    driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    found = find_device()
    assert found.device.type == "cpu"
    assert found.driver.problem is None


@pytest.mark.parametrize("shown", ["0", "7", "1,0", "GPU-8932f937", "MIG-1"])
def test_an_unusable_gpu_in_cuda_visible_devices_is_named(
    driver: Path, monkeypatch: pytest.MonkeyPatch, shown: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    with pytest.raises(DeviceError, match=f"CUDA_VISIBLE_DEVICES is '{shown}'"):
        find_device()


@pytest.mark.parametrize(
    ("cuda", "version", "remedy"),
    [
        (
            "13.0",
            "570.86.10",
            "install NVIDIA driver 580 or newer, as CUDA 13 requires, or a build of torch for",
        ),
        ("12.8", "470.57.02", "install NVIDIA driver 525 or newer"),
        ("13.0", "580.65.06", "the driver is new enough"),
        (None, "580.65.06", "install a build of torch with CUDA"),
    ],
)
def test_the_remedy_suits_driver_and_build(
    driver: Path, monkeypatch: pytest.MonkeyPatch, cuda: str | None, version: str, remedy: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    answer(driver, f"echo 'NVIDIA A100, {version}'")
    with pytest.raises(DeviceError) as caught:
        find_device()
    assert f"driver {version}" in caught.value.message
    assert f"built for CUDA {cuda}" in caught.value.message or cuda is None
    assert str(caught.value.hint).startswith(remedy)
    assert "CUDA_VISIBLE_DEVICES=-1" in str(caught.value.hint)


@pytest.mark.parametrize(
    "script", ["exit 9", "echo 'No devices were found'", "echo 'Failed to initialize NVML: version mismatch'; exit 18"]
)
def test_a_driver_that_lists_no_card_is_named_and_the_cpu_is_used(driver: Path, script: str) -> None:
    answer(driver, script)
    found = find_device()
    assert found.device.type == "cpu"
    assert "nvidia-smi exited with status" in found.message


def test_where_there_is_no_driver_the_cpu_is_used(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "NVML", "libof-no-driver.so")
    driver.unlink()
    if shutil.which("nvidia-smi") is None:
        assert find_device().message.startswith("the run trains on the CPU (")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="makes a library")
def test_the_driver_is_found_by_its_library_too(driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
    int nvmlInit_v2(void) { return 0; }
    int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
    int nvmlSystemGetDriverVersion(char *version, unsigned size) { __builtin_strcpy(version, "570.1.2"); return 0; }
    """
    (tmp_path / "nvml.c").write_text(code)
    subprocess.run(["gcc", "-shared", "-o", tmp_path / "nvml.so", tmp_path / "nvml.c"], check=True)
    monkeypatch.setattr(device, "NVML", str(tmp_path / "nvml.so"))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(DeviceError, match=r"NVIDIA GPU; driver 570\.1\.2"):
        find_device()


def test_an_event_names_the_device_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    schedule = {"steps": 1, "prompts_per_step": 1}
    status, errors = train(
        run_file(
            tmp_path, alpha=1, lambda_adv=0, schedule=schedule, evaluation=None, discriminator={"type": "embedding"}
        )
    )
    assert status == 0, errors
    event = next(r for r in reports(tmp_path) if isinstance(r, EventReport))
    assert event.message.startswith("the run trains on the CPU (")
    assert event.data == {"device": "cpu", "torch": torch.__version__, "cuda": torch.version.cuda, "driver": None}
