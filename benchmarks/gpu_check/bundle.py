"""Wheels for the check on a machine without internet that has torch (`make gpu-check-bundle`).

Downloads, in the pinned versions, what the check imports and common torch images lack, and builds the wheel of this
checkout, whose metadata a checkpoint contains.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = (
    "transformers", "peft", "tokenizers", "safetensors", "accelerate", "huggingface_hub", "hf-xet", "httpx",
    "httpx2", "httpcore2", "truststore", "sniffio", "anyio", "httpcore", "h11", "idna", "certifi",
    "pydantic", "pydantic_core", "annotated-types", "typing_extensions", "typing-inspection", "nvidia-ml-py", "gguf",
)  # fmt: skip
"""Imports of the library in the check's runs; torch and numpy are installed on the other machine."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
MOST_MB = 46
"""With the bundled model, whose 16 MiB are copied too, at most 64 MiB."""
SOURCES = ("uniapl", "pyproject.toml", "README.md", "LICENSE")
CONSTRAINTS = Path("constraints.txt")


def main() -> int:
    """Download; the exit status is 1 if the bundle is too large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="3.12", help="version of Python on the other machine")
    parser.add_argument("--out", type=Path, default=Path("gpu-check-bundle"), help="folder of the wheels")
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    for wheel in options.out.glob("*.whl"):
        wheel.unlink()
    platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--python-version", options.python, "--implementation", "cp", *platforms]
    subprocess.run([*command, "--dest", str(options.out), *pinned()], check=True)
    build_own(options.out)
    size = sum(wheel.stat().st_size for wheel in options.out.glob("*.whl")) / 2**20
    print(f"{options.out}: {size:.0f} MiB; see docs/gpu-check.md for the commands on the other machine")
    return 1 if size > MOST_MB else 0


def build_own(out: Path) -> None:
    """The wheel of this checkout, built in a copy: setuptools writes into the folder that it builds."""
    with tempfile.TemporaryDirectory() as copy:
        for name in SOURCES:
            subprocess.run(["cp", "-r", name, copy], check=True)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--wheel-dir", str(out), copy], check=True)


def pinned() -> list[str]:
    """The packages in the versions of constraints.txt."""
    versions = {normal(line): line for line in CONSTRAINTS.read_text().split() if "==" in line}
    return [versions[normal(package)] for package in PACKAGES]


def normal(requirement: str) -> str:
    """Name of a requirement as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", requirement.partition("==")[0]).lower()


if __name__ == "__main__":
    sys.exit(main())
