"""The doorbell: a Celery message that carries a job id and nothing else.

The row is the truth. A message that is lost, doubled or late changes nothing: the claim is one guarded UPDATE, and
every worker looks for queued jobs by itself. So ringing never fails a request.
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
"""After a failure, so long no message is tried: every one would wait for its time limit."""
AT_ONCE, PATIENCE_S = 8, 0.2
"""So many messages may be under way at once, and the next waits so long for one of them: a broker that takes what it
is sent and never answers would soon hold every thread of the API."""
logger = logging.getLogger(__name__)


def make_celery(settings: Settings) -> Celery:
    """The Celery application, for ringing (API) and for answering (worker)."""
    app = Celery("uniapl", broker=settings.broker)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=False,  # late acknowledgement redelivers day-long tasks while they run
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
    """Tells the workers that a job waits."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery
        self._silent_until = 0.0
        self._under_way = threading.BoundedSemaphore(AT_ONCE)

    def notify(self, job_id: str) -> None:
        """Send the message, or log that it could not be sent; then for a while none is tried, since each may wait."""
        if time.monotonic() < self._silent_until or not self._under_way.acquire(timeout=PATIENCE_S):
            return
        try:
            self._celery.send_task(RUN_JOB, args=[job_id], retry=False)
        except (OperationalError, OSError) as error:
            self._silent_until = time.monotonic() + SILENT_S
            logger.warning("could not ring for %s (%s); the workers look for themselves", job_id, error)
        finally:
            self._under_way.release()
