"""Output files of an experiment: `table.md`, and `results.json` with all numbers and their origin."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from experiments.table import Table
from uniapl.run import atomic
from uniapl.spec.job import JobSpec

_JSON: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def write(
    out: Path, name: str, spec: JobSpec, seeds: Sequence[int], tables: Sequence[Table], numbers: Mapping[str, Any]
) -> None:
    """Print the tables and write both files into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    record = {
        "experiment": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "versions": {package: version(package) for package in ("uniapl", "torch", "transformers")},
        "seeds": list(seeds),
        "spec": spec.model_dump(mode="json"),
        **numbers,
    }
    atomic.write(out / "table.md", ("\n\n".join(table.markdown() for table in tables) + "\n").encode())
    atomic.write(out / "results.json", _JSON.dump_json(record, indent=2) + b"\n")
    print("\n" + "\n\n".join(table.text() for table in tables))
    print(f"\nwrote {out / 'table.md'} and {out / 'results.json'}")


def _machine() -> dict[str, Any]:
    import torch  # slow to import

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"cpus": os.cpu_count(), "device": device, "python": platform.python_version()}
