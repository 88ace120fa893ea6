"""Device, driver, versions and compiler, as the trainer and the worker find them."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

import torch

from benchmarks.gpu_check.report import Report
from uniapl.model.device import find_device
from uniapl.run import gpus

PACKAGES = ("torch", "triton", "transformers", "peft", "safetensors", "tokenizers", "vllm")


def run(report: Report) -> None:
    """Report what is there; the device of a run must be the one that this check uses."""
    found = find_device()
    report.figures("versions", {"python": platform.python_version(), **{name: installed(name) for name in PACKAGES}})
    compiler = shutil.which("gcc") or shutil.which("cc") or "none"
    report.figures("host", {"C compiler": compiler, "compiler found": float(compiler != "none")})
    report.figures("run", {"device": found.message, "is the device checked": float(found.device.type == report.device)})
    if report.is_short:
        report.unchecked("driver, memory and compute capability: no GPU was found")
        return
    describe_card(report)


def describe_card(report: Report) -> None:
    """Properties of the card, and the worker's view of it."""
    card = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info()
    major, minor = torch.cuda.get_device_capability()
    listed = gpus.installed()
    values = {
        "name": card.name,
        "capability": float(f"{major}.{minor}"),
        "memory GB": total / 1e9,
        "free": free / total,
    }
    report.figures(
        "card", {**values, "listed by NVML": float(len(listed) > 0), "driver": gpus.driver().version or "none"}
    )
    report.figures(
        "precision of float32 products",
        {"without TF32": float(not torch.backends.cuda.matmul.allow_tf32), "difference": product_error()},
    )


def product_error() -> float:
    """Relative error of a float32 product on the card against float64; TF32 has about 3e-4."""
    a, b = (torch.randn(1024, 1024, device="cuda") for _ in range(2))
    exact = a.double() @ b.double()
    return float(((a @ b).double() - exact).norm() / exact.norm())


def installed(package: str) -> str:
    """Version of a package, or `none`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
