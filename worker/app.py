"""The Celery worker: `celery -A worker.app worker --pool threads`.

A message only wakes the worker: it is acknowledged early, and the attempt runs in a separate thread, as it does when
the sweeper finds the job while the broker is unreachable. Results and remote control are off: nothing depends on the
broker once a job is claimed.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import Any

from celery.signals import setup_logging, worker_init, worker_shutdown, worker_shutting_down

from store import logs
from store.broker.celery_app import RUN_JOB, make_celery
from store.db import make_engine
from store.settings import settings_or_exit, unknown_settings
from uniapl import tracing
from worker import metrics
from worker.attempt import run_attempt
from worker.slots import WorkerProcess
from worker.sweeper import Sweeper

logger = logging.getLogger(__name__)
STDOUT = 1
settings = settings_or_exit()
app = make_celery(settings)
app.conf.update(worker_concurrency=1, worker_pool="threads")
worker = WorkerProcess(settings, make_engine(settings.database))


@app.task(name=RUN_JOB)
def run_job(job_id: str) -> None:
    """Start an attempt at a job, unless no slot is free; the next free worker then finds the job in the database."""
    worker.take(job_id, run_attempt)


@setup_logging.connect
def _log(**_: Any) -> None:
    """Replace Celery's logging configuration."""
    logs.configure(settings)
    for problem in unknown_settings():
        logger.warning(problem)
    if settings.log_format == "json":  # logs go to standard error; Celery announces a shutdown on the other as text
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)


@worker_init.connect
def _start_sweeper(**_: Any) -> None:
    """Start before connecting to the broker: the sweeper finds jobs without it."""
    threading.Thread(target=Sweeper(worker).run, name="sweeper", daemon=True).start()
    tracing.start("uniapl-worker")
    if settings.metrics_port:
        metrics.serve(settings.metrics_port, settings.worker_slots)


@worker_shutting_down.connect
def _drain(**_: Any) -> None:
    worker.stopping.set()


@worker_shutdown.connect
def _wait(**_: Any) -> None:
    """Release every job before the process exits; further signals are ignored."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    worker.drain()
