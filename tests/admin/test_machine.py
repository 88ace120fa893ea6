"""`uniapl admin doctor` on machines with other GPUs, other settings, and without what a GPU needs."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from admin import machine
from store.settings import Settings
from tests.conftest import ROOT
from tests.nvml import stand_in
from uniapl.model.gpu_report import Card, attention, problems, runs_on
from uniapl.spec.estimate import Speed
from worker.self_measurement import result_file
from worker.vllm.routes import ROUTES

pytestmark = pytest.mark.integration

A100 = {"name": "NVIDIA A100", "mib": 81920, "uuid": "GPU-11111111-2222", "cc": [8, 0]}
ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("CC", "cc")
    return Settings(data_dir=tmp_path, vllm_command=[program(tmp_path, "0.33.0")])


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one GPU that the trainer can use."""
    stand_in.install(monkeypatch, A100)
    report = {"device": "the run trains on NVIDIA A100", "attention": "blocks", "problems": []}
    monkeypatch.setattr(machine, "_report", lambda _: report)


def program(folder: Path, version: str) -> str:
    """A vLLM of some version."""
    path = folder / f"vllm-{version}"
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return str(path)


def found(settings: Settings) -> list[str]:
    """Problems, without those of this machine's own shared memory."""
    return [f"{f.what}: {f.remedy}" for f in machine.examine(settings)[1] if "/dev/shm" not in f.what]


def test_a_machine_without_a_gpu_is_described_and_needs_nothing_of_one(settings: Settings) -> None:
    facts, _ = machine.examine(settings.model_copy(update={"vllm_command": ["none"]}))
    assert facts[-1] == "no NVIDIA driver: trainers use the CPU"
    assert f"{os.cpu_count()} processors" in facts[0]
    assert found(settings.model_copy(update={"vllm_command": ["none"]})) == []


def test_a_gpu_that_torch_cannot_use_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch, A100, driver="570.86.10")
    (problem,) = found(settings)
    assert "NVIDIA A100; driver 570.86.10" in problem
    assert "driver 580 or newer" in problem
    assert found(settings.model_copy(update={"trainer_devices": "-1"})) == []


def test_a_machine_with_all_that_a_gpu_needs_is_well(settings: Settings, gpu: None) -> None:
    facts, _ = machine.examine(settings)
    used = "used by trainer, discriminator, rollout"
    card = f"GPU-11111111-2222: NVIDIA A100, 86 GB, compute capability 8.0, {used}"
    assert facts[2:] == [card, "the run trains on NVIDIA A100", "blocks", "vLLM 0.33.0"]
    assert found(settings) == []


@pytest.mark.parametrize(
    ("value", "used"), [("GPU-3333", 0), ("0,1", 1), ("MIG-11", 0), ("0,0", 0), ("GPU-1111", None), ("-1", None)]
)
def test_devices_that_do_not_exist_are_found(settings: Settings, gpu: None, value: str, used: int | None) -> None:
    whats = found(settings.model_copy(update={"rollout_devices": value}))
    assert [f"UNIAPL_ROLLOUT_DEVICES is {value!r}, of which {used} name" in what for what in whats] == [True] * (
        used is not None
    )
    assert all("0 (NVIDIA A100, GPU-11111111-2222)" in what for what in whats)


def test_a_missing_or_unsupported_vllm_is_found(settings: Settings, gpu: None, tmp_path: Path) -> None:
    (missing,) = found(settings.model_copy(update={"vllm_command": ["no-such-vllm"]}))
    assert "UNIAPL_VLLM_COMMAND" in missing
    (old,) = found(settings.model_copy(update={"vllm_command": [program(tmp_path, "0.9.2")]}))
    assert "vLLM 0.9.2 is not supported" in old


