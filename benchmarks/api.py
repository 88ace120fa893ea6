"""Load test of the API (`make bench-api`): POST /jobs at 50 per second, GET /jobs/{id}, 1,000 event stream readers.

An API on a real Postgres and a real Redis, without a worker: two processes by default for the requests, one for the
streams. Requests are sent at fixed times, independent of earlier responses, and latencies are measured from those
times. The output is a table and one JSON line; the exit status is 1 if a job or an event is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import date
from pathlib import Path
from uuid import uuid4

from sqlalchemy import create_engine, func, select, text

from benchmarks.load import Connections, at_rate, stolen
from benchmarks.server import Api
from store import workers
from store.db import make_engine, reading, unit_of_work
from store.jobs import claims, lifecycle
from store.tables import Job
from tests.faults.servers import Postgres, Redis
from worker.hardware import facts

WARM_S = 5
RATE = 50
"""POST requests per second."""
GET_RATE = 50
JOBS, EVENTS, EVERY_S = 10, 40, 0.5
"""Streams: number of jobs, events per job, interval between the events of a job in seconds."""
BEFORE = 2
"""Events of each job at the start of its streams: queued, starting."""
OPEN_FILES = 20_000
STUDENT, ROWS = "SmolLM2-135M-Instruct", Path("examples/data/train.jsonl")


Row = dict[str, float | int | str]


async def post_jobs(http: Connections, dataset: str, seconds: float, made: list[str]) -> list[float]:
    """Submit jobs; their ids are appended to `made`."""
    spec = {"student": STUDENT, "dataset_mix": [{"dataset": dataset}]}

    async def ask(number: int) -> None:
        answer = await http.ask("POST", "/jobs", {**spec, "seed": number}, f"idempotency-key: {uuid4()}\r\n")
        made.append(answer["id"])

    return await at_rate(RATE, seconds, ask)


async def get_jobs(http: Connections, known: Sequence[str], seconds: float) -> list[float]:
    """Request random jobs."""
    draw = random.Random(0)

    async def ask(_: int) -> None:
        await http.ask("GET", f"/jobs/{draw.choice(known)}")

    return await at_rate(GET_RATE, seconds, ask)


async def read_stream(api: Api, job_id: str, expected: int, late: list[float], opened: asyncio.Semaphore) -> bool:
    """Read `expected` events of a job; return whether they arrived in order and without gaps."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    head = f"GET /jobs/{job_id}/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n"
    writer.write((head + f"authorization: {api.headers['authorization']}\r\n\r\n").encode())
    seen: list[int] = []
    try:
        while len(seen) < expected:
            line = await reader.readline()
            if not line:
                break
            if line.startswith(b"id: "):
                seen.append(int(line[4:]))
                if seen[-1] == 1:
                    opened.release()
            elif line.startswith(b"data: ") and seen[-1] > BEFORE:
                late.append(time.time() - json.loads(line[6:])["created_at"])
    finally:
        writer.close()
    return seen == list(range(1, expected + 1))


async def stream(api: Api, readers: int, followed: Sequence[str]) -> tuple[int, list[float]]:
    """Run the readers; return the number of incomplete streams, and the delay of each event in seconds."""
    engine = make_engine(api.settings.database)
    granted = []
    for job_id in followed:
        with unit_of_work(engine) as session:
            granted.append(lifecycle.claim(session, job_id, owner="benchmark", host="x", boot_id="x", lease_s=3600))
    late: list[float] = []
    opened = asyncio.Semaphore(0)
    expected = BEFORE + EVENTS
    tasks = [
        asyncio.create_task(read_stream(api, followed[number % len(followed)], expected, late, opened))
        for number in range(readers)
    ]
    for _ in range(readers):
        await opened.acquire()
    late.clear()
    for number in range(EVENTS):
        for claim in granted:
            assert claim is not None
            await asyncio.to_thread(_say, engine, claim, f"event {number}")
        await asyncio.sleep(EVERY_S)
    whole = await asyncio.wait_for(asyncio.gather(*tasks), timeout=60)
    engine.dispose()
    return whole.count(False), late


