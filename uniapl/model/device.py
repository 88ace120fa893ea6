"""Selection of the training device: the first GPU that torch can use, or the CPU if there is no GPU or it is hidden.

A GPU that torch cannot use is an error: on the CPU the same job takes many times as long, without any other symptom.
`python -m uniapl.model.device` prints the device, or the error, and then exits with status 1.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

import torch

from uniapl.errors import DeviceError

NVML = "libnvidia-ml.so.1"
NVIDIA_SMI_S = 60.0
"""Time limit; without persistence mode it initialises every card first."""
VERSION = re.compile(r"\d{3,}(\.\d+)+")
OLDEST_DRIVER = {"11": 450, "12": 525, "13": 580}
"""Major version of the driver, by the major version of CUDA that torch is built for
(https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html)."""
ON_THE_CPU = "to train on the CPU, set CUDA_VISIBLE_DEVICES=-1 (for the trainers of a worker UNIAPL_TRAINER_DEVICES=-1)"


@dataclass(frozen=True)
class Driver:
    """State of NVIDIA's driver on this machine."""

    cards: tuple[str, ...] = ()
    version: str | None = None
    problem: str | None = None
    """Why no card is listed, where nvidia-smi is installed."""


@dataclass(frozen=True)
class Found:
    """The device of a run."""

    device: torch.device
    driver: Driver

    @property
    def name(self) -> str:
        """Human-readable name."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"the CPU ({torch.get_num_threads()} threads)"

    @property
    def message(self) -> str:
        """Text of the event that reports the device."""
        text = f"the run trains on {self.name}, driver {self.driver.version or 'none'}, {_torch()}"
        return f"{text}; no GPU was found: {self.driver.problem}" if self.driver.problem else text


def find_device() -> Found:
    """The device to train on.

    Raises:
        DeviceError: there is a GPU, torch cannot use it, and CUDA_VISIBLE_DEVICES does not hide it on purpose.
    """
    if torch.cuda.is_available():
        return Found(torch.device("cuda"), _driver())
    cpu, visible = torch.device("cpu"), os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not re.match(
        r"\s*(\d|GPU-|MIG-)", visible
    ):  # "", -1, NoDevFiles: GPUs are hidden on purpose
        return Found(cpu, Driver())
    driver = _driver()
    if driver.cards:
        raise _unusable(driver, visible)
    return Found(cpu, driver)


def _unusable(driver: Driver, visible: str | None) -> DeviceError:
    variable = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
    version = driver.version or "of an unknown version"
    return DeviceError(
        f"{_torch()} cannot use the GPU of this machine ({', '.join(sorted(set(driver.cards)))}; driver {version})"
        f"{variable}: {_reason()}",
        hint=f"{_remedy(driver.version)}; {ON_THE_CPU}",
    )


def _torch() -> str:
    build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    return f"torch {torch.__version__} (built {build})"


def _reason() -> str:
    """Torch's own error, in one line."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return next(iter(str(error).splitlines()), type(error).__name__)
    return "torch finds no CUDA device"


def _remedy(version: str | None) -> str:
    have = int(version.split(".")[0]) if version else 0
    if torch.version.cuda is None:
        return "install a build of torch with CUDA that supports the driver (for CUDA 13: driver 580 or newer)"
    major = torch.version.cuda.split(".")[0]
    needed = OLDEST_DRIVER.get(major, max(OLDEST_DRIVER.values()))
    if have >= needed:
        return "the driver is new enough: check CUDA_VISIBLE_DEVICES and the permissions of /dev/nvidia*"
    return (
        f"install NVIDIA driver {needed} or newer, as CUDA {major} requires, or a build of torch for driver "
        f"{version or 'this driver'}"
    )


def _driver() -> Driver:
    """From `nvidia-smi`, or from NVML where only the library is installed."""
    program = shutil.which("nvidia-smi")
    return _by_library() if program is None else _by_program(program)


def _by_program(program: str) -> Driver:
    query = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_SMI_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return Driver(problem=f"nvidia-smi failed: {type(error).__name__}")
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines()]
    versions = [cell for row in rows for cell in row if VERSION.fullmatch(cell)]
    listed = [row for row in rows if len(row) > 1 or VERSION.fullmatch(row[0])]
    if not listed or (answer.returncode != 0 and not versions):
        words = " ".join((answer.stdout + answer.stderr).split())
        return Driver(problem=f"nvidia-smi exited with status {answer.returncode}: {words[:200]}")
    names = (", ".join(cell for cell in row if not VERSION.fullmatch(cell)) for row in listed)
    return Driver(tuple(name or "NVIDIA GPU" for name in names), versions[0] if versions else None)


def _by_library() -> Driver:
    count, version = ctypes.c_uint(), ctypes.create_string_buffer(80)
    try:
        library = ctypes.CDLL(NVML)
        if library.nvmlInit_v2() != 0 or library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return Driver()
        library.nvmlSystemGetDriverVersion(version, len(version))
    except (OSError, AttributeError):
        return Driver()
    return Driver(("NVIDIA GPU",) * count.value, version.value.decode(errors="replace") or None)


def main() -> int:
    """Print the device; or the problem and the remedy, one line each."""
    try:
        print(find_device().message)
    except DeviceError as error:
        print(error.message, error.hint, sep="\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
