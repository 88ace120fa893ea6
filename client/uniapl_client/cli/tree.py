"""Indented text of nested JSON values."""

from __future__ import annotations

from typing import Any


def tree(value: Any, indent: str = "") -> str:
    """One line per leaf of a JSON object or list."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    lines = []
    for key, inner in pairs:
        if isinstance(inner, dict | list) and inner:
            lines += [f"{indent}{key}", tree(inner, indent + "  ")]
        else:
            lines.append(f"{indent}{key:{max(1, 32 - len(indent))}} {_leaf(inner)}")
    return "\n".join(lines)


def _leaf(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.6g}"
    return "-" if value is None or value in ([], {}) else str(value)
