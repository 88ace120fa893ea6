"""Health check of the images, `python -IS docker/healthy.py http://HOST:PORT/PATH`: status 0 if the service
responds with success.

It runs every ten seconds in each container, so it imports little: an HTTP client takes three times the CPU time.
"""

from __future__ import annotations

import socket
import sys

TIMEOUT_S = 4


def main(url: str) -> int:
    """Send one GET request and read the whole response; exit status 1 for another status than 2xx."""
    address, _, path = url.removeprefix("http://").partition("/")
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), TIMEOUT_S) as connection, connection.makefile("rb") as response:
        connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        status = response.read().split(maxsplit=2)[1:2]
    return 0 if status and status[0].startswith(b"2") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
