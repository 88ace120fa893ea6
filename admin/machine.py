"""Checks of this machine for `uniapl admin doctor`: GPUs and their settings, vLLM, folders that compilers use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import psutil

from admin.finding import Finding
from store.settings import Settings
from uniapl.run import gpus
from uniapl.run.shared_memory import ROOT as SHARED_MEMORY
from uniapl.run.visible_gpus import select
from worker import hardware, self_measurement
from worker.vllm.devices import visible
from worker.vllm.routes import missing_routes
from worker.vllm.version import find_version

ROOT = Path(__file__).parent.parent
SUPPORTED_VLLM = ((0, 32), (0, 33))
"""First and last minor version of vLLM that the service is written for."""
LEAST_SHARED = 4 * 2**30
"""Bytes of shared memory: the bfloat16 weights of a student with 1.7 billion parameters."""


def examine(settings: Settings) -> tuple[list[str], list[Finding]]:
    """A description of the machine, one line each, and its problems; only GPUs need most of the checks."""
    cards = hardware.gpus(settings)
    facts = [_size(), _speed(settings), *map(_card, cards)]
    problems = list(_devices(settings))
    if gpus.driver() == gpus.NO_DRIVER or find_spec("torch") is None:
        return [*facts, "no NVIDIA driver: trainers use the CPU"], problems
    report = _report(settings)
    facts += [line for line in (report["device"], report["attention"]) if line]
    problems += [Finding(*each) for each in report["problems"]]
    if cards:
        version = find_version(settings.vllm_command)
        facts += [f"vLLM {version}" if version else "no vLLM"]
        problems += [*_vllm(settings, version), *_shared_memory(), *_compiler(), *_caches()]
    return facts, problems


def _size() -> str:
    memory = psutil.virtual_memory().total / 1e9
    return f"{os.cpu_count()} processors, {memory:.0f} GB of memory, {len(gpus.installed())} GPUs"


def _card(gpu: dict[str, Any]) -> str:
    """A GPU or MIG slice that processes of jobs may use."""
    capability = gpu["compute_capability"] or "unknown"
    return (
        f"{gpu['uuid']}: {gpu['name']}, {gpu['memory_bytes'] / 1e9:.0f} GB, compute capability {capability}, "
        f"used by {', '.join(gpu['processes'])}"
    )


def _speed(settings: Settings) -> str:
    """The speed that a worker measured on this machine."""
    speed = self_measurement.read(self_measurement.result_file(settings))
    if speed is None:
        turned_off = "; UNIAPL_MEASURE_SPEED is false" if not settings.measure_speed else ""
        return f"speed not measured: a worker measures it while no job runs{turned_off}"
    size = f"a model of {speed.parameters / 1e6:,.0f} million parameters"
    memory = f", GPU memory at {speed.memory / 1e12:.2f} TB/s" if speed.memory else ""
    rates = f"{speed.update:,.0f} tokens/s of updates, {speed.sampling:,.0f} tokens/s sampled in process"
    return f"measured on the {speed.device.upper()} with {size}: {rates}{memory}"


def _report(settings: Settings) -> dict[str, Any]:
    """`uniapl.model.gpu_report`, as a trainer of a worker sees it."""
    environment = {**os.environ, **visible(settings, "trainer")}
    command = [sys.executable, "-m", "uniapl.model.gpu_report"]
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        last_line = answer.stderr.strip().rpartition("\n")[2]
        problem = (f"torch cannot be imported: {last_line}", "run `make install` again")
        return {"device": "", "attention": "", "problems": [problem]}
    return cast("dict[str, Any]", json.loads(answer.stdout.strip().rpartition("\n")[2]))


def _devices(settings: Settings) -> Iterator[Finding]:
    """Settings that name GPUs or MIG slices that do not exist, where CUDA stops to read the list."""
    found = gpus.installed()
    given = {f"UNIAPL_{p.upper()}_DEVICES": hardware.devices_setting(settings, p) for p in hardware.PROCESSES}
    for name, value in {**given, "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "")}.items():
        if not value or value.strip().startswith("-") or value == "NoDevFiles":
            continue
        used = len(select(found, value))
        if used < len(value.split(",")):
            listed = ", ".join(f"{gpu.label} ({gpu.name}, {gpu.uuid})" for gpu in found) or "none"
            yield Finding(
                f"{name} is {value!r}, of which {used} name a GPU that CUDA will use; the machine has: {listed}",
                f"correct {name}: numbers as in nvidia-smi, or UUIDs of one kind, each once",
            )


def _vllm(settings: Settings, version: str | None) -> Iterator[Finding]:
    if version is None:
        yield Finding(
            f"vLLM is not started by {settings.vllm_command}: rollouts are sampled in the trainer's process, which is "
            "several times slower",
            "use the worker image with vLLM, or install vLLM in an environment of its own and set UNIAPL_VLLM_COMMAND "
            "(docs/vllm.md)",
        )
        return
    number = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if not SUPPORTED_VLLM[0] <= number <= SUPPORTED_VLLM[1]:
        yield Finding(f"vLLM {version} is not supported", "install vLLM 0.33 (docs/vllm.md)")
    if missing := missing_routes(settings.vllm_command):
        yield Finding(
            f"vLLM {version} lacks routes that the service requests: {', '.join(missing)}",
            "install vLLM 0.33 (docs/vllm.md); until then jobs that sample or score by vLLM may fail",
        )


def _shared_memory() -> Iterator[Finding]:
    if not SHARED_MEMORY.is_dir():
        yield Finding(f"there is no shared memory at {SHARED_MEMORY}", "mount a tmpfs there")
        return
    size = shutil.disk_usage(SHARED_MEMORY).total
    if size < LEAST_SHARED:
        yield Finding(
            f"{SHARED_MEMORY} has {size / 2**20:.0f} MiB: weights for the sampling server are written to disk instead, "
            "which is slower",
            "give the container shared memory for the student's weights in bfloat16: WORKER_SHM, or --shm-size",
        )


def _compiler() -> Iterator[Finding]:
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        yield Finding("there is no C compiler, which Triton needs: attention is not compiled", "install gcc")


def _caches() -> Iterator[Finding]:
    """Folders that compiled kernels are loaded from."""
    temporary = Path(tempfile.gettempdir())
    yield from _executable(temporary, "TMPDIR")
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        folder = Path(os.environ[variable]) if variable in os.environ else None
        if folder is None:
            continue
        nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        if not os.access(nearest, os.W_OK):
            yield Finding(f"{variable} is {folder}, which is not writable", "create it, or correct the variable")
        else:
            yield from _executable(nearest, variable)


def _executable(folder: Path, variable: str) -> Iterator[Finding]:
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        yield Finding(
            f"{folder} is mounted noexec: compiled kernels cannot be loaded from it",
            f"mount it with exec (tmpfs: `/tmp:exec`), or set {variable} to another folder",
        )
