"""Data of commit d30f0e2 under the current code: database, API answers, run directories, checkpoints, secrets.

A field that the old API answered must be answered with the same value; further fields may come. Prose that is written
when it is asked for (`queue_reason`, the messages of errors) is not compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compatibility.old_data import (
    ROOT,
    SECRET,
    SECRET_NAME,
    body_of,
    key_of,
    lines_of,
    restored,
    served,
    service_over,
    train,
    unmasked,
)

pytestmark = pytest.mark.integration

FIXTURES = Path(__file__).parent / "d30f0e2"
ANSWERS: list[dict[str, Any]] = lines_of(FIXTURES / "answers.jsonl")
POSTS: list[dict[str, Any]] = lines_of(FIXTURES / "posts.jsonl")
PROSE = {"queue_reason"}
MEASURED = ("time/", "step_time", "memory/", "tokens_per_s")
"""Beginnings of the names of metrics that depend on the machine."""
JOBS: dict[str, dict[str, Any]] = {
    job["name"]: job for answer in ANSWERS if answer["path"] == "/jobs" for job in answer["body"]["data"]
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder, with its database upgraded."""
    folder = restored(FIXTURES, tmp_path_factory.mktemp("old"))
    assert migrate(folder, "upgrade") == 0
    return folder


@pytest.fixture(scope="module")
def client(data: Path) -> Iterator[httpx.Client]:
    """The current API over the old data, with the old key."""
    with served(data) as client:
        yield client


def migrate(data: Path, action: str) -> int:
    """Exit status of `python -m admin db upgrade` or `check`."""
    own = {"UNIAPL_DATA_DIR": str(data), "UNIAPL_DATABASE_URL": "", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "admin", "db", action]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **own}, check=False, timeout=60).returncode


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Where the new answer lacks something of the old one, or has another value."""
    if isinstance(old, dict) and isinstance(new, dict):
        lacking = [f"{place}.{name}: missing" for name in old if name not in new]
        common = [name for name in old if name in new and name not in PROSE]
        return lacking + [found for name in common for found in differences(old[name], new[name], f"{place}.{name}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            found for i, pair in enumerate(zip(old, new, strict=True)) for found in differences(*pair, f"{place}[{i}]")
        ]
    return [] if old == new else [f"{place}: {old!r} has become {new!r}"]


def stream_events(text: str) -> list[dict[str, str]]:
    """The fields of each event of a stream, whose order has no meaning; comments are left out."""
    blocks = [[line for line in block.split("\n") if line and line[0] != ":"] for block in text.split("\n\n")]
    return [dict(line.split(": ", 1) for line in block) for block in blocks if block]


def test_a_difference_is_found() -> None:
    old = {"a": [{"b": 1, "queue_reason": "x"}]}
    assert differences(old, {"a": [{"b": 1, "queue_reason": "y", "c": 2}]}) == []
    assert differences(old, {"a": [{"b": 2, "queue_reason": "x"}]}) == [".a[0].b: 1 has become 2"]
    assert differences(old, {"a": [{"queue_reason": "x"}]}) == [".a[0].b: missing"]
    assert len(differences(old, {"a": []})) == 1


def test_the_upgraded_database_is_up_to_date(data: Path) -> None:
    assert migrate(data, "check") == 0


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: f"{answer['path']} {answer['accept'].split('/')[1]}")
def test_the_api_answers_as_before(client: httpx.Client, data: Path, answer: dict[str, Any]) -> None:
    now = client.get(answer["path"], headers={"accept": answer["accept"]})
    assert now.status_code == answer["status"], now.text
    old, new = json.loads(unmasked(json.dumps(answer["body"]), data.parent)), body_of(now)
    if answer["accept"] == "text/event-stream":
        old, new = stream_events(old), stream_events(new)
        assert old
    assert differences(old, new) == []


@pytest.mark.parametrize("post", POSTS, ids=lambda post: post["path"])
def test_a_repeated_post_is_answered_from_the_old_database(client: httpx.Client, post: dict[str, Any]) -> None:
    again = client.post(post["path"], content=post["content"], headers=post["headers"])
    assert (again.status_code, again.headers["idempotency-replayed"]) == (post["status"], "true")
    assert differences(post["json"], again.json()) == []
    other = client.post(post["path"], content=post["content"] + "\n", headers=post["headers"])
    assert (other.status_code, body_of(other)) == (409, {"code": "idempotency_key_reused"})


def test_another_key_does_not_open_the_api(client: httpx.Client) -> None:
    key = client.headers["authorization"]
    for wrong in (key[:-1] + ("a" if key[-1] != "a" else "b"), ""):
        assert client.get("/jobs", headers={"authorization": wrong}).status_code == 401


def test_every_file_of_an_old_checkpoint_can_be_downloaded(client: httpx.Client) -> None:
    (checkpoint, *_) = client.get(f"/jobs/{JOBS['succeeded']['id']}/checkpoints").json()["data"]
    assert {"model.safetensors", "optimizer.safetensors", "config.json"} <= {f["name"] for f in checkpoint["files"]}
    for file in checkpoint["files"]:
        got = client.get(f"/checkpoints/{checkpoint['id']}/files/{file['name']}").raise_for_status()
        assert (len(got.content), got.headers["x-checksum-sha256"]) == (file["bytes"], file["sha256"])


def repeatable(reports: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """By step, the metrics that do not depend on the machine."""
    return {
        r["step"]: {name: value for name, value in r["values"].items() if not name.startswith(MEASURED)}
        for r in reports
        if r["kind"] == "metric"
    }


def test_an_interrupted_run_continues_from_its_checkpoint_as_if_never_interrupted(tmp_path: Path) -> None:
    folder = attempt_of("paused", restored(FIXTURES, tmp_path))
    (checkpoint,) = (folder / "checkpoints").iterdir()
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"resume_from": str(checkpoint)}))
    before = lines_of(folder / "reports.jsonl")

    ended = train(folder / "run.json")
    assert ended.returncode == 0, ended.stderr
    after = lines_of(folder / "reports.jsonl")
    assert after[: len(before)] == before
    assert [report["seq"] for report in after] == list(range(1, len(after) + 1))
    done, steps = JOBS["paused"]["step"], JOBS["paused"]["steps"]
    assert list(repeatable(after[len(before) :])) == list(range(done + 1, steps + 1))
    assert 0 < done < steps
    whole, resumed = repeatable(lines_of(FIXTURES / "uninterrupted.jsonl")), repeatable(after)
    for step, values in whole.items():
        measured = {name: value for name, value in resumed[step].items() if name in values}  # new ones may come
        assert measured == pytest.approx(values, rel=1e-3, abs=1e-5), step


def attempt_of(name: str, data: Path) -> Path:
    """The run directory of a job's only attempt."""
    return data / "jobs" / str(JOBS[name]["id"]) / "fence-1"


