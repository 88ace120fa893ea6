"""GPUs that trainers and servers are restricted to."""

from __future__ import annotations

import pytest

from store.settings import Settings
from tests.nvml import stand_in
from worker.vllm.devices import visible

pytestmark = pytest.mark.unit

SMALL = {"name": "RTX 4000", "mib": 20475, "uuid": "GPU-small"}
LARGE = {"name": "H100", "mib": 81559, "uuid": "GPU-large"}
MIG = {
    "name": "A100",
    "mib": 81920,
    "slices": [{"name": "1g", "mib": 9856, "uuid": "MIG-1"}, {"name": "3g", "mib": 40192, "uuid": "MIG-3"}],
}


@pytest.fixture(autouse=True)
def box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    stand_in.install(monkeypatch, SMALL, LARGE)


def devices(settings: Settings) -> str | None:
    return visible(settings, "trainer").get("CUDA_VISIBLE_DEVICES")


def test_a_process_takes_the_planned_gpu_whatever_order_cuda_has() -> None:
    assert visible(Settings(), "trainer") == {
        "CUDA_VISIBLE_DEVICES": "GPU-large,GPU-small",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def test_only_the_gpus_of_its_setting_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices(Settings(trainer_devices="0")) == "GPU-small"
    assert devices(Settings(trainer_devices="0,1")) == "GPU-large,GPU-small"
    assert devices(Settings(rollout_devices="0")) == "GPU-large,GPU-small"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert devices(Settings()) == "GPU-small"


def test_a_setting_that_selects_no_gpu_is_passed_on() -> None:
    assert devices(Settings(trainer_devices="-1")) == "-1"
    assert devices(Settings(trainer_devices="7")) == "7"


def test_of_mig_slices_the_largest_is_visible_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch, MIG)
    assert devices(Settings()) == "MIG-3"
    assert devices(Settings(trainer_devices="MIG-1")) == "MIG-1"
    stand_in.install(monkeypatch, MIG, LARGE)
    assert devices(Settings()) == "GPU-large"


def test_without_uuids_or_without_a_driver_the_setting_alone_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch, LARGE, failing=("nvmlDeviceGetUUID",))
    assert devices(Settings()) is None
    assert devices(Settings(trainer_devices="0")) == "0"
    stand_in.install(monkeypatch, driver=None)
    assert devices(Settings()) is None
