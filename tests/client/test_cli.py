"""The command line against a scripted service."""

from __future__ import annotations

import hashlib
import json
import resource
import signal
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from uniapl_client.cli import main

from tests.client.scripted import Answer, Request, estimate, event, in_turn, job, problem, serving, validation
from tests.client.test_resources import ERROR, ROW, STATISTICS, page
from tests.client.test_streams import END, log_script, sse
from tests.client.test_transfers import CONTENT, checkpoint, files

pytestmark = pytest.mark.integration

UNIAPL = [sys.executable, "-c", "from uniapl_client.cli import main; main()"]
WRONG = (("alpha", "less"), (None, None))
SPEC = {"student": "tiny", "dataset_mix": [{"dataset": "ds_1"}]}


class Shown(NamedTuple):
    stdout: str
    stderr: str
    returncode: int


def uniapl(url: str, *arguments: str) -> Shown:
    """What the command prints, and its exit status; in this process, which has loaded everything already."""
    done = CliRunner(env={"UNIAPL_URL": url, "COLUMNS": "80"}).invoke(main, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Shown(done.stdout, done.stderr, done.exit_code)


@pytest.mark.parametrize("arguments", [["--help"], ["submit", "--help"], ["datasets", "upload", "--help"]])
def test_help_takes_less_than_300_ms_and_loads_little(arguments: list[str]) -> None:
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*UNIAPL, *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert statistics.median(seconds) < 0.3  # of the processor: the tests beside this one take the clock's
    heavy = "{'httpx', 'pydantic', 'rich', 'anyio', 'asyncio'} & set(sys.modules)"
    code = (
        f"import sys\nfrom uniapl_client.cli import main\nmain({arguments}, standalone_mode=False)\nassert not {heavy}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_command_of_the_issue_is_there() -> None:
    shown = uniapl("", "--help").stdout
    wanted = "submit jobs show logs metrics download cancel pause resume estimate validate datasets admin"
    assert {line.split()[0] for line in shown.partition("Commands:")[2].splitlines() if line} >= set(wanted.split())


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(SPEC))
    return str(path)


def test_jobs_and_a_job_come_as_text_and_as_json() -> None:
    with serving(in_turn(page(job(id="job_2"), job()))) as server:
        assert uniapl(server.url, "jobs").stdout.splitlines()[1].split()[:3] == ["job_2", "running", "1/4"]
        listed = json.loads(uniapl(server.url, "jobs", "--json", "--limit", "1").stdout)
        assert [j["id"] for j in listed["data"]] == ["job_2"]
        assert json.loads(uniapl(server.url, "--json", "jobs").stdout)["data"][1]["id"] == "job_1"
    with serving(in_turn(Answer(job("failed", error=ERROR)))) as server:
        assert json.loads(uniapl(server.url, "show", "job_1", "--json").stdout)["error"]["code"] == "out_of_memory"


@pytest.mark.parametrize(
    ("command", "states", "text"),
    [
        ("cancel", "cancelled", "job_1 cancelled"),
        ("cancel", "running", "job_1 cancelling"),
        ("pause", "paused", "job_1 paused"),
        ("resume", "queued", "job_1 queued"),
    ],
)
def test_intents_are_answered(command: str, states: str, text: str) -> None:
    with serving(in_turn(Answer(job(states)))) as server:
        assert uniapl(server.url, command, "job_1").stdout.strip() == text
        assert json.loads(uniapl(server.url, command, "job_1", "--json").stdout)["state"] == states
        assert {(r.method, r.path) for r in server.seen} == {("POST", f"/jobs/job_1/{command}")}


def watched(state: str) -> Any:
    """A script of a job with two events and a terminal state."""

    def script(request: Request) -> Answer:
        if request.headers["accept"] == "text/event-stream":
            return sse(event(1), event(2, state=state), end=END)
        if request.path.endswith(("/events", "/metrics", "/checkpoints")):
            return page(*[checkpoint()] if request.path.endswith("/checkpoints") else [])
        return Answer(job("queued" if request.method == "POST" else state, error=ERROR if state == "failed" else None))

    return script


@pytest.mark.parametrize(("state", "status"), [("succeeded", 0), ("failed", 3), ("cancelled", 4)])
def test_submit_and_watch_end_as_the_job_does(spec: str, state: str, status: int) -> None:
    with serving(watched(state)) as server:
        shown = uniapl(server.url, "submit", spec, "--watch")
        output = uniapl(server.url, "submit", spec, "--watch", "--json", "--idempotency-key", "mine")
        posted = [r.headers["idempotency-key"] for r in server.seen if r.method == "POST"]
    assert (shown.returncode, output.returncode) == (status, status)
    assert shown.stdout.splitlines()[0] == "job_1"
    lines = [json.loads(line) for line in output.stdout.splitlines()]
    assert [line["object"] for line in lines][:3] == ["job", "job.event", "job.event"]
    assert posted[1] == "mine"
    if state == "succeeded":
        assert lines[3]["state"] == "succeeded"
        assert "newest checkpoint: ckpt_1" in shown.stdout
    else:
        assert "job job_1" in shown.stderr
        assert json.loads(output.stderr)["error"]["type"] == "JobFailed"


def test_errors_are_lines_or_json_and_have_their_statuses(spec: str, tmp_path: Path) -> None:
    answer = problem(422, "invalid_request", param="alpha", x_request_id="req_1")
    with serving(in_turn(answer)) as server:
        shown = uniapl(server.url, "submit", spec)
        assert (shown.returncode, shown.stdout) == (1, "")
        assert shown.stderr == "error: invalid_request happened (invalid_request, request req_1)\n  param=alpha\n"
        output = json.loads(uniapl(server.url, "submit", spec, "--json").stderr)["error"]
    assert output["type"] == "InvalidRequestError"
    assert (output["code"], output["param"], output["status"], output["request_id"]) == (
        "invalid_request",
        "alpha",
        422,
        "req_1",
    )
    nobody = uniapl("http://127.0.0.1:9", "jobs", "--json")
    assert (nobody.returncode, json.loads(nobody.stderr)["error"]["code"]) == (5, "connection_error")
    usage = uniapl("", "show", "--json")
    assert (usage.returncode, json.loads(usage.stderr)["error"]["type"]) == (2, "MissingParameter")
    assert uniapl("", "show").returncode == 2
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({**SPEC, "alpha": 2}))
    invalid = uniapl("http://127.0.0.1:9", "submit", str(bad), "--json")
    assert json.loads(invalid.stderr)["error"]["code"] == "invalid_spec"


