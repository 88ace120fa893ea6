"""Selection of the training device, and errors for a GPU that torch cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.nvml import stand_in
from tests.uniapl.training.test_train_command import reports, run_file
from tests.uniapl.warm_trainer import train
from uniapl.errors import DeviceError
from uniapl.model.device import find_device
from uniapl.run.reports import ErrorReport, EventReport
from worker.failures import classify

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU of this machine can be used"),
]
A100 = ("NVIDIA A100-SXM4-80GB", 81920)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that lists two GPUs, independent of this machine."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    stand_in.install(monkeypatch, A100, A100, driver="570.86.10")


def test_an_unusable_gpu_is_a_device_error_without_a_spec_field(driver: None, tmp_path: Path) -> None:
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
def test_a_hidden_gpu_leaves_the_cpu(driver: None, monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    found = find_device()
    assert found.device.type == "cpu"
    assert found.driver.problem is None


@pytest.mark.parametrize("shown", ["0", "7", "1,0", "GPU-8932f937", "MIG-1"])
def test_an_unusable_gpu_in_cuda_visible_devices_is_named(
    driver: None, monkeypatch: pytest.MonkeyPatch, shown: str
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
    driver: None, monkeypatch: pytest.MonkeyPatch, cuda: str | None, version: str, remedy: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    stand_in.install(monkeypatch, A100, driver=version)
    with pytest.raises(DeviceError) as caught:
        find_device()
    assert f"driver {version}" in caught.value.message
    assert f"built for CUDA {cuda}" in caught.value.message or cuda is None
    assert str(caught.value.hint).startswith(remedy)
    assert "CUDA_VISIBLE_DEVICES=-1" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("failing", "problem"),
    [
        ("nvmlInit", "NVML failed: Not Supported"),
        ("nvmlDeviceGetCount", "NVML failed: Not Supported"),
        ("nvmlDeviceGetHandleByIndex", "NVML lists no GPU that this process may access"),
    ],
)
def test_a_driver_that_lists_no_card_is_named_and_the_cpu_is_used(
    driver: None, monkeypatch: pytest.MonkeyPatch, failing: str, problem: str
) -> None:
    stand_in.install(monkeypatch, A100, failing=(failing,))
    found = find_device()
    assert found.device.type == "cpu"
    assert found.message.endswith(f"; no GPU was found: {problem}")


def test_where_there_is_no_driver_the_cpu_is_used(driver: None, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch, driver=None)
    found = find_device()
    assert found.message.startswith("the run trains on the CPU (")
    assert found.driver.problem is None


def test_a_gpu_without_a_name_is_found_too(driver: None, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch, A100, driver="570.1.2", failing=("nvmlDeviceGetName",))
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
    found = [r for r in reports(tmp_path) if isinstance(r, EventReport)]
    (event,) = [r for r in found if r.message.startswith("the run trains on")]
    assert event.message.startswith("the run trains on the CPU (")
    assert event.data == {"device": "cpu", "torch": torch.__version__, "cuda": torch.version.cuda, "driver": None}
