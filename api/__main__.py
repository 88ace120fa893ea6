"""Entry point `python -m api`: one API process."""

from __future__ import annotations

import argparse
import logging
import sys

import uvicorn

from api.http import connection
from store import logs
from store.settings import settings_or_exit, unknown_settings

logger = logging.getLogger("api")
GRACE_S = 3
"""Time for open requests after a signal; event streams would keep the process alive indefinitely."""


def main() -> int:
    """Serve until a signal arrives."""
    parser = argparse.ArgumentParser(prog="python -m api", description="Serve the API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    settings = settings_or_exit()
    logs.configure(settings)
    for problem in unknown_settings():
        logger.warning(problem)
    uvicorn.run(
        "api.main:create_app",
        factory=True,
        host=arguments.host,
        port=arguments.port,
        http=connection.bounded(settings.request_wait_s),
        log_config=None,
        access_log=False,  # `api.http.middleware` logs every request with its id
        timeout_graceful_shutdown=GRACE_S,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