def test_a_spec_is_validated_and_estimated(spec: str) -> None:
    problems = [{"param": param, "code": "invalid_spec", "message": "bad", "hint": hint} for param, hint in WRONG]
    with serving(in_turn(Answer(validation(*problems, warnings=["tight"])))) as server:
        shown = uniapl(server.url, "validate", spec)
        assert (shown.returncode, shown.stdout) == (1, "alpha: bad\n  less\nspec: bad\nwarning: tight\ninvalid\n")
        assert json.loads(uniapl(server.url, "validate", spec, "--json").stdout)["valid"] is False
    with serving(in_turn(Answer(estimate()))) as server:
        lines = [line.split() for line in uniapl(server.url, "estimate", spec).stdout.splitlines()]
        assert json.loads(uniapl(server.url, "estimate", spec, "--json").stdout)["memory"]["total"]["low"] == 10**9
    assert lines[0] == ["fits:", "it", "does"]
    assert ["both", "201", "9,000", "5,000", "0.25", "10%"] in lines
    assert ["weights", "1.00", "2.00", "3.00"] in lines
    assert ["rollout", "server", "1.00", "2.00", "3.00"] in lines
    assert ["total", "1.00", "2.00", "3.00"] in lines
    assert " ".join(lines[-1]) == "2.5 s per step, 0:00:10 in total; measured"
    rough = {**estimate(), "time": {"step_s": 2.5, "total_s": 10.0, "basis": "rough: by cores", "rough": True}}
    with serving(in_turn(Answer(rough))) as server:
        shown = uniapl(server.url, "estimate", spec).stdout
        assert shown.endswith("about 2.5 s per step, 0:00:10 in total; rough: by cores\n")
    unknown = {**estimate(), "memory": None, "time": {"step_s": None, "total_s": None, "basis": "unknown: no worker"}}
    with serving(in_turn(Answer(unknown))) as server:
        assert uniapl(server.url, "estimate", spec).stdout.endswith("time: unknown: no worker\n")


