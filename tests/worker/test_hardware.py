"""Hardware that a worker reports."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from store.settings import Settings
from worker import gpus, hardware, metrics
from worker.hardware import _limits as limits

pytestmark = pytest.mark.integration

MIB = 1 << 20


def test_a_worker_has_this_machines_processors_and_no_more_than_its_memory() -> None:
    facts = hardware.facts(Settings(worker_slots=3))
    assert facts["cpus"] == len(os.sched_getaffinity(0))
    assert 0 < facts["memory_bytes"] <= psutil.virtual_memory().total
    assert facts["slots"] == 3
    assert facts["host"]
    assert facts["version"]


def test_the_limits_of_the_own_control_group_and_of_those_around_it_are_found(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/outer/inner\n")
    root = tmp_path / "fs"
    (root / "outer" / "inner").mkdir(parents=True)
    (root / "outer" / "memory.max").write_text("5000\n")
    (root / "outer" / "inner" / "memory.max").write_text("max\n")
    assert limits(own, root) == [5000]
    (root / "outer" / "inner" / "memory.max").write_text("3000\n")
    assert sorted(limits(own, root)) == [3000, 5000]


def test_version_1_and_a_namespace_that_hides_the_path_are_understood(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("9:name=systemd:/\n4:memory:/not/visible/here\n0::/\n")
    (tmp_path / "fs" / "memory").mkdir(parents=True)
    (tmp_path / "fs" / "memory" / "memory.limit_in_bytes").write_text("7000\n")
    assert limits(own, tmp_path / "fs") == [7000]
    assert limits(tmp_path / "nowhere", tmp_path / "fs") == []


class Nvml:
    """Functions of NVML for a machine with these GPUs; `broken` names those that fail.

    Machines with other GPUs than this one's, and drivers that fail, cannot be had for real.
    """

    def __init__(self, *cards: tuple[str, int], broken: str = "") -> None:
        self.cards, self.open = cards, 0
        for name in ("Init", "DeviceGetCount", "DeviceGetName", "DeviceGetMemoryInfo"):
            setattr(self, f"nvml{name}", self._failing if name == broken else getattr(self, f"_{name}"))

    NVMLError = pynvml.NVMLError

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def _failing(self, *_: int) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def _Init(self) -> None:
        self.open += 1

    def _DeviceGetCount(self) -> int:
        return len(self.cards)

    def _DeviceGetName(self, index: int) -> str:
        return self.cards[index][0]

    def _DeviceGetMemoryInfo(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(total=self.cards[index][1] * MIB, used=MIB)


def a_driver(monkeypatch: pytest.MonkeyPatch, *cards: tuple[str, int], broken: str = "") -> Nvml:
    """Replaces the library in `worker.gpus`."""
    nvml = Nvml(*cards, broken=broken)
    monkeypatch.setattr(gpus, "pynvml", nvml)
    return nvml


def test_the_library_that_is_used_has_these_functions() -> None:
    for name in (
        "Init",
        "Shutdown",
        "DeviceGetCount",
        "DeviceGetHandleByIndex",
        "DeviceGetName",
        "DeviceGetMemoryInfo",
    ):
        assert callable(getattr(pynvml, f"nvml{name}")), name


def test_this_machines_gpus_are_those_of_its_driver() -> None:
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        count = 0
    assert len(gpus.installed()) == count


@pytest.mark.parametrize(
    ("visible", "names"),
    [(None, ["A 80", "B, small"]), ("1", ["B, small"]), ("1,0", ["B, small", "A 80"]), ("", []), ("-1", [])],
)
def test_accelerators_are_those_that_a_job_would_see(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, names: list[str]
) -> None:
    nvml = a_driver(monkeypatch, ("A 80", 81559), ("B, small", 24576))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = hardware.gpus(Settings())
    assert [gpu["name"] for gpu in found] == names
    assert all(gpu["processes"] == ["trainer", "discriminator", "rollout"] for gpu in found)
    assert {gpu["memory_bytes"] for gpu in found} <= {81559 * MIB, 24576 * MIB}
    assert nvml.open == 0


@pytest.mark.parametrize("broken", ["Init", "DeviceGetCount", "DeviceGetName", "DeviceGetMemoryInfo"])
def test_a_driver_that_fails_counts_as_none(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    nvml = a_driver(monkeypatch, ("A", 1000), broken=broken)
    assert hardware.gpus(Settings()) == []
    assert nvml.open == 0
    (used, size) = metrics.Gpus().collect()
    assert (used.samples, size.samples) == ([], [])


def test_prometheus_shows_the_memory_of_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    a_driver(monkeypatch, ("A", 1000), ("B", 2000))
    used, size = metrics.Gpus().collect()
    assert [(sample.labels, sample.value) for sample in size.samples] == [
        ({"gpu": "0"}, 1000 * MIB),
        ({"gpu": "1"}, 2000 * MIB),
    ]
    assert [sample.value for sample in used.samples] == [MIB, MIB]


def test_each_process_has_the_cards_that_the_settings_give_it(monkeypatch: pytest.MonkeyPatch) -> None:
    a_driver(monkeypatch, ("A", 1000), ("B", 2000), ("C", 3000))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # the worker's own, and so of those that have no setting
    found = hardware.gpus(Settings(discriminator_devices="1", rollout_devices="2,1"))
    assert {gpu["name"]: gpu["processes"] for gpu in found} == {
        "A": ["trainer"],
        "B": ["discriminator", "rollout"],
        "C": ["rollout"],
    }
