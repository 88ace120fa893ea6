"""`python -m embedded`: the embedded service until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from embedded.service import LOOPBACK, EmbeddedService, free_port, interrupt, is_loopback

FIRST_STEPS = """\
UniAPL is listening on {url}   (data: {data}, logs: {data}/logs, API description: {url}/docs)

    export UNIAPL_URL={url} UNIAPL_API_KEY=$(cat {data}/api_key)
    curl -H "authorization: Bearer $UNIAPL_API_KEY" {url}/models
    .venv/bin/uniapl submit examples/uniapl.json --watch

Ctrl-C stops it; running jobs write a checkpoint first and go on at the next start.
"""
BEYOND_LOOPBACK = """\
It listens at {host}, for other machines too, and plain HTTP shows keys to whoever can listen on the way: put a proxy
with TLS before it, or use a network that you trust.
"""


def main() -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m embedded", description="Run API and worker on this machine.")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--host", default=LOOPBACK, help="the address to listen at; 0.0.0.0 for every one of IPv4")
    parser.add_argument("--port", type=int, default=8000, help="the next free one is taken when it is in use")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupt)
    try:
        service = EmbeddedService(
            arguments.data_dir, host=arguments.host, port=free_port(arguments.host, arguments.port)
        )
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        service.start()
        print(FIRST_STEPS.format(url=service.url, data=arguments.data_dir), flush=True)
        if not is_loopback(arguments.host):
            print(BEYOND_LOOPBACK.format(host=arguments.host), flush=True)
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


if __name__ == "__main__":
    sys.exit(main())