def test_logs_come_as_they_are_or_as_lines_of_json() -> None:
    with serving(log_script([(2, "running", 99)])) as server:
        assert uniapl(server.url, "logs", "job_1").stdout == "second attempt\n"
        assert uniapl(server.url, "logs", "job_1", "--attempt", "1", "--tail", "6").stdout == "badly\n"
    with serving(log_script([(1, "running", 9), (2, "succeeded", 6)])) as server:
        shown = uniapl(server.url, "logs", "-f", "job_1", "--json").stdout
    lines = [json.loads(line)["line"] for line in shown.splitlines()]
    assert lines == ["first attempt", "ended badly", "second"]


def test_metrics_are_printed_told_and_drawn() -> None:
    points = [{"name": "reward", "step": step, "value": step / 10} for step in range(1, 41)]
    points += [{"name": "loss", "step": 1, "value": 0.5}]
    with serving(in_turn(page(*points))) as server:
        assert uniapl(server.url, "metrics", "job_1").stdout.splitlines()[0].split() == ["1", "reward", "0.1"]
        assert json.loads(uniapl(server.url, "metrics", "job_1", "--json").stdout)["data"][3]["value"] == 0.4
        drawn = uniapl(server.url, "metrics", "job_1", "--plot", "--names", "reward,loss").stdout.splitlines()
        assert server.seen[-1].query["names"] == "reward,loss"
    assert drawn[0] == "reward  (last 4)"
    assert drawn[1].split(" ┤")[0].strip() == "4"
    assert drawn[6].split(" ┤")[0].strip() == "0.1"
    assert drawn[7].split() == ["step", "1", "40"]
    curve = [row.partition("┤")[2] for row in drawn[1:7]]
    inked = [[i for i, cell in enumerate(row) if cell != "\u2800"] for row in curve]
    assert all(low[-1] <= high[0] for high, low in pairwise(inked))  # it rises from left to right
    assert inked[0][-1] == len(curve[0]) - 1
    assert "loss  (last 0.5)" in drawn


def test_what_is_not_a_number_is_not_drawn() -> None:
    from uniapl_client.cli.plot import draw

    assert draw("loss", [(1, float("nan"))], 80) == "loss: no finite values"
    assert draw("loss", [(1, 1.0), (2, float("inf")), (3, 1.0)], 80).startswith("loss  (last 1)")


def test_download_takes_a_job_or_a_checkpoint(tmp_path: Path) -> None:
    whole = files()

    def script(request: Request) -> Answer:
        return page(checkpoint()) if request.path == "/jobs/job_1/checkpoints" else whole(request)

    with serving(script) as server:
        for name in ("job_1", "ckpt_1"):
            shown = uniapl(server.url, "download", name, str(tmp_path / name))
            assert shown.stdout == f"ckpt_1 downloaded to {tmp_path / name}\n"
            assert (tmp_path / name / "model.safetensors").read_bytes() == CONTENT
        output = uniapl(server.url, "download", "job_1", str(tmp_path / "job_1"), "--json")
        assert json.loads(output.stdout)["id"] == "ckpt_1"


DATASET = {"id": "ds_9", "name": "rows", "rows": 1, "references": 0, "rewards": 0, "created_at": 1.0, "bytes": 3}


