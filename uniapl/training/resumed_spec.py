"""Differences between a spec and that of the checkpoint it resumes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from uniapl.run.resolve import SPEC
from uniapl.spec.job import JobSpec

HARMLESS = (
    "name",
    "evaluation",
    "health",
    "resources",
    "schedule.steps",
    "schedule.checkpoint_every",
    "schedule.eval_every",
    "schedule.keep_checkpoints",
    "schedule.term_norms_every",
)
"""Fields, with those inside, that a resumed run may change without another gradient."""
LONGEST = 80
"""Characters of a value in a message."""


def changed_fields(checkpoint: Path, spec: JobSpec) -> list[str]:
    """A sentence for each field of the resolved spec that differs from the checkpoint's.

    Fields that the checkpoint's release did not have are left out, and so is everything where it stored no spec.
    """
    try:
        saved = json.loads((checkpoint / SPEC).read_text())
    except (OSError, ValueError):
        return []
    return [
        f"{path} differs from the checkpoint's: {_short(old)} there, {_short(new)} in this spec"
        for path, old, new in _differences("", saved, spec.model_dump(mode="json"))
        if not any(path == field or path.startswith(f"{field}.") for field in HARMLESS)
    ]


def _differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(name, old[name], new[name]) for name in new if name in old]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(str(i), *pair) for i, pair in enumerate(zip(old, new, strict=True))]
    else:
        if old != new:
            yield path, old, new
        return
    for name, *values in pairs:
        yield from _differences(f"{path}.{name}" if path else name, *values)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
