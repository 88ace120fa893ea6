"""A canary secret, given to the real service for jobs whose teacher does its worst to spread it, appears nowhere."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest

from embedded.service import EmbeddedService
from tests.e2e.conftest import IMPATIENT, wait_for
from tests.uniapl.teachers.openai_server import Reply, Teacher, completion

pytestmark = pytest.mark.full

RANDOM = secrets.token_hex(24)
CANARY = f'sk-canary-"{RANDOM}'
"""With a character that JSON escapes."""
TRACES = {
    "as it is": RANDOM[:16].encode(),  # a part of it: texts may have been cut
    "reversed": RANDOM[::-1].encode(),
    "in base 64": base64.b64encode(CANARY.encode())[4:-4],
    "in base 64 after `Bearer `": base64.b64encode(f"Bearer {CANARY}".encode())[4:-4],
    "quoted": quote(CANARY, safe="").encode(),
}
REWARD = {"type": "length_band", "unit": "characters", "at_most": 400}


def found_in(content: bytes) -> list[str]:
    """In which forms the canary is there."""
    return [form for form, trace in TRACES.items() if trace in content]


class Watch(threading.Thread):
    """Reads the arguments and environments of the service's processes, again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.done = threading.Event()
        self.leaks: set[str] = set()
        self.trainers = 0
        """Processes that were seen which had a secret handed over."""

    def run(self) -> None:
        while not self.done.wait(0.5):
            for process in psutil.Process().children(recursive=True):
                for name in ("cmdline", "environ"):
                    try:
                        content = Path(f"/proc/{process.pid}/{name}").read_bytes()
                    except OSError:
                        continue
                    self.trainers += name == "cmdline" and b"--secrets-stdin" in content
                    self.leaks |= {f"{name} of {process.pid}: {form}" for form in found_in(content)}


def reply(server: Teacher) -> Reply:
    """Repeats the key in headers and bodies; what else it does, the model's name says."""
    given = server.headers[-1]["Authorization"]
    echo = {"X-Echo": given, "WWW-Authenticate": f'Bearer error="{given}"'}
    known = {"error": {"message": f"what is {given}, or rather {given!r}?"}}
    match server.asked[-1]["model"]:
        case "hesitates" if len(server.asked) % 2:
            return Reply(500, known, echo)
        case "refuses":
            return Reply(401, known, echo)
    answer = completion("A plain answer.")
    answer.headers |= echo
    return answer


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    server = Teacher()
    server.reply = lambda *_: reply(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def spec(teacher: Teacher, dataset: str, model: str) -> dict[str, Any]:
    return {
        "student": "tiny-random-llama",
        "dataset_mix": [{"dataset": dataset}],
        "alpha": 0.5,
        "lambda_adv": 0,
        "grpo": {"group_size": 2},
        "rollout": {"max_new_tokens": 8},
        "schedule": {"steps": 2, "prompts_per_step": 2, "checkpoint_every": 1, "eval_every": 1},
        "evaluation": {"dataset": dataset, "rows": 2, "samples": 2},
        "teacher": {
            "type": "openai",
            "base_url": teacher.url,
            "model": model,
            "api_key_secret": "canary",
            "concurrency": 1,
            "max_retries": 2,
        },
    }


def everything_told(http: httpx.Client, job_id: str) -> Iterator[tuple[str, bytes]]:
    """Every answer about a job, and those about everything."""
    paths = ["", "/events", "/metrics", "/samples", "/logs", "/checkpoints"]
    urls = [f"/jobs/{job_id}{path}" for path in paths]
    urls += ["/jobs", "/secrets", "/datasets", "/models", "/metrics", "/openapi.json", "/aliases"]
    urls += [f"/v1/fine_tuning/jobs{path}" for path in ("", f"/{job_id}", f"/{job_id}/events")]
    for url in urls:
        answer = http.get(url)
        assert answer.status_code == 200, (url, answer.text)
        yield url, answer.content + repr(answer.headers.multi_items()).encode()
    stream = http.get(f"/jobs/{job_id}/events", headers={"accept": "text/event-stream"})
    yield "stream", stream.content


def test_a_canary_secret_appears_nowhere(teacher: Teacher, tmp_path: Path) -> None:
    environment = {**IMPATIENT, "UNIAPL_TEACHER_URLS": json.dumps([teacher.url])}
    watch = Watch()
    watch.start()
    leaks: list[str] = []
    ends: dict[str, Any] = {}
    with EmbeddedService(tmp_path, host="127.0.0.2", environment=environment) as service:
        headers = {"authorization": f"Bearer {service.api_key}"}
        with httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=60) as http:
            leaks += found_in(http.put("/secrets/canary", json={"value": CANARY}).raise_for_status().content)
            rows = [{"messages": [{"role": "user", "content": f"Say {i}."}], "reward": REWARD} for i in range(3)]
            body = "\n".join(map(json.dumps, rows))
            dataset = http.post("/datasets", params={"name": "rows"}, content=body).raise_for_status().json()["id"]
            for model in ("hesitates", "refuses"):
                job_id = http.post("/jobs", json=spec(teacher, dataset, model)).raise_for_status().json()["id"]
                wait_for(lambda j=job_id: http.get(f"/jobs/{j}").json()["finished_at"], timeout_s=300)
                ends[model] = http.get(f"/jobs/{job_id}").json()
                for place, content in everything_told(http, job_id):
                    leaks += [f"{place} of {model}: {form}" for form in found_in(content)]
        watch.done.set()
        watch.join()
        leaks += files_with_it(tmp_path)
    leaks += files_with_it(tmp_path)  # again: the last to close the database moves its log into it

    assert leaks == []
    assert watch.leaks == set()
    assert watch.trainers > 0
    assert {header["Authorization"] for header in teacher.headers} == {f"Bearer {CANARY}"}
    assert {model: end["state"] for model, end in ends.items()} == {"hesitates": "succeeded", "refuses": "failed"}
    assert "Bearer [secret]" in ends["refuses"]["error"]["message"]
    assert ends["refuses"]["error"]["param"] == "teacher.api_key_secret"


def files_with_it(folder: Path) -> list[str]:
    """The service's logs, the database and its write-ahead log, checkpoints and all else in the data folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"uniapl.db", "api.log", "worker.log", "trainer.log", "reports.jsonl", "model.safetensors"} <= names
    return [f"{path.relative_to(folder)}: {form}" for path in files for form in found_in(path.read_bytes())]
