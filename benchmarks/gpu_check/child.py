"""Process of one phase: `python -m benchmarks.gpu_check.child NAME MODULE`; exit status 1 after an error."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from pathlib import Path

from benchmarks.gpu_check.report import Report, append
from uniapl.run.signals import die_with_parent


def main() -> int:
    """Run the phase; an error becomes a result line, and its traceback is on standard error."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("module")
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    options = parser.parse_args()
    die_with_parent(os.getppid())
    report = Report(options.name, options.device, options.results, options.models)
    try:
        importlib.import_module(options.module).run(report)
    except Exception as error:  # noqa: BLE001  (reported, and the next phase runs)
        traceback.print_exc()
        append(report.results, {"phase": report.phase, "device": report.device, "error": _in_a_line(error)})
        print(f"{report.phase}: {_in_a_line(error)}", flush=True)
        return 1
    return 0


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


if __name__ == "__main__":
    sys.exit(main())
