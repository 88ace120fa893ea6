"""Job notifications: a Celery message with a job id wakes a worker up.

The database is the source of truth. A lost, duplicate or late message changes nothing: the claim is one guarded UPDATE,
and every worker polls for queued jobs. So a failed notification never fails a request.
"""

from __future__ import annotations

import logging
import threading
import time

from celery import Celery
from kombu.exceptions import OperationalError

from store.artifacts.paths import Artifacts
from store.settings import Settings

RUN_JOB = "uniapl.run_job"
SILENT_S = 5.0
"""Seconds without further messages after a failure: each would wait for its timeout."""
AT_ONCE, PATIENCE_S = 8, 0.2
"""Concurrent messages, and seconds that a further one waits for a free place: a broker that accepts connections but
never replies would otherwise block every thread of the API."""
logger = logging.getLogger(__name__)


def make_celery(settings: Settings) -> Celery:
    """The Celery application of API and workers."""
    app = Celery("uniapl", broker=settings.broker)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=False,  # late acknowledgement would redeliver long tasks while they run
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_pool_acquire_timeout=2,
    )
    if settings.broker.startswith("filesystem:"):
        folder = Artifacts(settings.data_dir).broker()
        (folder / "control").mkdir(parents=True, exist_ok=True)
        app.conf.broker_transport = "store.broker.transports:FolderTransport"
        app.conf.broker_transport_options = {
            "data_folder_in": str(folder),
            "data_folder_out": str(folder),
            "control_folder": str(folder / "control"),
        }
    else:
        if settings.broker.startswith(("redis:", "rediss:")):
            app.conf.broker_transport = "store.broker.transports:RedisTransport"
        app.conf.broker_transport_options = {"socket_timeout": 5, "socket_connect_timeout": 2}
    return app


class JobNotifier:
    """Notifies workers of queued jobs."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery
        self._silent_until = 0.0
        self._under_way = threading.BoundedSemaphore(AT_ONCE)

    def notify(self, job_id: str) -> None:
        """Send the message. A failure is logged and suppresses further messages for `SILENT_S`."""
        if time.monotonic() < self._silent_until or not self._under_way.acquire(timeout=PATIENCE_S):
            return
        try:
            self._celery.send_task(RUN_JOB, args=[job_id], retry=False)
        except (OperationalError, OSError) as error:
            self._silent_until = time.monotonic() + SILENT_S
            logger.warning("could not notify workers of %s (%s); they poll for queued jobs", job_id, error)
        finally:
            self._under_way.release()
