"""`python docker/shapes.py MODELS TARGET`: copies of model folders with weight files that end after their headers.

The API reads the shapes and the tokenizers of models, and never their weights.
"""

from __future__ import annotations

import shutil
import struct
import sys
from pathlib import Path

WEIGHTS = "*.safetensors"


def main(models: Path, target: Path) -> None:
    """Copy each folder of `models` to `target`."""
    for folder in sorted(path for path in models.iterdir() if path.is_dir()):
        shutil.copytree(folder, target / folder.name, ignore=shutil.ignore_patterns(WEIGHTS))
        for file in folder.glob(WEIGHTS):
            (target / folder.name / file.name).write_bytes(header(file))


def header(file: Path) -> bytes:
    """The beginning of a safetensors file: the length of its header in 8 bytes, and the header."""
    with file.open("rb") as opened:
        length = opened.read(8)
        return length + opened.read(*struct.unpack("<Q", length))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
