"""Hardware that a worker reports."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from store.settings import Settings
from tests.nvml import stand_in
from worker import hardware, metrics
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


@pytest.mark.parametrize(
    ("visible", "names"),
    [(None, ["A 80", "B, small"]), ("1", ["B, small"]), ("1,0", ["B, small", "A 80"]), ("", []), ("-1", [])],
)
def test_accelerators_are_those_that_a_job_would_see(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, names: list[str]
) -> None:
    nvml = stand_in.install(monkeypatch, ("A 80", 81559), ("B, small", 24576))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = hardware.gpus(Settings())
    assert [gpu["name"] for gpu in found] == names
    assert all(gpu["processes"] == ["trainer", "discriminator", "rollout"] for gpu in found)
    assert {gpu["memory_bytes"] for gpu in found} <= {81559 * MIB, 24576 * MIB}
    assert nvml.sessions == 0


def test_a_gpu_with_the_machines_memory_is_listed_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch, ("NVIDIA GB10", None), ("A", 1000))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    shared, own = hardware.gpus(Settings())
    assert own["memory_bytes"] == 1000 * MIB
    assert shared["memory_bytes"] == hardware.facts(Settings())["memory_bytes"] > 0
    _, size = metrics.Gpus().collect()
    assert [sample.labels for sample in size.samples] == [{"gpu": "1"}]


def test_uuids_select_devices_and_mig_slices_count_as_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    mig = {"name": "A100", "mib": 81920, "cc": [8, 0], "slices": [{"name": "3g", "mib": 40192, "uuid": "MIG-3"}]}
    stand_in.install(monkeypatch, mig, ("B", 2000))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-00000001")
    assert [gpu["name"] for gpu in hardware.gpus(Settings())] == ["B"]
    (slice_, whole) = hardware.gpus(Settings(trainer_devices="MIG-3"))
    assert slice_ == {
        "name": "3g",
        "memory_bytes": 40192 * MIB,
        "uuid": "MIG-3",
        "compute_capability": "8.0",
        "processes": ["trainer"],
    }
    assert whole["processes"] == ["discriminator", "rollout"]


@pytest.mark.parametrize("broken", ["Init", "DeviceGetCount", "DeviceGetHandleByIndex"])
def test_a_driver_that_fails_counts_as_none(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    nvml = stand_in.install(monkeypatch, ("A", 1000), failing=(f"nvml{broken}",))
    assert hardware.gpus(Settings()) == []
    assert nvml.sessions == 0
    (used, size) = metrics.Gpus().collect()
    assert (used.samples, size.samples) == ([], [])


def test_prometheus_shows_the_memory_of_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch, ("A", 1000), ("B", 2000))
    used, size = metrics.Gpus().collect()
    assert [(sample.labels, sample.value) for sample in size.samples] == [
        ({"gpu": "0"}, 1000 * MIB),
        ({"gpu": "1"}, 2000 * MIB),
    ]
    assert [sample.value for sample in used.samples] == [MIB, MIB]


def test_each_process_has_the_cards_that_the_settings_give_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch, ("A", 1000), ("B", 2000), ("C", 3000))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # the worker's own, and so of those that have no setting
    found = hardware.gpus(Settings(discriminator_devices="1", rollout_devices="2,1"))
    assert {gpu["name"]: gpu["processes"] for gpu in found} == {
        "A": ["trainer"],
        "B": ["discriminator", "rollout"],
        "C": ["rollout"],
    }
