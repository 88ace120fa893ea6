"""Load generator with a fixed request rate and low CPU use."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

GIVEN_UP_S = 2.0
"""Idle time after which a connection is discarded, in seconds; less than the server's keep-alive timeout."""


class Connections:
    """HTTP/1.1 connection pool to one server, without a limit."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._port = port
        self._head = "".join(f"{name}: {value}\r\n" for name, value in {"host": "127.0.0.1", **headers}.items())
        self._free: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, method: str, path: str, body: Any = None, headers: str = "") -> Any:
        """Send a request; return the JSON of the response.

        Raises:
            RuntimeError: the status is not 2xx.
        """
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\n{self._head}{headers}content-length: {len(content)}\r\n"
        reader, writer = await self._connection()
        writer.write(f"{head}content-type: application/json\r\n\r\n".encode() + content)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
        answer = await reader.readexactly(length)
        self._free.append((time.monotonic(), reader, writer))
        if not status.startswith("http/1.1 2"):
            raise RuntimeError(f"{status}: {answer.decode()}")
        return json.loads(answer)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._free:
            used_at, reader, writer = self._free.pop()
            if time.monotonic() - used_at < GIVEN_UP_S:
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)


def stolen() -> tuple[int, int]:
    """Steal time of this machine's processors and total time since boot, in ticks."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7], sum(ticks)


async def at_rate(rate: float, seconds: float, ask: Callable[[int], Awaitable[None]]) -> list[float]:
    """Call `ask` at a fixed rate; return the seconds from each scheduled time to completion."""
    gc.collect()
    gc.freeze()  # a garbage collection here would count as response time
    started, took = time.perf_counter(), []

    async def one(number: int) -> None:
        due = started + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await ask(number)
        took.append(time.perf_counter() - due)

    await asyncio.gather(*(one(number) for number in range(int(rate * seconds))))
    return took
