"""Terminal progress of a job: a progress bar, and one line per step."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from uniapl.spec.resources import Job
from uniapl.spec.steps import SHOWN, step_line
from uniapl_client import Client
from uniapl_client.errors import JobFailed


def watch(client: Client, job_id: str, console: Console, *, check: Callable[[], None] = lambda: None) -> Job:
    """Show progress until the job finishes.

    Args:
        client: client of the service.
        job_id: id of the job.
        console: output console.
        check: called at each poll; an exception stops the display.

    Raises:
        JobFailed: the job failed or was cancelled.
    """
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    seen_step, seen_event = 0, 0
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("queued")
        while True:
            check()
            job = client.jobs.get(job_id)
            progress.update(bar, total=job.steps, completed=job.step, description=job.phase or job.state)
            for event in client.jobs.list_events(job_id, after=seen_event):
                seen_event = event.id
                if event.level != "info":
                    progress.console.print(f"{event.level}: {event.message}", markup=False, soft_wrap=True)
            seen_step = _print_steps(client, job, seen_step, progress.console)
            if job.is_over:
                break
            time.sleep(0.5)
    if job.state != "succeeded":
        raise JobFailed(job)
    return job


def _print_steps(client: Client, job: Job, since_step: int, console: Console) -> int:
    """Print one line per new step; returns the last printed step."""
    rows: dict[int, dict[str, float]] = {}
    for point in client.jobs.metrics(job.id, names=list(SHOWN), since_step=since_step):
        rows.setdefault(point.step, {})[point.name] = point.value
    for step, values in sorted(rows.items()):
        eta_s = job.eta_s if step == max(rows) else None
        console.print(step_line(step, job.steps, values, eta_s), highlight=False, soft_wrap=True)
    return max(rows, default=since_step)
