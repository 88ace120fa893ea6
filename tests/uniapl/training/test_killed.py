"""SIGKILL and resume: the resumed run ends with the bytes of an uninterrupted one."""

from __future__ import annotations

import json
import random
import shutil
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODELS
from tests.uniapl.killed import Job, kill_after, reports, trained
from tests.uniapl.teachers.openai_server import Reply, Teacher, completion
from tests.uniapl.training.test_train_command import DATA
from uniapl.run import manifest
from uniapl.run.reports import EventReport, MetricReport, SampleReport

pytestmark = pytest.mark.full

STEPS, EPOCH = 9, 4
"""Updates of the run, and updates in which its eight rows come once."""
KILLS, MANY = 50, 120
"""Of the long test: kills, each of which lets the run get a step or two further, and updates."""


def spec(rows: Path, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "student": str(MODELS / "tiny-random-llama"),
        "dataset_mix": [{"dataset": str(rows)}],
        "alpha": {"type": "linear", "start": 0.5, "end": 0.1, "steps": STEPS},
        "lambda_adv": {"type": "warmup", "value": 0.02, "steps": 4},
        "grpo": {"group_size": 2},
        "rollout": {"max_new_tokens": 6},
        "discriminator": {"type": "embedding", "model": str(MODELS / "all-minilm-l6-v2")},
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 3},
        "schedule": {"steps": STEPS, "prompts_per_step": 2, "checkpoint_every": 2, "eval_every": 4},
        "evaluation": {"dataset": str(DATA / "heldout.jsonl"), "rows": 2, "samples": 2, "profile_completions": 1},
        "seed": 5,
    }
    return fields | changes


@dataclass
class Story:
    """A run that was killed, and the same one left alone."""

    killed: Job
    unbroken: Path
    before: dict[Path, tuple[int, int]]
    """Size and time of each file of the attempts that were killed, when the last one began."""
    asked: list[str]
    """Requests to the teacher of the killed run, in order."""


def files(attempts: list[Path]) -> dict[Path, tuple[int, int]]:
    found = [path for attempt in attempts for path in attempt.rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def finish(job: Job) -> None:
    process = job.begin()
    assert process.wait(timeout=300) == 0, job.log()


def with_teacher(folder: Path, moment: random.Random) -> Story:
    """Every term, full weights, schedules; killed during teacher requests, during a save, and twice within an epoch."""
    rows = [json.loads(line) for line in (DATA / "chance.jsonl").read_text().splitlines()]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(r | {"reference": None}) for r in rows[:4]))
    with (folder / "rows.jsonl").open("a") as file:
        file.write("\n" + "\n".join(json.dumps(row) for row in rows[4:]))
    with serving() as teacher, serving() as other:
        # the third question is in flight when the first attempt dies
        teacher.reply = lambda question, n: Reply(hang=True) if n == 3 else completion(f"Re: {question[:20]}")
        other.reply = lambda question, _: completion(f"Re: {question[:20]}")
        environment = {"NO_PROXY": "127.0.0.1"}
        asking = {"type": "openai", "model": "m", "concurrency": 1}
        jobs = [
            Job(folder / name, spec(folder / "rows.jsonl", teacher=asking | {"base_url": server.url}), environment)
            for name, server in (("killed", teacher), ("unbroken", other))
        ]
        unbroken = jobs[1].begin()
        job = jobs[0]
        process = job.begin()
        wait_until(lambda: len(teacher.asked) == 3)
        process.kill()
        process.wait()
        assert job.begin(dies_in=(4, moment.randint(1, 8))).wait(timeout=300) == -signal.SIGKILL, job.log()
        for step in (5, 7):
            kill_after(job, step, moment)
        before = files(job.attempts)
        finish(job)
        assert unbroken.wait(timeout=300) == 0, jobs[1].log()
        return Story(job, jobs[1].attempts[0], before, teacher.questions())


def with_adapters(folder: Path, moment: random.Random) -> Story:
    """Adapters, a learned discriminator, stages; killed while it saves, and at a random moment."""
    stages = [
        {"steps": 3, "alpha": 1, "lambda_adv": 0},
        {"steps": 6, "alpha": {"type": "cosine", "start": 0.5, "end": 0.1, "steps": 4}, "lambda_adv": 0.02},
    ]
    changes: dict[str, Any] = {
        "lora": {"rank": 4},
        "grpo": {"group_size": 2, "kl_coef": 0.1},
        "discriminator": {"type": "learned", "warmup_steps": 1, "learning_rate": 1e-3},
        "schedule": {"stages": stages, "prompts_per_step": 2, "checkpoint_every": 2, "eval_every": 4},
    }
    fields = {k: v for k, v in spec(DATA / "chance.jsonl").items() if k not in ("alpha", "lambda_adv")} | changes
    job, other = Job(folder / "killed", fields), Job(folder / "unbroken", fields)
    unbroken = other.begin()
    assert job.begin(dies_in=(4, moment.randint(1, 15))).wait(timeout=300) == -signal.SIGKILL, job.log()
    kill_after(job, 5, moment)
    before = files(job.attempts)
    finish(job)
    assert unbroken.wait(timeout=300) == 0, other.log()
    return Story(job, other.attempts[0], before, [])