def wait_for(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """The first true value."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


class Service:
    """The embedded service over old data, as its user reaches it."""

    def __init__(self, data: Path, **environment: str) -> None:
        self._service = service_over(data, {"UNIAPL_WORKER_SLOTS": "2", **environment})
        self._headers = key_of(data)

    def __enter__(self) -> httpx.Client:
        self._service.__enter__()
        self._client = httpx.Client(base_url=self._service.url, headers=self._headers, timeout=60, trust_env=False)
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._service.stop(grace_s=0)


@pytest.mark.full
def test_old_jobs_run_to_their_end_with_the_old_secret(tmp_path: Path) -> None:
    data = restored(FIXTURES, tmp_path)
    with Teacher() as teacher, Service(data, UNIAPL_TEACHER_URLS=json.dumps([teacher.url])) as client:
        assert_taken_over(client, attempt_of("killed", data))
        client.post(f"/jobs/{JOBS['paused']['id']}/resume").raise_for_status()
        spec = {
            "student": JOBS["queued"]["spec"]["student"],
            "dataset_mix": [{"dataset": unanswered_rows(client)}],
            "alpha": 1,
            "lambda_adv": 0,
            "teacher": {"type": "openai", "base_url": teacher.url, "model": "m", "api_key_secret": SECRET_NAME},
            "schedule": {"steps": 1, "prompts_per_step": 1},
        }
        asking = client.post("/jobs", json=spec).raise_for_status().json()["id"]
        for job in (asking, *(JOBS[name]["id"] for name in ("paused", "killed", "queued"))):
            ended = wait_for(partial(finished, client, job), timeout_s=180)
            assert (ended["state"], ended["step"], ended["error"]) == ("succeeded", ended["steps"], None)
            losses = client.get(f"/jobs/{job}/metrics?names=loss").json()["data"]
            assert [point["step"] for point in losses] == list(range(1, ended["steps"] + 1))
    assert teacher.keys == {f"Bearer {SECRET}"}


def assert_taken_over(client: httpx.Client, attempt: Path) -> None:
    """The API answers the killed attempt's reports and its checkpoint, which the old database does not hold."""
    (checkpoint,) = (attempt / "checkpoints").iterdir()
    saved = int(checkpoint.name.removeprefix("step-"))
    reported = {
        (report["step"], name): value
        for report in lines_of(attempt / "reports.jsonl")
        if report["kind"] == "metric" and report["step"] <= saved
        for name, value in report["values"].items()
    }
    assert JOBS["killed"]["step"] < saved
    path = f"/jobs/{JOBS['killed']['id']}"
    *_, found = wait_for(lambda: client.get(f"{path}/checkpoints").json()["data"])
    assert found["step"] == saved
    points = client.get(f"{path}/metrics").json()["data"]
    assert {(p["step"], p["name"]): p["value"] for p in points if p["step"] <= saved} == reported


def finished(client: httpx.Client, job: str) -> dict[str, Any] | None:
    """The job once it has ended."""
    found: dict[str, Any] = client.get(f"/jobs/{job}").json()
    return found if found["state"] in ("succeeded", "failed", "cancelled") else None


def unanswered_rows(client: httpx.Client) -> str:
    """Upload a row without a reference; returns the dataset's id."""
    row = {"messages": [{"role": "user", "content": "Write about salt."}], "reward": {"type": "regex", "pattern": "a"}}
    return str(client.post("/datasets", content=json.dumps(row)).raise_for_status().json()["id"])


class Teacher(ThreadingHTTPServer):
    """A model server that answers every question alike, and keeps the keys it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.keys: set[str] = set()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Answering(BaseHTTPRequestHandler):
    server: Teacher

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.keys.add(self.headers["authorization"])
        choice = {"message": {"content": "Salt is salty."}, "finish_reason": "stop"}
        body = json.dumps({"choices": [choice], "usage": {"total_tokens": 9}}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""
