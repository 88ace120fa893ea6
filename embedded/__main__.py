"""Entry point of the embedded service (`python -m embedded`)."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from embedded.service import LOOPBACK, EmbeddedService, free_port, interrupt, is_loopback
from store.settings import unknown_settings

FIRST_STEPS = """\
UniAPL is listening on {url}   (data: {data}, logs: {data}/logs, API description: {url}/docs)

    export UNIAPL_URL={url} UNIAPL_API_KEY=$(cat {data}/api_key)
    curl -H "authorization: Bearer $UNIAPL_API_KEY" {url}/models
    .venv/bin/uniapl submit examples/uniapl.json --watch

Press Ctrl-C to stop; running jobs save a checkpoint first and resume at the next start.
"""
BEYOND_LOOPBACK = """\
The service listens on {host} and is reachable from other machines. Plain HTTP exposes API keys on the network: use a
TLS proxy, or a trusted network.
"""


def main() -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m embedded", description="Run the API and a worker on this machine.")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of database, files and logs (data)")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on; 0.0.0.0 for all IPv4 addresses")
    parser.add_argument("--port", type=int, default=8000, help="port of the API; the next free one if it is in use")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupt)
    for problem in unknown_settings():
        print(f"warning: {problem}", file=sys.stderr)
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
        print("\nstopping; running jobs save a checkpoint (press Ctrl-C again to kill them)", flush=True)
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