UNREAD = "rows: field source is ignored (in 1 of 1 rows)"


def test_datasets_are_uploaded_listed_and_looked_into(tmp_path: Path) -> None:
    dataset = {**DATASET, "sha256": "0", "ignored_fields": {"source": 1}}
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n")

    def script(request: Request) -> Answer:
        if request.path.endswith("/preview"):
            return page(ROW)
        if request.path.endswith("/statistics"):
            return Answer(STATISTICS)
        if request.method == "DELETE":
            return Answer(status=204)
        listed = request.method == "GET" and request.path == "/datasets"
        return page(dataset) if listed else Answer(dataset)

    with serving(script) as server:
        assert uniapl(server.url, "datasets", "upload", str(path)).stdout == "ds_9\n"
        assert uniapl(server.url, "datasets", "upload", str(path)).stderr.splitlines()[-1] == UNREAD
        sent = json.loads(uniapl(server.url, "datasets", "upload", str(path), "--json").stdout)
        assert (sent["id"], sent["ignored_fields"]) == ("ds_9", {"source": 1})
        assert "ds_9" in uniapl(server.url, "datasets", "list").stdout
        assert json.loads(uniapl(server.url, "datasets", "list", "--json").stdout)["data"][0]["id"] == "ds_9"
        assert uniapl(server.url, "datasets", "show", "ds_9").stdout.splitlines()[0].split() == ["id", "ds_9"]
        assert "hello" in uniapl(server.url, "datasets", "preview", "ds_9", "--rows", "1").stdout
        assert json.loads(uniapl(server.url, "datasets", "preview", "ds_9", "--json").stdout)["data"][0]["messages"]
        assert "greeting" in uniapl(server.url, "datasets", "statistics", "ds_9").stdout
        assert uniapl(server.url, "datasets", "delete", "ds_9").stdout == "ds_9 deleted\n"
        assert server.seen[-1].method == "DELETE"


READ_AS = "rows: rows by format: 1 GSM8K; fields are used as follows: q as messages; a as reference and reward.math"


def test_a_mapping_is_sent_and_a_dry_run_stores_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n")
    found = {
        **{"rows": 1, "references": 1, "rewards": 1, "ignored_fields": {"source": 1}, "recognised": {"GSM8K": 1}},
        **{"mapping": {"q": ["messages"], "a": ["reference", "reward.math"]}, "data": [ROW]},
    }
    answers = {"/datasets/preview": found, "/datasets": {**DATASET, "sha256": "0"}}
    with serving(lambda request: Answer(answers[request.path])) as server:
        pairs = ("--map", "a:reference", "--map", "a:reward.math", "--map", "q:prompt")
        shown = uniapl(server.url, "datasets", "upload", str(path), *pairs, "--dry-run")
        assert "hello" in shown.stdout
        assert shown.stderr.splitlines()[-2:] == [READ_AS, UNREAD]
        uniapl(server.url, "datasets", "upload", str(path), *pairs)
        assert [request.path for request in server.seen] == ["/datasets/preview", "/datasets"]
        assert [request.query["map"] for request in server.seen] == ["a:reference,a:reward.math,q:prompt"] * 2
        wrong = uniapl(server.url, "datasets", "upload", str(path), "--map", "answer")
        assert "'answer' is not FIELD:TARGET" in wrong.stderr


def test_a_secret_is_read_from_standard_input_and_never_shown() -> None:
    bodies: list[bytes] = []

    def script(request: Request) -> Answer:
        bodies.append(request.body)
        secret = {"name": "big", "updated_at": 1.0}
        if request.method == "DELETE":
            return Answer(status=204)
        return Answer(secret) if request.method == "PUT" else page(secret)

    with serving(script) as server:
        command = [*UNIAPL, "--url", server.url, "secrets", "set", "big"]
        stored = subprocess.run(command, input="s3cr3t-value\n", capture_output=True, text=True, check=True)
        assert json.loads(bodies[0]) == {"value": "s3cr3t-value"}
        assert stored.stdout == "big stored; use it in a spec as teacher.api_key_secret\n"
        assert uniapl(server.url, "secrets", "list").stdout == "big\n"
        assert uniapl(server.url, "secrets", "delete", "big").stdout == "big deleted\n"