class serving:
    """A teacher that answers for as long as the block lasts."""

    def __enter__(self) -> Teacher:
        self._server = Teacher()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self._server

    def __exit__(self, *_: object) -> None:
        self._server.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def wait_until(happened: Any) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(
    scope="module",
    params=[with_teacher, pytest.param(with_adapters, marks=pytest.mark.faults)],
    ids=lambda play: play.__name__,
)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    found: Story = request.param(folder, random.Random(7))
    return found


def test_it_was_killed_where_it_hurts(story: Story) -> None:
    attempts = story.killed.attempts
    assert any(list(a.glob("checkpoints/.step-*.tmp")) for a in attempts[:-1])  # in the middle of a checkpoint
    events = [r for a in attempts for r in reports(a) if isinstance(r, EventReport)]
    resumed = [r.data["step"] for r in events if "step" in r.data and "signature" not in r.data]
    assert resumed == sorted(resumed)
    assert resumed[0] == 2
    if story.asked:
        last = [max(r.step for r in trained(a)) for a in attempts[2:4]]
        assert {(step - 1) // EPOCH for step in last} == {1}  # twice within the second epoch


def hashes(folder: Path, step: int) -> dict[str, str]:
    """Of all files of an attempt's checkpoint, but for the spec: it names the teacher's port."""
    path = manifest.folder_of(folder / "checkpoints", step)
    assert manifest.verify(path) == step
    found = json.loads((path / manifest.MANIFEST).read_text())["files"]
    return {name: file["sha256"] for name, file in found.items() if name != "spec.json"}


def test_the_last_checkpoint_has_the_same_bytes(story: Story) -> None:
    expected = hashes(story.unbroken, STEPS)
    assert hashes(story.killed.attempts[-1], STEPS) == expected
    assert {"model.safetensors", "optimizer.safetensors", "state.json"} <= set(expected)
    if not story.asked:
        assert {"adapter/adapter_model.safetensors", "discriminator/optimizer.safetensors"} <= set(expected)


def test_every_number_of_every_step_is_the_same(story: Story) -> None:
    def numbers(folder: Path) -> dict[tuple[int, bool], dict[str, float]]:
        return {
            (r.step, "loss" in r.values): {k: v for k, v in r.values.items() if "time" not in k}
            for r in reports(folder)
            if isinstance(r, MetricReport)
        }

    expected = numbers(story.unbroken)
    assert {step for step, trains in expected if trains} == set(range(1, STEPS + 1))
    told = [numbers(attempt) for attempt in story.killed.attempts]
    assert {key for found in told for key in found} == set(expected)
    for found in told:
        assert found == {key: expected[key] for key in found}
    assert sum(map(len, told)) > len(expected)  # some steps were made twice


def test_every_text_is_the_same(story: Story) -> None:
    def texts(folder: Path) -> set[tuple[Any, ...]]:
        samples = [r for r in reports(folder) if isinstance(r, SampleReport)]
        return {(r.step, r.row, r.prompt, r.completion, r.reference, r.reward, r.score) for r in samples}

    assert set.union(*(texts(attempt) for attempt in story.killed.attempts)) == texts(story.unbroken)
    assert len(texts(story.unbroken)) == 2 * 4  # before the first step, after 4, 8 and 9


def test_only_requests_in_flight_are_repeated_to_the_teacher(story: Story) -> None:
    times = Counter(story.asked)
    assert [question for question, n in times.items() if n > 1] == story.asked[2:3]
    assert (len(times), len(story.asked)) in [(4, 5), (0, 0)]  # the second story has no teacher


def test_earlier_attempts_are_only_read_and_nothing_is_deleted(story: Story) -> None:
    assert manifest.steps_in(story.unbroken / "checkpoints") == [2, 4, 6, 8, 9]
    assert files(story.killed.attempts[:-1]) == story.before


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Job]:
    schedule = {"steps": MANY, "prompts_per_step": 2, "checkpoint_every": 1, "eval_every": 30}
    yield Job(tmp_path / "killed", spec(DATA / "chance.jsonl", schedule=schedule))
    shutil.rmtree(tmp_path)  # gigabytes


@pytest.mark.faults
def test_fifty_kills_at_random_moments_leave_no_trace(many: Job, tmp_path: Path) -> None:
    moment = random.Random(11)
    other = Job(tmp_path / "unbroken", many.spec | {"schedule": many.spec["schedule"] | {"checkpoint_every": MANY}})
    finish(other)
    usual = statistics.median(r.values["step_time"] for r in trained(other.attempts[0]))  # a trainer's first is slow
    losses: dict[int, float] = {}
    for _ in range(KILLS):
        newest = many.newest()
        step = manifest.verify(newest) if newest else 0
        kill_after(many, step + 1, moment, within_s=usual)
        folder = many.attempts[-1]
        for path in many.attempts[:-1]:  # as a retention that keeps the attempt before
            if path != folder and manifest.steps_in(folder / "checkpoints"):
                shutil.rmtree(path / "checkpoints", ignore_errors=True)
        for report in trained(folder):
            assert losses.setdefault(report.step, report.values["loss"]) == report.values["loss"]
    finish(many)
    expected = {r.step: r.values["loss"] for r in trained(other.attempts[0])}
    assert losses | {r.step: r.values["loss"] for r in trained(many.attempts[-1])} == expected
    assert hashes(many.attempts[-1], MANY) == hashes(other.attempts[0], MANY)
