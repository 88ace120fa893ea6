"""Data of the checked-out commit, for the tests of later commits.

The committed `tests/compatibility/d30f0e2/` was made by commit d30f0e2, the last one before packages and modules got
their present names. To make those of another commit, run this script with that commit's code:

    git worktree add /tmp/old COMMIT
    cp -r tests/compatibility /tmp/old/tests/
    ln -s "$PWD/.venv" "$PWD/data" /tmp/old/
    cd /tmp/old && PYTHONPATH=.:client .venv/bin/python -m tests.compatibility.make_fixtures OUT

and move OUT to `tests/compatibility/COMMIT`. It takes a minute and needs the bundled models (`make models`).

A real embedded service trains a student of 7,000 weights: one job succeeds, one fails, one is cancelled, one is paused,
one loses its worker by SIGKILL before its last reports are relayed, and one stays queued. Left out of the result: the
message folder, service logs, profiles' pictures outside checkpoints, and host names. Worker rows are one day older than
they were, so that no worker counts as alive.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from embedded.service import EmbeddedService
from tests.compatibility.micro_student import write_student
from tests.compatibility.old_data import (
    ROOT,
    SECRET,
    SECRET_NAME,
    body_of,
    key_of,
    lines_of,
    masked,
    restored,
    served,
    service_over,
    texts,
    train,
)

MINILM = ROOT / "data" / "models" / "all-minilm-l6-v2"
MINILM_NAME = "all-MiniLM-L6-v2"
STUDENT = "micro"
ROWS = [
    {
        "id": f"row-{index}",
        "messages": [{"role": "user", "content": f"Write about {topic}."}],
        "reference": f"Here is a short line about {topic}.",
        "reward": {"type": "regex", "pattern": "[a-m]"},  # about half of all random answers earn it
        "tags": ["fixture"],
    }
    for index, topic in enumerate(("tea", "rain", "bread", "stars", "chess", "rivers", "glass", "paper"))
]
LONG = {"steps": 30, "prompts_per_step": 2, "checkpoint_every": 4, "keep_checkpoints": 2, "eval_every": 1000}


def main(target: Path) -> None:
    """Write the fixtures into a new folder."""
    target.mkdir(parents=True)
    with TemporaryDirectory() as name:
        here = Path(name).resolve()
        write_student(here / "student")
        write_registry(here / "models.json")
        posts = run_jobs(here / "data")
        run_uninterrupted(here)
        collect(here, target)
        write_lines(target / "posts.jsonl", posts, here)
        mask_all(target, here)
    with TemporaryDirectory() as name:
        copy = Path(name).resolve()
        write_lines(target / "answers.jsonl", record(restored(target, copy)), copy)
    check(target)


def write_registry(path: Path) -> None:
    """The student, and the bundled discriminator."""
    student = {"kind": "student", "path": str(path.parent / "student")}
    path.write_text(json.dumps({STUDENT: student, MINILM_NAME: {"kind": "discriminator", "path": str(MINILM)}}))


def spec_of(dataset: str, **changes: Any) -> dict[str, Any]:
    """A job with three terms."""
    return {
        "student": STUDENT,
        "dataset_mix": [{"dataset": dataset}],
        "alpha": 0.3,
        "lambda_adv": 0.01,
        "grpo": {"group_size": 4},
        "rollout": {"max_new_tokens": 12},
        "optimizer": {"learning_rate": 1e-3},
        "schedule": LONG,
        "reward": {"processes": 1},
        "seed": 7,
        **changes,
    }


class Caller:
    """Sends requests to the service, and keeps those that have an idempotency key."""

    def __init__(self, url: str, data: Path) -> None:
        self._http = httpx.Client(base_url=url, headers=key_of(data), timeout=60, trust_env=False)
        self.posts: list[dict[str, Any]] = []

    def get(self, path: str) -> Any:
        """The JSON of an answer."""
        return self._http.get(path).raise_for_status().json()

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """Send JSON."""
        return self._http.request(method, path, json=body).raise_for_status().json()

    def post_once(self, path: str, content: str, kind: str, key: str) -> Any:
        """POST with an idempotency key."""
        headers = {"content-type": kind, "idempotency-key": key}
        answer = self._http.post(path, content=content, headers=headers).raise_for_status()
        sent = {"path": path, "headers": headers, "content": content}
        self.posts.append({**sent, "status": answer.status_code, "json": answer.json()})
        return answer.json()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def run_jobs(data: Path) -> list[dict[str, Any]]:
    """Fill a data folder; returns the requests that had an idempotency key."""
    service = service_over(data)
    try:
        service.start()
        caller = Caller(service.url, data)
        rows = "".join(json.dumps(row) + "\n" for row in ROWS)
        dataset = caller.post_once("/datasets?name=rows", rows, "application/jsonl", "upload-1")["id"]
        caller.send("PUT", f"/secrets/{SECRET_NAME}", {"value": SECRET})
        succeed(caller, dataset)
        fail(caller, dataset)
        cancel(caller, dataset)
        pause(caller, dataset)
        lose_worker(caller, service, dataset)
        waiting = caller.send("POST", "/jobs", spec_of(dataset, name="queued", schedule={**LONG, "steps": 3}))
        expect(waiting["state"] == "queued", "the last job was taken although the worker is dead")
        caller.close()
    finally:
        service.stop(grace_s=10)
    return caller.posts


def succeed(caller: Caller, dataset: str) -> None:
    """A job with evaluation, samples and two checkpoints, one of which has an alias."""
    changes = {
        "name": "succeeded",
        "tags": {"purpose": "fixture"},
        "schedule": {**LONG, "steps": 4, "checkpoint_every": 2, "eval_every": 4},
        "evaluation": {"dataset": dataset, "rows": 3, "samples": 2, "profile_completions": 1},
    }
    content = json.dumps(spec_of(dataset, **changes))
    job = caller.post_once("/jobs", content, "application/json", "job-1")["id"]
    wait_for(lambda: caller.get(f"/jobs/{job}")["state"] == "succeeded")
    newest = caller.get(f"/jobs/{job}/checkpoints")["data"][0]
    caller.send("PUT", "/aliases/best", {"checkpoint_id": newest["id"], "version": 0})


def fail(caller: Caller, dataset: str) -> None:
    """A job whose rows are all too long."""
    job = caller.send("POST", "/jobs", spec_of(dataset, name="failed", data={"max_prompt_tokens": 2}))["id"]
    wait_for(lambda: caller.get(f"/jobs/{job}")["state"] == "failed")


def cancel(caller: Caller, dataset: str) -> None:
    """A job that is cancelled while it trains."""
    job = caller.send("POST", "/jobs", spec_of(dataset, name="cancelled", schedule={**LONG, "steps": 1000}))["id"]
    wait_for(lambda: caller.get(f"/jobs/{job}")["step"] >= 1)
    caller.send("POST", f"/jobs/{job}/cancel")
    wait_for(lambda: caller.get(f"/jobs/{job}")["state"] == "cancelled")


def pause(caller: Caller, dataset: str) -> None:
    """A job that is paused in the middle: its checkpoint holds weights and optimizer."""
    schedule = {**LONG, "checkpoint_every": 1000}
    job = caller.send("POST", "/jobs", spec_of(dataset, name="paused", schedule=schedule))["id"]
    wait_for(lambda: caller.get(f"/jobs/{job}")["step"] >= 2)
    caller.send("POST", f"/jobs/{job}/pause")
    wait_for(lambda: caller.get(f"/jobs/{job}")["state"] not in ("running", "finalizing"))
    expect(caller.get(f"/jobs/{job}")["state"] == "paused", "the job was finished before it could be paused")


def lose_worker(caller: Caller, service: EmbeddedService, dataset: str) -> None:
    """A job with adapters and a learned discriminator whose worker is frozen, and killed some steps later.

    The trainer has then written reports and a checkpoint that the database does not know.
    """
    changes = {
        "name": "killed",
        "lora": {"rank": 2},
        "discriminator": {"type": "learned", "warmup_steps": 1, "batch_size": 2},
    }
    job = caller.send("POST", "/jobs", spec_of(dataset, **changes))["id"]
    wait_for(lambda: caller.get(f"/jobs/{job}")["step"] >= 1)
    os.kill(service.pid("worker"), signal.SIGSTOP)
    known = len(caller.get(f"/jobs/{job}/checkpoints")["data"])
    reports = service.data_dir / "jobs" / job / "fence-1" / "reports.jsonl"
    wait_for(lambda: sum(kind == "checkpoint" for kind in kinds(reports)) > known and kinds(reports)[-1] == "metric")
    os.kill(service.pid("worker"), signal.SIGKILL)
    time.sleep(2)  # the trainer dies with its worker
    steps = caller.get(f"/jobs/{job}")["step"]
    expect(steps < LONG["steps"] > len(kinds(reports)), "the job was finished before its worker could be killed")


def kinds(reports: Path) -> list[str]:
    """The kinds of the reports so far."""
    return [json.loads(line)["kind"] for line in reports.read_text().split("\n")[:-1]]


def run_uninterrupted(here: Path) -> None:
    """Train with the paused job's spec without the service and without a pause."""
    spec = next(spec for spec in map(json.loads, specs(here / "data")) if spec["name"] == "paused")
    dataset = spec["dataset_mix"][0]["dataset"]
    models = {STUDENT: {"path": str(here / "student")}, MINILM_NAME: {"path": str(MINILM)}}
    run = {
        "spec": spec,
        "run_dir": str(here / "whole"),
        "datasets": {dataset: str(here / "data" / "datasets" / f"{dataset}.jsonl")},
        "models": models,
    }
    (here / "whole.json").write_text(json.dumps(run))
    ended = train(here / "whole.json")
    expect(ended.returncode == 0, ended.stderr)


