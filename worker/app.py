"""The Celery worker: `celery -A worker.app worker --pool threads`.

Early acknowledgement, no results, no remote control: nothing depends on the broker once a job is claimed.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery.signals import worker_ready, worker_shutting_down

from store.db import make_engine
from store.doorbell import RUN_JOB, Doorbell, make_celery
from store.settings import Settings
from worker.supervisor import Worker, run_attempt
from worker.sweeper import Sweeper

settings = Settings()
app = make_celery(settings)
app.conf.update(worker_concurrency=settings.worker_slots, worker_pool="threads")
worker = Worker(settings, make_engine(settings.database))


@app.task(name=RUN_JOB)
def run_job(job_id: str) -> None:
    """Run one attempt of a job. Delivered twice, the second claim loses."""
    run_attempt(worker, job_id)


@worker_ready.connect
def _start_sweeper(**_: Any) -> None:
    logging.getLogger("worker").setLevel(logging.INFO)
    sweeper = Sweeper(worker, Doorbell(app))
    threading.Thread(target=sweeper.run, name="sweeper", daemon=True).start()


@worker_shutting_down.connect
def _drain(**_: Any) -> None:
    worker.stopping.set()
