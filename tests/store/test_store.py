"""Metrics, checkpoints, datasets, migrations, registry."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from store import db
from store.checkpoints import repository as checkpoints
from store.db import unit_of_work
from store.errors import NotFound
from store.jobs import metrics
from store.migrate import upgrade
from store.model_registry import Registry
from store.settings import Settings
from tests.store.jobs.factories import make_job
from uniapl.errors import SpecError

pytestmark = pytest.mark.integration

GOOD = {"messages": [{"role": "user", "content": "Say hello."}], "reference": "Hello!"}


def test_of_two_attempts_at_a_step_the_newer_ones_metrics_stay(engine: Engine) -> None:
    job_id = make_job(engine)
    with unit_of_work(engine) as session:
        metrics.put_metrics(session, job_id, 1, [("loss", 1, 0.5), ("loss", 2, 0.4)])
        metrics.put_metrics(session, job_id, 2, [("loss", 2, 0.3)])
        metrics.put_metrics(session, job_id, 1, [("loss", 2, 0.9)])  # a late replay of the old attempt
        metrics.put_sample(session, job_id, 2, **sample("new"))
        metrics.put_sample(session, job_id, 1, **sample("old"))
    with unit_of_work(engine) as session:
        found = metrics.metrics(session, job_id, names=["loss"], since_step=-1, limit=10)
        assert [(m.step, m.value) for m in found] == [(1, 0.5), (2, 0.3)]
        assert [s.completion for s in metrics.samples(session, job_id, step=0)] == ["new"]


def sample(completion: str) -> dict[str, object]:
    fields = {"step": 0, "row": "r", "prompt": "p", "reference": None, "reward": None, "score": 0.5}
    return {**fields, "completion": completion}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_finite_number_is_left_out_and_costs_nothing_else(engine: Engine, value: float) -> None:
    job_id = make_job(engine)
    with unit_of_work(engine) as session:
        metrics.put_metrics(session, job_id, 1, [("loss", 1, value), ("loss", 2, 0.5)])
        metrics.put_metrics(session, job_id, 1, [("loss", 3, value)])
    with unit_of_work(engine) as session:
        found = metrics.metrics(session, job_id, names=None, since_step=-1, limit=10)
        assert [(m.step, m.value) for m in found] == [(2, 0.5)]


def test_metrics_are_filtered_by_name_and_step(engine: Engine) -> None:
    job_id = make_job(engine)
    with unit_of_work(engine) as session:
        metrics.put_metrics(session, job_id, 1, [(n, s, float(s)) for n in ("a", "b") for s in range(4)])
        found = metrics.metrics(session, job_id, names=["b"], since_step=1, limit=10)
        assert [(m.name, m.step) for m in found] == [("b", 2), ("b", 3)]


def test_a_checkpoint_is_recorded_once_and_gone_when_deleted(engine: Engine) -> None:
    job_id = make_job(engine)
    with unit_of_work(engine) as session:
        for step in (1, 2, 2):
            checkpoints.commit(session, job_id, 1, step=step, path=f"p{step}", manifest_sha256="x", size=3)
        newest, older = checkpoints.of_job(session, job_id)
        assert (newest.step, older.step) == (2, 1)
        checkpoints.mark_deleted(session, older)
    with unit_of_work(engine) as session:
        assert [c.step for c in checkpoints.of_job(session, job_id)] == [2]
        with pytest.raises(NotFound):
            checkpoints.get(session, older.id)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A model hub with one model."""

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/api/models/Qwen/Qwen3-0.6B"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(b'{"sha": "c1899de2"}' if known else b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()


def registry(tmp_path: Path, **settings: object) -> Registry:
    file = tmp_path / "models.json"
    file.write_text(
        json.dumps({"tiny": {"kind": "student", "path": "m/tiny"}, "judge": {"kind": "discriminator", "hub": "a/b"}})
    )
    return Registry(Settings(models_file=file, **settings))  # type: ignore[arg-type]


def test_registered_names_resolve_relative_to_the_file(tmp_path: Path) -> None:
    assert registry(tmp_path).resolve("tiny", "student", "student").path == str(tmp_path / "m" / "tiny")


def test_a_name_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="judge is a discriminator") as caught:
        registry(tmp_path).resolve("judge", "student", "student")
    assert caught.value.param == "student"
    assert "tiny" in str(caught.value.hint)


def test_a_hub_id_is_pinned_to_its_commit(tmp_path: Path, hub: None) -> None:
    source = registry(tmp_path).resolve("Qwen/Qwen3-0.6B", "student", "student")
    assert (source.hub, source.revision) == ("Qwen/Qwen3-0.6B", "c1899de2")
    with pytest.raises(SpecError, match="is not on the model hub"):
        registry(tmp_path).resolve("Qwen/Qwen9", "student", "student")


def test_hub_ids_outside_the_allowed_patterns_are_unknown(tmp_path: Path, hub: None) -> None:
    with pytest.raises(SpecError, match="unknown student"):
        registry(tmp_path, hub_models=["meta/*"]).resolve("Qwen/Qwen3-0.6B", "student", "student")


@pytest.mark.parametrize("name", ["../etc", "/etc/passwd", "a/b/c", "a/../b", "Qwen/Qwen3 0.6B", "a/.b", "a/b?x=1"])
def test_what_is_no_hub_id_never_reaches_the_hub(tmp_path: Path, hub: None, name: str) -> None:
    with pytest.raises(SpecError, match="unknown student"):
        registry(tmp_path).resolve(name, "student", "student")


def test_an_unreachable_hub_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SpecError, match="cannot be reached"):
        registry(tmp_path).resolve("Qwen/Qwen3-0.6B", "student", "student")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SpecError, match="disabled"):
        registry(tmp_path).resolve("Qwen/Qwen3-0.6B", "student", "student")


def test_nobody_waits_for_a_locked_sqlite_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "LOCK_WAIT_S", 0.2)
    upgrade(Settings(data_dir=tmp_path))
    engine = db.make_engine(Settings(data_dir=tmp_path).database)
    with db.unit_of_work(engine) as session:
        session.execute(text("SELECT 1"))  # a transaction that writes nothing yet has the lock all the same
        with db.reading(engine) as other:
            assert other.scalar(text("SELECT 1")) == 1
        with pytest.raises(OperationalError, match="locked"), db.unit_of_work(engine) as other:
            other.execute(text("SELECT 1"))
    with db.unit_of_work(engine) as session:
        session.execute(text("SELECT 1"))
    engine.dispose()