def specs(data: Path) -> list[str]:
    """Specs of all jobs, as they are stored."""
    with closing(sqlite3.connect(data / "uniapl.db")) as database:
        return [row[0] for row in database.execute("SELECT spec FROM jobs")]


def collect(here: Path, target: Path) -> None:
    """Copy what is kept."""
    shutil.copytree(here / "student", target / "student")
    shutil.copy(here / "models.json", target)
    shutil.copy(here / "whole" / "reports.jsonl", target / "uninterrupted.jsonl")
    left_out = shutil.ignore_patterns("broker", "logs", "uniapl.db*", "migrate.lock", "sidecars", "teacher_cache", ".*")
    shutil.copytree(here / "data", target / "data", ignore=left_out)
    for picture in target.glob("data/jobs/*/*/profile/*.png"):
        picture.unlink()
    with closing(sqlite3.connect(here / "data" / "uniapl.db")) as database:
        database.execute("UPDATE attempts SET host = 'host', boot_id = 'boot'")
        database.execute("UPDATE workers SET host = 'host', started_at = started_at - 86400, seen_at = seen_at - 86400")
        (target / "uniapl.sql").write_text("\n".join(database.iterdump()) + "\n")


def mask_all(target: Path, here: Path) -> None:
    """Put marks in place of paths in every text."""
    for path in texts(target):
        path.write_text(masked(path.read_text(), here))