def _say(engine: object, claim: claims.Claim, message: str) -> None:
    with unit_of_work(engine) as session:  # type: ignore[arg-type]
        claims.add_event(session, claim, message)


def _row(what: str, api: Api, took: Sequence[float], lost: int) -> Row:
    cuts = statistics.quantiles(took, n=1000)
    return {
        "what": what,
        "processes": api.processes,
        "n": len(took),
        "p50_ms": round(statistics.median(took) * 1000, 1),
        "p99_ms": round(cuts[989] * 1000, 1),
        "max_ms": round(max(took) * 1000, 1),
        "lost": lost,
    }


async def ask(api: Api, seconds: float) -> tuple[list[Row], list[str]]:
    """Measure POST and GET; also return the ids of the jobs."""
    engine = make_engine(api.settings.database)
    with unit_of_work(engine) as session:  # admission compares a job with the live workers
        workers.report(session, "benchmark", facts(api.settings), api.settings.lease_s)
    dataset = api.http.post("/datasets", content=ROWS.read_bytes()).json()["id"]
    made: list[str] = []
    http = Connections(api.port, api.headers)
    await post_jobs(http, dataset, WARM_S, [])
    posted = await post_jobs(http, dataset, seconds, made)
    got = await get_jobs(http, made, min(seconds, 30))
    with reading(engine) as session:
        there = session.scalar(select(func.count()).where(Job.id.in_(made)))
    engine.dispose()
    rows = [
        _row(f"POST /jobs, {RATE}/s for {seconds:.0f} s", api, posted, int(RATE * seconds) - int(there or 0)),
        _row(f"GET /jobs/{{id}}, {GET_RATE}/s, {len(made)} jobs queued", api, got, 0),
    ]
    return rows, made


async def follow(api: Api, readers: int, made: Sequence[str]) -> Row:
    """Measure event streams."""
    missed, late = await stream(api, readers, made[:JOBS])
    return _row(f"events to {readers} readers, {JOBS / EVERY_S:.0f} events/s", api, late, missed)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="duration of the POST load")
    parser.add_argument("--readers", type=int, default=1000, help="concurrent event streams")
    parser.add_argument("--processes", type=int, default=2, help="API processes during POST and GET")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    taken, ticks = stolen()
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        os.chmod(folder, 0o755)  # Postgres runs as another user
        settings = {**_servers(folder, stack), "UNIAPL_TENANT_STREAMS": str(options.readers)}
        with closing(Api(folder / "data", settings, options.processes)) as api:
            rows, made = asyncio.run(ask(api, options.seconds))
        with closing(Api(folder / "data", settings)) as api:
            rows.append(asyncio.run(follow(api, options.readers, made)))
    print("| measurement | processes | n | p50, ms | p99, ms | max, ms | lost |\n|---|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    taken, ticks = stolen()[0] - taken, stolen()[1] - ticks
    print(f"steal time: {taken / ticks:.1%} of the CPU time")
    found = {"date": date.today().isoformat(), "cores": os.cpu_count(), "stolen": taken / ticks, "rows": rows}
    print(json.dumps(found))
    return 1 if any(row["lost"] for row in rows) else 0


def _servers(folder: Path, stack: ExitStack) -> dict[str, str]:
    """Start Postgres and Redis; return the settings of an API that uses them."""
    postgres, redis = Postgres(folder / "postgres"), Redis(folder)
    for server in (postgres, redis):
        stack.callback(server.kill)
        server.start()
    admin = create_engine(postgres.admin_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE uniapl"))
    admin.dispose()
    return {
        "UNIAPL_DATABASE_URL": f"postgresql+psycopg://postgres@127.0.0.1:{postgres.port}/uniapl",
        "UNIAPL_BROKER_URL": f"redis://127.0.0.1:{redis.port}/0",
        "UNIAPL_REQUESTS_PER_S": "10000",
        "UNIAPL_TENANT_JOBS": "1000000",
    }


if __name__ == "__main__":
    sys.exit(main())
