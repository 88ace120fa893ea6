"""Requests at a set rate, by a client that takes little of the processor it shares with the server."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

GIVEN_UP_S = 2.0
"""Sooner than the server closes a connection that nobody uses."""


class Connections:
    """HTTP/1.1 to one server: as many connections as there are requests at a time, kept for the next ones."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._port = port
        self._head = "".join(f"{name}: {value}\r\n" for name, value in {"host": "127.0.0.1", **headers}.items())
        self._free: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, method: str, path: str, body: Any = None, headers: str = "") -> Any:
        """The answer's JSON.

        Raises:
            RuntimeError: the status is not that of success.
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
    """Ticks since the start that other machines on the same host took from this one's processors, and ticks of all."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7], sum(ticks)


async def at_rate(rate: float, seconds: float, ask: Callable[[int], Awaitable[None]]) -> list[float]:
    """Call `ask` so often, on time; returns how long each took from when it was due, in seconds."""
    gc.collect()
    gc.freeze()  # a pause of ours would count as the server's
    started, took = time.perf_counter(), []

    async def one(number: int) -> None:
        due = started + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await ask(number)
        took.append(time.perf_counter() - due)

    await asyncio.gather(*(one(number) for number in range(int(rate * seconds))))
    return took
