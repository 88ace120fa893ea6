"""Result lines of a phase: one JSON object per group of figures, written at once, and the same text for a reader."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.gpu_check.expectations import ranges
from benchmarks.gpu_check.figures import Expected, Figure, Value, judged

Device = Literal["cpu", "cuda"]


def append(results: Path, line: Mapping[str, Any]) -> None:
    """Append one line to the results; a single write, because phases run side by side."""
    descriptor = os.open(results, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, (json.dumps(line) + "\n").encode())
    finally:
        os.close(descriptor)


@dataclass
class Report:
    """Where a phase reports its figures."""

    phase: str
    device: Device
    results: Path
    """File of the result lines."""
    models: Path
    """Folder of the bundled models."""
    found: list[Figure] = field(default_factory=list)
    """All figures so far."""
    _started: float = field(default_factory=time.monotonic)

    @property
    def is_short(self) -> bool:
        """Whether this is the short form for machines without a GPU."""
        return self.device == "cpu"

    def figures(self, group: str, values: Mapping[str, Value], expected: Mapping[str, Expected] | None = None) -> None:
        """Report one group of figures.

        Args:
            group: names the case, such as a model and its options.
            values: figures by name.
            expected: ranges that are computed, such as an estimate's; those of the table are added.
        """
        figures = judged(values, {**ranges(self.phase, self.device), **(expected or {})})
        self.found += figures
        self._write({"group": group, "figures": [figure.entry() for figure in figures]})
        print(f"{self.phase}: {group}: " + "; ".join(figure.line() for figure in figures), flush=True)

    def unchecked(self, what: str) -> None:
        """Report what this phase cannot check here."""
        self._write({"unchecked": what})
        print(f"{self.phase}: not checked: {what}", flush=True)

    def _write(self, line: dict[str, Any]) -> None:
        seconds = round(time.monotonic() - self._started, 1)
        append(self.results, {"phase": self.phase, "device": self.device, **line, "after_s": seconds})
