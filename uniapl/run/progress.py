"""Progress lines of a run on standard error: one for each step, and one for the newest checkpoint at the end."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from uniapl.run import manifest
from uniapl.run.config import RunConfig
from uniapl.spec.steps import step_line

RECENT = 20
"""Number of last steps whose median time gives the ETA, as in the service's `eta_s`."""


class Progress:
    """Prints a line for each step, with an ETA."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=RECENT)

    def print_step(self, step: int, steps: int, values: Mapping[str, float]) -> None:
        """Print the line of a step.

        Args:
            step: updates so far.
            steps: updates of the whole run.
            values: the step's metrics.
        """
        self._times.append(values["step_time"])
        eta_s = (steps - step) * median(self._times)
        print(step_line(step, steps, values, eta_s), file=sys.stderr, flush=True)


def print_end(run: RunConfig, step: int) -> None:
    """Print the last line: the newest checkpoint, from which the run resumes."""
    folder = Path(run.run_dir) / "checkpoints"
    newest = max(manifest.steps_in(folder), default=None)
    path = run.resume_from if newest is None else manifest.folder_of(folder, newest)
    saved = f"checkpoint: {path}" if path else "no checkpoint yet"
    print(f"step {step} of {run.spec.schedule.steps} done; {saved}", file=sys.stderr, flush=True)