def test_a_file_that_a_spec_names_is_sent_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "spec.json").write_text(json.dumps({**SPEC, "dataset_mix": [{"dataset": "rows.jsonl"}]}))
    stored: list[dict[str, Any]] = []

    def script(request: Request) -> Answer:
        if request.path == "/jobs":
            return Answer(job())
        if request.method == "GET":
            return page(*stored)
        stored.append({**DATASET, "sha256": hashlib.sha256(request.body).hexdigest()})
        return Answer(stored[-1])

    with serving(script) as server:
        for _ in range(2):
            assert uniapl(server.url, "submit", "spec.json").returncode == 0
    assert len(stored) == 1


def test_a_file_is_looked_for_beside_the_spec_and_then_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, here = tmp_path / "beside", tmp_path / "here"
    for folder in (beside, here):
        folder.mkdir()
    mix = [{"dataset": "rows.jsonl"}, {"dataset": "data/rows.jsonl"}, {"dataset": "ds_1"}]
    (beside / "spec.json").write_text(json.dumps({**SPEC, "dataset_mix": mix}))
    (beside / "rows.jsonl").write_text("beside")
    (here / "rows.jsonl").write_text("here")
    monkeypatch.chdir(here)
    sent: list[bytes] = []

    def script(request: Request) -> Answer:
        if request.path == "/jobs":
            sent.append(request.body)
            return Answer(job())
        if request.method == "GET":
            return page()
        sent.append(request.body)
        return Answer({**DATASET, "id": f"ds_{sent[-1].decode()}", "sha256": hashlib.sha256(sent[-1]).hexdigest()})

    with serving(script) as server:
        shown = uniapl(server.url, "submit", "../beside/spec.json")
        assert (shown.returncode, server.seen, sent) == (1, [], [])
        assert "dataset_mix.1.dataset: cannot read dataset data/rows.jsonl: no file at" in shown.stderr
        assert str(here / "data/rows.jsonl") in shown.stderr
        assert "beside/data/rows.jsonl" in shown.stderr
        (here / "data").mkdir()
        (here / "data/rows.jsonl").write_text("data")
        assert uniapl(server.url, "submit", "../beside/spec.json").returncode == 0
    posted = [entry["dataset"] for entry in json.loads(sent[-1])["dataset_mix"]]
    assert posted == ["ds_beside", "ds_data", "ds_1"]


def test_a_watched_job_has_a_line_for_each_step_with_its_weighted_terms(spec: str) -> None:
    values = {"loss": 0.9, "uniapl/alpha": 0.5, "uniapl/loss_sft": 2.0, "uniapl/loss_grpo": -0.2, "step_time": 2.5}
    points = [{"step": 1, "name": name, "value": value} for name, value in values.items()]
    end = watched("succeeded")

    def script(request: Request) -> Answer:
        if request.path.endswith("/metrics"):
            return page(*points) if request.query.get("since_step", "0") == "0" else page()
        return end(request)

    with serving(script) as server:
        lines = uniapl(server.url, "submit", spec, "--watch").stdout.splitlines()
    assert "step    1/4  loss 0.9  sft 1  grpo -0.1  2.5 s" in lines


def test_an_interrupted_watch_says_that_the_job_goes_on(spec: str) -> None:
    with serving(watched("running")) as server:
        command = [*UNIAPL, "--url", server.url, "submit", spec, "--watch"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "job_1\n"
        while len(server.seen) < 3:  # it watches
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=30)
    assert (process.returncode, output) == (
        130,
        "the job continues; to show it: uniapl show job_1; to cancel it: uniapl cancel job_1\n",
    )