def record(data: Path) -> Iterator[dict[str, Any]]:
    """Every GET of the API over the restored data, with its answer."""
    with served(data) as client:
        for path in list(paths(client)):
            yield record_one(client, path, "application/json")
        finished = next(job["id"] for job in client.get("/jobs").json()["data"] if job["state"] == "succeeded")
        yield record_one(client, f"/jobs/{finished}/events", "text/event-stream")


def record_one(client: httpx.Client, path: str, accept: str) -> dict[str, Any]:
    """One GET with its answer."""
    answer = client.get(path, headers={"accept": accept})
    return {"path": path, "accept": accept, "status": answer.status_code, "body": body_of(answer)}


def paths(client: httpx.Client) -> Iterator[str]:
    """What is asked for."""

    def ids(path: str) -> list[str]:
        return [item["id"] for item in client.get(path).raise_for_status().json()["data"]]

    yield from ("/models", "/jobs", "/jobs?limit=2", "/datasets", "/aliases", "/aliases/best", "/secrets")
    yield from ("/v1/files", "/v1/fine_tuning/jobs", "/jobs/job_unknown")
    for dataset in ids("/datasets"):
        yield from (f"/datasets/{dataset}{part}" for part in ("", "/preview?rows=3", f"/statistics?student={STUDENT}"))
        yield from (f"/v1/files/{dataset}{part}" for part in ("", "/content"))
    for job in ids("/jobs"):
        yield from (f"/jobs/{job}{part}" for part in ("", "/events", "/metrics", "/samples", "/checkpoints", "/logs"))
        yield from (f"/v1/fine_tuning/jobs/{job}{part}" for part in ("", "/events", "/checkpoints"))
        for checkpoint in ids(f"/jobs/{job}/checkpoints"):
            yield from (f"/checkpoints/{checkpoint}{part}" for part in ("", "/files/manifest.json"))


def write_lines(path: Path, values: Any, here: Path) -> None:
    """JSON Lines with marks in place of paths."""
    path.write_text("".join(masked(json.dumps(value), here) + "\n" for value in values))


def check(target: Path) -> None:
    """Refuse fixtures that name this machine, or lack what the tests need."""
    for path in target.rglob("*"):
        if path.is_file():
            expect(str(ROOT).encode() not in path.read_bytes(), f"{path} names a path of this machine")
    states = {body["state"] for body in lines_of(target / "answers.jsonl")[1]["body"]["data"]}
    expect(states == {"succeeded", "failed", "cancelled", "paused", "running", "queued"}, f"states: {states}")
    print(sum(path.stat().st_size for path in target.rglob("*") if path.is_file()), "bytes")


def expect(true: bool, message: str) -> None:
    """Stop with a message when something did not turn out as wanted."""
    if not true:
        raise RuntimeError(message)


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once the condition holds."""
    deadline = time.monotonic() + 120
    while not condition():
        expect(time.monotonic() < deadline, "it did not happen in time")
        time.sleep(0.02)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
