"""`/checkpoints` and `/aliases`: deletion, concurrent promotion, removal of files."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from store.checkpoints import repository as checkpoints
from store.db import unit_of_work
from store.jobs import claims, lifecycle
from store.tables import Job
from tests.api.conftest import upload

pytestmark = pytest.mark.integration


@dataclass
class Saved:
    """A job with checkpoints of several steps."""

    client: TestClient
    root: Path
    job_id: str
    ids: list[str]
    """Of steps 1, 2 and 3."""

    def folder(self, step: int) -> Path:
        return self.root / "jobs" / self.job_id / "fence-1" / "checkpoints" / f"step-{step:08d}"

    def promote(self, name: str, step: int, version: int) -> Any:
        body = {"checkpoint_id": self.ids[step - 1], "version": version}
        return self.client.put(f"/aliases/{name}", json=body)

    def delete(self, step: int) -> Any:
        return self.client.delete(f"/checkpoints/{self.ids[step - 1]}")

    def set(self, **values: Any) -> None:
        with unit_of_work(engine_of(self.client)) as session:
            for name, value in values.items():
                setattr(session.get_one(Job, self.job_id), name, value)


def engine_of(client: TestClient) -> Any:
    return client.app.state.service.engine  # type: ignore[attr-defined]


@pytest.fixture
def saved(client: TestClient, tmp_path: Path) -> Saved:
    spec = {"student": "tiny", "dataset_mix": [{"dataset": upload(client)}]}
    made = Saved(client, tmp_path, client.post("/jobs", json=spec).json()["id"], [])
    with unit_of_work(engine_of(client)) as session:
        for step in (1, 2, 3):
            folder = made.folder(step)
            folder.mkdir(parents=True)
            (folder / "model.bin").write_bytes(b"m")
            (folder / "manifest.json").write_text('{"files": {"model.bin": {"bytes": 1, "sha256": "x"}}}')
            path = str(folder.relative_to(tmp_path))
            checkpoints.commit(session, made.job_id, 1, step=step, path=path, manifest_sha256="x", size=1)
        made.ids = [row.id for row in reversed(checkpoints.of_job(session, made.job_id))]
    return made


def test_a_checkpoint_is_deleted_with_its_files(saved: Saved) -> None:
    answer = saved.delete(1)
    assert (answer.status_code, answer.content) == (204, b"")
    assert not saved.folder(1).exists()
    assert saved.folder(2).exists()
    assert saved.client.get(f"/checkpoints/{saved.ids[0]}").status_code == 404
    assert [c["step"] for c in saved.client.get(f"/jobs/{saved.job_id}/checkpoints").json()["data"]] == [3, 2]
    assert saved.delete(1).status_code == 404
    assert saved.promote("served", 1, 0).status_code == 404


def test_the_checkpoint_that_a_job_will_resume_from_stays(saved: Saved) -> None:
    for state in ("queued", "retry_wait", "paused", "running"):
        saved.set(state=state)
        answer = saved.delete(3)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "checkpoint_in_use")
        assert answer.headers["x-should-retry"] == "false"
    assert saved.folder(3).exists()
    saved.set(state="succeeded")
    assert saved.delete(3).status_code == 204


def test_the_checkpoint_that_an_attempt_has_begun_from_stays_while_it_runs(saved: Saved) -> None:
    with unit_of_work(engine_of(saved.client)) as session:
        claim = lifecycle.claim(session, saved.job_id, owner="w", host="h", boot_id="b", lease_s=60)
        assert claim is not None
        claims.update_attempt(session, saved.job_id, claim.fence, resumed_from=saved.ids[1])
    assert saved.delete(2).status_code == 409
    assert saved.delete(1).status_code == 204
    with unit_of_work(engine_of(saved.client)) as session:
        lifecycle.preempt(session, claim, "stopping")
    assert saved.delete(2).status_code == 204


def test_a_checkpoint_with_a_name_stays_until_the_name_moves_on(saved: Saved) -> None:
    assert saved.promote("served", 1, 0).json()["version"] == 1
    answer = saved.delete(1)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "checkpoint_in_use")
    assert "'served'" in answer.json()["detail"]
    assert saved.folder(1).exists()
    assert saved.promote("served", 2, 1).json()["version"] == 2
    assert saved.delete(1).status_code == 204


def test_an_alias_moves_by_compare_and_set(saved: Saved) -> None:
    assert saved.client.get("/aliases/served").status_code == 404
    assert saved.promote("served", 1, 1).status_code == 409  # it does not exist yet
    first = saved.promote("served", 1, 0)
    assert first.status_code == 200
    assert (first.json()["name"], first.json()["checkpoint_id"], first.json()["version"]) == (
        "served", saved.ids[0], 1
    )  # fmt: skip
    assert saved.promote("served", 1, 0).json() == first.json()  # the same again
    assert saved.promote("served", 2, 1).json()["version"] == 2
    assert saved.promote("served", 2, 1).json()["version"] == 2  # a retry whose answer was lost
    late = saved.promote("served", 3, 1)
    assert (late.status_code, late.json()["error"]["code"]) == (409, "alias_has_changed")
    assert "version 2" in late.json()["detail"]
    assert saved.client.get("/aliases/served").json()["checkpoint_id"] == saved.ids[1]
    saved.promote("best", 3, 0)
    assert [alias["name"] for alias in saved.client.get("/aliases").json()["data"]] == ["best", "served"]


@pytest.mark.parametrize("name", ["Served", "a b", "-x", "x" * 97, "%2e%2e", "é"])
def test_an_alias_has_a_plain_name(saved: Saved, name: str) -> None:
    assert saved.promote(name, 1, 0).status_code in (404, 422)
    assert saved.client.get("/aliases").json()["data"] == []


@pytest.mark.parametrize("version", [-1, "x", None])
def test_a_version_is_a_number_that_was_seen(saved: Saved, version: Any) -> None:
    assert saved.promote("served", 1, version).status_code == 422


def test_of_fifty_promotions_at_once_one_wins(saved: Saved) -> None:
    saved.promote("served", 1, 0)
    barrier, statuses = threading.Barrier(50), []

    def promote(n: int) -> None:
        barrier.wait()
        statuses.append((saved.promote("served", 2 + n % 2, 1).status_code, 2 + n % 2))

    threads = [threading.Thread(target=promote, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alias = saved.client.get("/aliases/served").json()
    winner = saved.ids.index(alias["checkpoint_id"]) + 1
    assert alias["version"] == 2
    assert sorted(statuses) == sorted((200 if step == winner else 409, step) for _, step in statuses)


@pytest.mark.parametrize("step", [1, 2])
def test_a_checkpoint_is_promoted_or_deleted_never_both(saved: Saved, step: int) -> None:
    barrier = threading.Barrier(2)
    answers: dict[str, int] = {}

    def promote() -> None:
        barrier.wait()
        answers["promote"] = saved.promote("served", step, 0).status_code

    def delete() -> None:
        barrier.wait()
        answers["delete"] = saved.delete(step).status_code

    threads = [threading.Thread(target=promote), threading.Thread(target=delete)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers in ({"promote": 200, "delete": 409}, {"promote": 404, "delete": 204})
    assert saved.folder(step).exists() is (answers["promote"] == 200)


@pytest.mark.parametrize(
    "manifest", ['{"files"', "[]", '{"files": {"model.bin": 7}}', '{"files": {"model.bin": {"x": 1}}}']
)
def test_a_checkpoint_whose_manifest_is_garbled_is_not_listed(saved: Saved, manifest: str) -> None:
    (saved.folder(3) / "manifest.json").write_text(manifest)
    assert [c["step"] for c in saved.client.get(f"/jobs/{saved.job_id}/checkpoints").json()["data"]] == [2, 1]
    assert saved.client.get(f"/checkpoints/{saved.ids[2]}").status_code == 404
