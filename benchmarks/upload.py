"""Memory growth and responsiveness of the API during an upload of 1 GB (`make bench-upload`).

A real API process on SQLite; rows of random words. Growth is the peak resident memory minus that after a small upload
of the same kind. The output is a table.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pyarrow
import zstandard
from pyarrow import parquet

from benchmarks.server import Api

KINDS = ("jsonl", "gzip", "zstd", "parquet", "resumed")
MB = 1_000_000
PART = 32 * MB
"""Bytes per PATCH request."""


@dataclass(frozen=True)
class Measured:
    """Result of one upload."""

    kind: str
    sent: int
    """Bytes sent."""
    rows: int
    seconds: float
    growth: int
    """Growth of the API's peak resident memory, in bytes."""
    child: int
    """Peak resident memory of the child process that reads Parquet, in bytes."""
    slowest: float
    """Longest concurrent `GET /healthz`, in seconds."""


def lines(size: int) -> Iterator[bytes]:
    """At least `size` bytes of JSON lines, in parts of about 1 MB."""
    rng = random.Random(0)
    words = [f"{rng.getrandbits(32):x}" for _ in range(50_000)]
    made = 0
    while made < size:
        rows = []
        for _ in range(1000):
            prompt, reference = (" ".join(rng.choices(words, k=50)) for _ in range(2))
            rows.append(json.dumps({"messages": [{"role": "user", "content": prompt}], "reference": reference}))
        piece = ("\n".join(rows) + "\n").encode()
        made += len(piece)
        yield piece


def packed(kind: str, size: int) -> Iterator[bytes]:
    """JSON lines, compressed unless `kind` is `jsonl`."""
    if kind == "jsonl":
        yield from lines(size)
        return
    packer = zlib.compressobj(1, wbits=31) if kind == "gzip" else zstandard.ZstdCompressor().compressobj()
    for piece in lines(size):
        yield packer.compress(piece)
    yield packer.flush()


def write(kind: str, size: int, path: Path) -> None:
    """Write the file to upload; Parquet has a single row group."""
    with path.open("wb") as file:
        if kind != "parquet":
            for piece in packed("jsonl" if kind == "resumed" else kind, size):
                file.write(piece)
            return
        rows = (pyarrow.Table.from_pylist([json.loads(line) for line in piece.splitlines()]) for piece in lines(size))
        table = pyarrow.concat_tables(rows)
        parquet.write_table(table, file, compression="none", use_dictionary=False, row_group_size=len(table))


def send(api: Api, kind: str, path: Path) -> int:
    """Upload a file; return the number of rows."""
    with path.open("rb") as file:
        if kind != "resumed":
            answer = api.http.post("/datasets", content=iter(lambda: file.read(MB), b""))
        else:
            upload = api.http.post("/uploads", json={"bytes": path.stat().st_size}).json()
            address, offset = f"/uploads/{upload['id']}", 0
            while part := file.read(PART):
                api.http.patch(address, headers={"upload-offset": str(offset)}, content=part).raise_for_status()
                offset += len(part)
            answer = api.http.post(f"{address}/complete")
    assert answer.status_code == 201, answer.text
    dataset = answer.json()
    api.http.delete(f"/datasets/{dataset['id']}").raise_for_status()
    return int(dataset["rows"])


@contextmanager
def watching(api: Api) -> Iterator[dict[str, float]]:
    """Poll `GET /healthz`, and record the longest response and the child's memory in the dictionary."""
    seen: dict[str, float] = {"slowest": 0.0, "child": 0}
    stop = threading.Event()

    def watch() -> None:
        with httpx.Client(base_url=api.http.base_url, timeout=60) as http:
            while not stop.wait(0.05):
                started = time.monotonic()
                http.get("/healthz")
                seen["slowest"] = max(seen["slowest"], time.monotonic() - started)
                seen["child"] = max([seen["child"], *_children(api.process.pid)])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def _children(pid: int) -> Iterable[int]:
    for child in psutil.Process(pid).children():
        try:
            yield child.memory_info().rss
        except psutil.NoSuchProcess:
            continue


def measure(kind: str, size: int, folder: Path) -> Measured:
    """Upload `size` bytes of rows to a new API process."""
    small, large = folder / "small", folder / "large"
    write(kind, MB, small)
    write(kind, size, large)
    api = Api(folder / "data")
    try:
        send(api, kind, small)
        api.forget_peak()
        before, started = api.peak(), time.monotonic()
        with watching(api) as seen:
            rows = send(api, kind, large)
        seconds = time.monotonic() - started
        growth = api.peak() - before
    finally:
        api.close()
    return Measured(kind, large.stat().st_size, rows, seconds, growth, int(seen["child"]), seen["slowest"])


def main() -> None:
    """Measure all kinds and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1000, help="size of the rows, uncompressed")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    print("| kind | sent, MB | rows | seconds | growth, MB | child process, MB | slowest other response, ms |")
    print("|---|---|---|---|---|---|---|")
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(kind, options.mb * MB, Path(folder))
        figures = f"{found.sent / MB:.0f} | {found.rows} | {found.seconds:.0f} | {found.growth / MB:.1f}"
        print(f"| {kind} | {figures} | {found.child / MB:.0f} | {found.slowest * 1000:.0f} |", flush=True)


if __name__ == "__main__":
    main()
