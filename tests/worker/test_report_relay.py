"""Reports reach the database exactly once in effect, and only under the fence."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, delete

from store.artifacts.paths import Artifacts
from store.checkpoints import repository as checkpoints
from store.db import unit_of_work
from store.errors import FenceLost
from store.jobs import claims, events, lifecycle, metrics
from store.jobs.claims import Claim
from store.tables import Metric
from tests.store.jobs.factories import claimed, make_job
from uniapl.errors import SpecError
from uniapl.run.reporter import Reporter
from worker.report_relay import Relay

pytestmark = pytest.mark.integration


@pytest.fixture
def claim(engine: Engine) -> Claim:
    return claimed(engine, make_job(engine))


@pytest.fixture
def folder(tmp_path: Path, claim: Claim) -> Path:
    return Artifacts(tmp_path).attempt(claim.job_id, claim.fence)


def relay(engine: Engine, claim: Claim, folder: Path, tmp_path: Path) -> Relay:
    return Relay(engine, claim, Artifacts(tmp_path))


def write_story(folder: Path) -> None:
    with Reporter(folder / "reports.jsonl") as reporter:
        reporter.phase("loading_student")
        reporter.phase("training")
        reporter.metrics(1, {"loss": 0.5, "broken": float("nan")})
        reporter.event("three rows are too long", level="warning", rows=["a"])
        reporter.sample(1, row="r", prompt="p", completion="c", reference=None, reward=1.0, score=None)
        reporter.checkpoint(1, folder / "checkpoints" / "step-00000001", "abc", 10)
        reporter.error(SpecError("no", param="alpha", hint="yes"))


def snapshot(engine: Engine, claim: Claim) -> tuple[object, ...]:
    with unit_of_work(engine) as session:
        job = lifecycle.get(session, claim.job_id)
        return (
            job.state,
            job.phase,
            job.step,
            [(e.seq, e.level, e.message) for e in events.after(session, claim.job_id, 0, 100)],
            [
                (m.name, m.step, m.value)
                for m in metrics.metrics(session, claim.job_id, names=None, since_step=-1, limit=9)
            ],
            [s.completion for s in metrics.samples(session, claim.job_id, step=None)],
            [(c.step, c.path) for c in checkpoints.of_job(session, claim.job_id)],
        )


def test_every_kind_of_report_arrives(engine: Engine, claim: Claim, folder: Path, tmp_path: Path) -> None:
    write_story(folder)
    running = relay(engine, claim, folder, tmp_path)
    assert running.pump() is True
    assert running.pump() is False
    state, phase, step, told, numbers, samples, saved = snapshot(engine, claim)
    assert (state, phase, step) == ("running", "training", 1)
    assert numbers == [("loss", 1, 0.5)]  # a number that is none is left out by the reporter
    assert samples == ["c"]
    assert saved == [(1, f"jobs/{claim.job_id}/fence-1/checkpoints/step-00000001")]
    assert told[-2:] == [(4, "warning", "three rows are too long"), (5, "info", "checkpoint saved at step 1")]  # type: ignore[index]
    assert running.error is not None
    assert running.error.param == "alpha"


def test_a_replay_changes_nothing(engine: Engine, claim: Claim, folder: Path, tmp_path: Path) -> None:
    write_story(folder)
    relay(engine, claim, folder, tmp_path).pump()
    before = snapshot(engine, claim)
    relay(engine, claim, folder, tmp_path).pump()  # a relay that starts from the beginning, as after a crash
    assert snapshot(engine, claim) == before


def test_a_half_written_line_waits_for_its_end(engine: Engine, claim: Claim, folder: Path, tmp_path: Path) -> None:
    write_story(folder)
    path = folder / "reports.jsonl"
    whole = path.read_bytes()
    cut = whole.index(b'"loss"') + 3
    path.write_bytes(whole[:cut])
    running = relay(engine, claim, folder, tmp_path)
    running.pump()
    assert snapshot(engine, claim)[4] == []
    path.write_bytes(whole)
    running.pump()
    assert snapshot(engine, claim)[4] == [("loss", 1, 0.5)]


def test_an_unreadable_line_is_skipped(engine: Engine, claim: Claim, folder: Path, tmp_path: Path) -> None:
    write_story(folder)
    path = folder / "reports.jsonl"
    path.write_bytes(b"\x00\xff garbage\n" + path.read_bytes())
    relay(engine, claim, folder, tmp_path).pump()
    assert snapshot(engine, claim)[4] == [("loss", 1, 0.5)]


@pytest.mark.parametrize("story", ["whole", "sample"])
def test_a_relay_that_lost_its_fence_writes_nothing(
    engine: Engine, claim: Claim, folder: Path, tmp_path: Path, story: str
) -> None:
    if story == "whole":
        write_story(folder)
    else:
        with Reporter(folder / "reports.jsonl") as reporter:
            reporter.sample(1, row="r", prompt="p", completion="c", reference=None, reward=1.0, score=None)
    with unit_of_work(engine) as session:
        lifecycle.preempt(session, claim, "stopping")
    claimed(engine, claim.job_id)
    before = snapshot(engine, claim)
    with pytest.raises(FenceLost):
        relay(engine, claim, folder, tmp_path).pump()
    assert snapshot(engine, claim) == before


def test_a_report_longer_than_a_batch_passes(engine: Engine, claim: Claim, folder: Path, tmp_path: Path) -> None:
    with Reporter(folder / "reports.jsonl") as reporter:
        reporter.sample(1, row="r", prompt="p", completion="x" * (3 << 20), reference=None, reward=1.0, score=None)
        reporter.metrics(1, {"loss": 0.5})
    running = relay(engine, claim, folder, tmp_path)
    while running.pump():
        pass
    assert snapshot(engine, claim)[4] == [("loss", 1, 0.5)]


def test_a_completion_with_a_nul_passes(engine: Engine, claim: Claim, folder: Path, tmp_path: Path) -> None:
    with Reporter(folder / "reports.jsonl") as reporter:
        reporter.sample(1, row="r", prompt="p", completion="a\x00b", reference=None, reward=1.0, score=None)
    relay(engine, claim, folder, tmp_path).pump()
    assert snapshot(engine, claim)[5] == ["a\ufffdb"]


def test_what_a_restored_database_has_forgotten_is_told_again(
    engine: Engine, claim: Claim, folder: Path, tmp_path: Path
) -> None:
    running = relay(engine, claim, folder, tmp_path)
    with Reporter(folder / "reports.jsonl") as reporter:
        for step in (1, 2):
            reporter.metrics(step, {"loss": float(step)})
            running.pump()
        with unit_of_work(engine) as session:  # as a backup from after step 1 would have it
            session.execute(delete(Metric).where(Metric.step == 2))
            claims.update_attempt(session, claim.job_id, claim.fence, relayed_seq=1)
        reporter.metrics(3, {"loss": 3.0})
    while running.pump():
        pass
    assert snapshot(engine, claim)[4] == [("loss", step, float(step)) for step in (1, 2, 3)]
