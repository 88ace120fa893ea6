"""GPUs and driver as NVML lists them."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pynvml
import pytest

from tests.conftest import ROOT
from tests.nvml import pynvml as fake
from tests.nvml import stand_in
from uniapl.run import gpus
from uniapl.run.gpus import NO_DRIVER, Driver

pytestmark = pytest.mark.unit

A100 = ("NVIDIA A100", 81920)
NVML_C = r"""
typedef struct { unsigned long long total, free, used; } memory;
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = (void *)1; return 0; }
int nvmlDeviceGetName(void *handle, char *name, unsigned size) { __builtin_strcpy(name, "NVIDIA A100"); return 0; }
int nvmlDeviceGetMemoryInfo(void *handle, memory *of) { of->total = 3000; of->free = 2000; of->used = 1000; return 0; }
int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned size) {
  __builtin_strcpy(uuid, handle == (void *)1 ? "GPU-1" : "MIG-2"); return 0; }
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) { *major = 8; *minor = 0; return 0; }
int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *later) { *now = *later = MIG; return 0; }
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) { *count = 1; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *h, unsigned index, void **found) { *found = (void *)2; return 0; }
int nvmlSystemGetDriverVersion(char *version, unsigned size) { __builtin_strcpy(version, "570.1.2"); return 0; }
"""


def test_the_library_that_is_used_has_the_functions_of_the_stand_in() -> None:
    names = [name for name, value in vars(fake).items() if name.startswith(("nvml", "NVML")) and callable(value)]
    assert len(names) == 14
    for name in names:
        assert callable(getattr(pynvml, name)), name
        if not inspect.isclass(getattr(fake, name)):
            assert len(inspect.signature(getattr(pynvml, name)).parameters) >= len(
                inspect.signature(getattr(fake, name)).parameters
            )
    assert issubclass(pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError)


def test_this_machines_gpus_are_those_of_its_driver() -> None:
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        count = 0
    assert len(gpus.installed()) == count


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("gcc") is None, reason="makes a library")
@pytest.mark.parametrize("mig", [0, 1])
def test_the_real_nvidia_ml_py_reads_the_drivers_library(tmp_path: Path, mig: int) -> None:
    (tmp_path / "nvml.c").write_text(NVML_C)
    compile_ = ["gcc", "-shared", f"-DMIG={mig}", "-o", tmp_path / "libnvidia-ml.so.1", tmp_path / "nvml.c"]
    subprocess.run(compile_, check=True)
    code = "from uniapl.run import gpus; print(gpus.driver(), *gpus.installed())"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    uuid, number = ("MIG-2", 0) if mig else ("GPU-1", None)
    described = gpus.PhysicalGpu(0, "NVIDIA A100", 3000, 1000, uuid, "8.0", number)
    assert answer.strip() == f"{Driver(('NVIDIA A100',), '570.1.2')} {described}"


def test_the_driver_names_its_gpus_and_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = stand_in.install(monkeypatch, A100, ("B, small", 1))
    assert gpus.driver() == Driver(("NVIDIA A100", "B, small"), "570.86.10")
    assert nvml.sessions == 0


def test_without_nvml_or_its_python_library_there_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch, driver=None)
    assert gpus.driver() is NO_DRIVER
    assert gpus.installed() == []
    monkeypatch.setitem(sys.modules, "pynvml", None)  # its import fails
    assert gpus.driver() is NO_DRIVER
    assert gpus.installed() == []


@pytest.mark.parametrize("failing", ["nvmlInit", "nvmlDeviceGetCount"])
def test_a_driver_that_fails_is_a_problem(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    nvml = stand_in.install(monkeypatch, A100, failing=(failing,))
    assert gpus.driver() == Driver(problem="NVML failed: Not Supported")
    assert nvml.sessions == 0


def test_gpus_without_permission_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch, None, A100)
    assert gpus.driver() == Driver(("NVIDIA A100",), "570.86.10")
    assert [(gpu.number, gpu.name) for gpu in gpus.installed()] == [(1, "NVIDIA A100")]
    stand_in.install(monkeypatch, None)
    assert gpus.driver().problem == "NVML lists no GPU that this process may access"


def test_an_unknown_name_or_version_hides_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = ("nvmlDeviceGetName", "nvmlSystemGetDriverVersion", "nvmlDeviceGetMemoryInfo")
    stand_in.install(monkeypatch, A100, failing=failing)
    assert gpus.driver() == Driver(("NVIDIA GPU",))


def test_a_gpu_that_shares_the_machines_memory_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch, ("NVIDIA GB10", None), A100)
    assert [(gpu.name, gpu.memory_bytes) for gpu in gpus.installed()] == [
        ("NVIDIA GB10", None),
        ("NVIDIA A100", 81920 << 20),
    ]
    stand_in.install(monkeypatch, A100, failing=("nvmlDeviceGetUUID", "nvmlDeviceGetCudaComputeCapability"))
    (found,) = gpus.installed()
    assert (found.uuid, found.compute_capability) == (None, None)


def test_a_gpu_in_mig_mode_is_replaced_by_its_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    slices = [
        {"name": "A100 MIG 3g.40gb", "mib": 40192, "uuid": "MIG-a"},
        None,
        {"name": "b", "mib": 9, "uuid": "MIG-b"},
    ]
    mig = {"name": "NVIDIA A100", "mib": 81920, "uuid": "GPU-0", "cc": [8, 0], "slices": slices}
    nvml = stand_in.install(monkeypatch, mig, A100)
    found = [(gpu.label, gpu.name, gpu.uuid, gpu.compute_capability) for gpu in gpus.installed()]
    assert found == [
        ("0:0", "A100 MIG 3g.40gb", "MIG-a", "8.0"),
        ("0:2", "b", "MIG-b", "8.0"),
        ("1", "NVIDIA A100", "GPU-00000001-0000", "9.0"),
    ]
    assert nvml.sessions == 0
    stand_in.install(monkeypatch, {**mig, "slices": []})  # MIG mode without slices
    assert gpus.installed() == []


def test_a_driver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = stand_in.install(monkeypatch, A100)
    released = threading.Event()
    monkeypatch.setattr(nvml, "nvmlDeviceGetCount", released.wait)
    monkeypatch.setattr(gpus, "LIMIT_S", 0.05)
    assert gpus.driver() == Driver(problem="NVML did not answer within 0.05 s")
    assert gpus.installed() == []
    released.set()
