"""`python -m embedded`: the embedded service until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import time
from pathlib import Path

from embedded.service import EmbeddedService, interrupt

FIRST_STEPS = """\
UniAPL is listening on {url}   (data: {data}, logs: {data}/logs, API description: {url}/docs)

    export UNIAPL_URL={url} UNIAPL_API_KEY=$(cat {data}/api_key)
    curl -H "authorization: Bearer $UNIAPL_API_KEY" {url}/models
    .venv/bin/uniapl submit examples/uniapl.json --watch

Ctrl-C stops it; running jobs write a checkpoint first and go on at the next start.
"""


def main() -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m embedded", description="Run API and worker on this machine.")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--port", type=int, default=8000, help="the next free one is taken when it is in use")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupt)
    service = EmbeddedService(arguments.data_dir, port=_free_from(arguments.port))
    try:
        service.start()
        print(FIRST_STEPS.format(url=service.url, data=arguments.data_dir), flush=True)
        while True:
            time.sleep(1)
            service.restart_dead(lambda text: print(text, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        print("\nstopping; running jobs write a checkpoint (Ctrl-C again to kill them)", flush=True)
        _stop(service)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        service.stop(grace_s=0)
        return 1
    return 0


def _stop(service: EmbeddedService) -> None:
    try:
        service.stop(grace_s=150)
    except KeyboardInterrupt:
        service.stop(grace_s=0)


def _free_from(port: int) -> int:
    for candidate in range(port, port + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", candidate)) != 0:
                return candidate
    return 0


if __name__ == "__main__":
    sys.exit(main())