def test_a_vllm_without_a_route_that_the_service_requests_is_found(
    settings: Settings, gpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "vllm" / "entrypoints"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("raise SystemExit('it was run')")
    (tmp_path / "vllm-0.33.0.dist-info").mkdir()
    (tmp_path / "vllm-0.33.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.33.0\n")
    python, script = tmp_path / "python", tmp_path / "script"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    script.write_text(f"#!{python}\n")
    for path in (python, script):
        path.chmod(0o755)
    changed = settings.model_copy(update={"vllm_command": [str(script)]})
    (package / "api.py").write_text("\n".join(f'@router.post("{route}")' for route in ROUTES))
    assert found(changed) == []
    (package / "api.py").write_text("\n".join(f'@router.post("{r}")' for r in ROUTES if r != "/weight_info"))
    (problem,) = found(changed)
    assert "vLLM 0.33.0 lacks routes that the service requests: /weight_info:" in problem


def test_the_routes_that_are_searched_are_those_that_the_code_requests() -> None:
    files = [*(ROOT / "uniapl" / "rollout").glob("*.py"), *(ROOT / "uniapl" / "inference").glob("*.py")]
    text = "".join(file.read_text() for file in [*files, ROOT / "worker" / "vllm" / "probe.py"])
    requested = set(re.findall(r'"(/[a-z_][a-z_0-9/]*)', text)) - {"/classify"}  # of sglang
    assert requested == set(ROUTES)


def test_the_speed_that_a_worker_measured_is_part_of_the_description(settings: Settings) -> None:
    assert "speed not measured" in machine.examine(settings)[0][1]
    speed = Speed(device="gpu", parameters=596_000_000, update=52_000.4, sampling=2100.0, memory=4.1e12)
    file = result_file(settings)
    file.parent.mkdir()
    file.write_text(speed.model_dump_json())
    assert machine.examine(settings)[0][1] == (
        "measured on the GPU with a model of 596 million parameters: 52,000 tokens/s of updates, 2,100 tokens/s "
        "sampled in process, GPU memory at 4.10 TB/s"
    )


def test_little_shared_memory_is_found(
    settings: Settings, gpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for size, expected in ((64 * 2**20, 1), (machine.LEAST_SHARED, 0)):
        usage = SimpleNamespace(total=size)
        monkeypatch.setattr("admin.machine.shutil.disk_usage", lambda _, usage=usage: usage)
        shared = [f for f in machine.examine(settings)[1] if "/dev/shm has 64 MiB" in f.what]
        assert len(shared) == expected


def test_a_missing_compiler_and_folders_that_kernels_cannot_be_loaded_from_are_found(
    settings: Settings, gpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CC")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)  # torch sets it
    find = shutil.which
    monkeypatch.setattr("admin.machine.shutil.which", lambda name: None if name in ("gcc", "clang") else find(name))
    (compiler,) = found(settings)
    assert "install gcc" in compiler
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setenv("TRITON_CACHE_DIR", "/proc/triton")
    with monkeypatch.context() as patched:  # root may write everywhere
        patched.setattr("admin.machine.os.access", lambda path, mode: str(path) != "/proc")
        (cache,) = found(settings)
    assert "TRITON_CACHE_DIR is /proc/triton, which is not writable" in cache
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "new"))
    flags = SimpleNamespace(f_flag=os.ST_NOEXEC, f_frsize=4096, f_blocks=10**9, f_bfree=10**9, f_bavail=10**9)
    monkeypatch.setattr("admin.machine.os.statvfs", lambda _: flags)
    assert len([what for what in found(settings) if "noexec" in what]) == 2


def test_a_card_is_compared_with_the_architectures_of_torch() -> None:
    h100 = Card("H100", (9, 0), 232_448)
    assert problems(h100, ARCHITECTURES) == []
    (old,) = problems(h100, ["sm_70", "sm_80"])
    assert "compute capability 9.0" in old[0]
    assert "built for sm_70, sm_80" in old[0]
    turing = problems(Card("T4", (7, 5), 65_536), ARCHITECTURES)
    assert ["bfloat16" in what for what, _ in turing] == [True]
    assert "FlexAttention" in problems(Card("X", (8, 0), 20_000), ARCHITECTURES)[0][0]


@pytest.mark.parametrize(
    ("architecture", "capability", "runs"),
    [
        ("sm_86", (8, 9), True), ("sm_90", (8, 9), False), ("sm_80", (9, 0), False), ("compute_80", (9, 0), True),
        ("sm_90a", (9, 0), True), ("sm_90a", (9, 1), False), ("sm_120", (12, 1), True), ("sm_100f", (10, 3), True),
        ("compute_90a", (10, 0), False), ("gfx90a", (9, 0), False),
    ],
)  # fmt: skip
def test_machine_code_runs_on_its_major_version_and_ptx_on_later_ones(
    architecture: str, capability: tuple[int, int], runs: bool
) -> None:
    assert runs_on(architecture, capability) is runs


@pytest.mark.parametrize(
    ("shared", "text"),
    [(232_448, "torch's own tiles"), (101_376, "smaller tiles"), (49_152, "the smallest tiles"), (20_000, "one row")],
)
def test_the_layout_follows_from_the_shared_memory(shared: int, text: str) -> None:
    assert text in attention(Card("X", (9, 0), shared))
