"""Figures of the check: a measured value, its expected range, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["ok", "off", "red flag", "not judged"]
Value = float | str


@dataclass(frozen=True)
class Expected:
    """Range of a figure. A value outside it is `off`; one outside the wider range `red_*` is a red flag."""

    least: float = -math.inf
    most: float = math.inf
    red_below: float | None = None
    """Values below are a red flag; `None`: values below `least` are."""
    red_above: float | None = None
    """Values above are a red flag; `None`: values above `most` are."""
    means: str = ""
    """Meaning of a value outside the range."""

    @property
    def bounds(self) -> str:
        """The range in words."""
        if self.least == self.most:
            return f"{self.least:g}"
        if math.isinf(self.least):
            return f"at most {self.most:.4g}"
        return f"at least {self.least:.4g}" if math.isinf(self.most) else f"{self.least:.4g} to {self.most:.4g}"

    def verdict(self, value: float) -> Verdict:
        """The verdict on a value; NaN is a red flag."""
        red_below = self.least if self.red_below is None else self.red_below
        red_above = self.most if self.red_above is None else self.red_above
        if not red_below <= value <= red_above:
            return "red flag"
        return "ok" if self.least <= value <= self.most else "off"


@dataclass(frozen=True)
class Figure:
    """One measured value, compared with its range."""

    name: str
    value: Value
    expected: Expected | None

    @property
    def verdict(self) -> Verdict:
        """`not judged` for texts and for values without a range."""
        if self.expected is None or isinstance(self.value, str):
            return "not judged"
        return self.expected.verdict(self.value)

    def entry(self) -> dict[str, Any]:
        """The figure as JSON; an infinite bound or value is null or a text."""
        value = self.value if isinstance(self.value, str) or math.isfinite(self.value) else str(self.value)
        found: dict[str, Any] = {"name": self.name, "value": value, "verdict": self.verdict}
        if self.expected is not None:
            found["expected"] = self.expected.bounds
        if self.expected is not None and self.verdict in ("off", "red flag"):
            found["means"] = self.expected.means
        return found

    def line(self) -> str:
        """The figure as a line for a reader."""
        value = self.value if isinstance(self.value, str) else f"{self.value:.4g}"
        if self.expected is None or self.verdict == "not judged":
            return f"{self.name} {value}"
        meaning = f": {self.expected.means}" if self.verdict != "ok" else ""
        return f"{self.name} {value} [{self.verdict}; expected {self.expected.bounds}{meaning}]"


def judged(values: Mapping[str, Value], table: Mapping[str, Expected]) -> list[Figure]:
    """Figures of these values, with the ranges of `table` by name."""
    return [Figure(name, value, table.get(name)) for name, value in values.items()]
