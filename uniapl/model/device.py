"""Selection of the training device: the first GPU that torch can use, or the CPU if there is no GPU or it is hidden.

A GPU that torch cannot use is an error: on the CPU the same job takes many times as long, without any other symptom.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import torch

from uniapl.errors import DeviceError
from uniapl.run import gpus
from uniapl.run.gpus import NO_DRIVER, Driver

OLDEST_DRIVER = {"11": 450, "12": 525, "13": 580}
"""Major version of the driver, by the major version of CUDA that torch is built for
(https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html)."""
ON_THE_CPU = "to train on the CPU, set CUDA_VISIBLE_DEVICES=-1 (for the trainers of a worker UNIAPL_TRAINER_DEVICES=-1)"


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
        return Found(torch.device("cuda"), gpus.driver())
    cpu, visible = torch.device("cpu"), os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not re.match(
        r"\s*(\d|GPU-|MIG-)", visible
    ):  # "", -1, NoDevFiles: GPUs are hidden on purpose
        return Found(cpu, NO_DRIVER)
    driver = gpus.driver()
    if driver.gpus:
        raise _unusable(driver, visible)
    return Found(cpu, driver)


def _unusable(driver: Driver, visible: str | None) -> DeviceError:
    variable = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
    version = driver.version or "of an unknown version"
    return DeviceError(
        f"{_torch()} cannot use the GPU of this machine ({', '.join(sorted(set(driver.gpus)))}; driver {version})"
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
