"""A TCP proxy for network faults: cut, hold, and lose the answer to one message."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time


class Proxy:
    """Forwards one port to another; every fault is for all connections. A context manager."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()
        self._flows = threading.Event()
        self._flows.set()
        self._trigger: tuple[bytes, bytes] | None = None
        self.triggered = 0
        """How often `cut_after_request` has struck."""
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End every connection there is; new ones are welcome."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for side in pair:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """End every connection, and accept none until `accept`."""
        self._open.clear()
        self.cut()

    def accept(self) -> None:
        self._open.set()

    def hold(self) -> None:
        """Half-open: connections stay, and nothing comes through until `release`."""
        self._flows.clear()

    def release(self) -> None:
        self._flows.set()

    def cut_after_request(self, request: bytes, after: bytes = b"") -> None:
        """Forward the next message that contains `request`, wait until it has been obeyed, and lose the answer.

        With `after`, only on a connection that has said so before, and not made that request since.
        """
        self._trigger = (request, after)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._open.is_set():
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream), timeout=5)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, server))
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        said = b""
        with client, server, contextlib.suppress(OSError):
            while True:
                readable, _, _ = select.select([client, server], [], [], 1.0)
                self._flows.wait()
                for side in readable:
                    data = side.recv(65536)
                    if not data:
                        return
                    (server if side is client else client).sendall(data)
                    if side is client and self._trigger is not None:
                        said += data
                        request, after = self._trigger
                        if request in said:
                            if after in said:
                                self._trigger = None
                                self.triggered += 1
                                time.sleep(0.3)
                                return
                            said = b""
