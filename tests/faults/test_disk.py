"""Disks that fill up, tear, forget, and uploads that break off: rows 18, 19, 20 and 41 of docs/reliability.md."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from store.db import reading
from store.jobs.lifecycle import INFRA_LIMIT
from store.tables import Checkpoint
from tests.conftest import ROOT
from tests.e2e.conftest import wait_for
from tests.faults.cluster import Cluster

pytestmark = pytest.mark.faults
ROWS = ROOT / "examples" / "data" / "chance.jsonl"


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own for a folder; what is on it in the end stays there. Yields a way to resize it."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mounted, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk")

    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)

    copy = folder.with_name(f"{folder.name}.copy")
    try:
        yield resize
    finally:
        shutil.copytree(folder, copy)
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()
        copy.rename(folder)


def stopped(cluster: Cluster, **faults: str) -> None:
    """No worker, until `restart_dead`; then one with these settings."""
    cluster.kill("worker")
    cluster.faults = faults


def left_half_done(cluster: Cluster, job_id: str) -> list[Path]:
    return list((cluster.data_dir / "jobs" / job_id).glob("fence-*/checkpoints/.*"))


def steps_in_database(cluster: Cluster, job_id: str) -> list[int]:
    with reading(cluster.engine) as session:
        return sorted(row.step for row in session.query(Checkpoint).filter_by(job_id=job_id, deleted_at=None))


def test_a_disk_that_fills_up_in_a_checkpoint_spares_the_others_and_space_mends_it(cluster: Cluster) -> None:
    stopped(cluster, UNIAPL_RETRY_BACKOFF_S="4")
    job_id = cluster.submit(steps=15, name="fill-disk@10")
    with small_disk(cluster.data_dir / "jobs" / job_id, "8m") as resize:
        cluster.restart_dead(print)
        cluster.until(job_id, "retry_wait", timeout_s=60)
        assert "attempt 1 failed: the disk is full; retrying" in cluster.messages(job_id)
        assert left_half_done(cluster, job_id) == []
        assert steps_in_database(cluster, job_id) == [5]
        assert cluster.findings().violations == []
        resize("400m")
        (job,) = cluster.finish(job_id)
        assert (job.state, job.attempt, job.user_failures, job.infra_failures) == ("succeeded", 2, 0, 1)
        assert "resumed after step 5" in cluster.messages(job_id)
        assert cluster.findings().violations == []


def test_a_disk_that_stays_full_ends_the_job_with_the_reason(cluster: Cluster) -> None:
    stopped(cluster)
    job_id = cluster.submit(steps=15, name="fill-disk@10")
    with small_disk(cluster.data_dir / "jobs" / job_id, "8m"):
        cluster.restart_dead(print)
        (job,) = cluster.finish(job_id, timeout_s=180)
        assert job.error is not None
        assert (job.state, job.attempt, job.error["code"]) == ("failed", INFRA_LIMIT, "disk_full")
        assert "disk space" in job.error["hint"]
        assert left_half_done(cluster, job_id) == []
        assert steps_in_database(cluster, job_id) == [5]
        assert cluster.findings().violations == []


@pytest.mark.parametrize("spare", [0, 200_000])
def test_a_disk_without_any_room_ends_the_job_with_the_reason(cluster: Cluster, spare: int) -> None:
    stopped(cluster)
    job_id = cluster.submit(steps=15)
    folder = cluster.data_dir / "jobs" / job_id
    with small_disk(folder, "2m"):
        _fill(folder / "filler", spare)
        cluster.restart_dead(print)
        (job,) = cluster.finish(job_id)
        assert job.error is not None
        assert (job.state, job.error["code"]) == ("failed", "disk_full")
        assert left_half_done(cluster, job_id) == []
        (folder / "filler").unlink()


def _fill(path: Path, spare: int) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            file.truncate(file.tell() - spare)


def _truncate(folder: Path) -> None:
    os.truncate(folder / "model.bin", 100)


def _flip(folder: Path) -> None:
    with (folder / "model.bin").open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))


def _lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _garble_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"step": 10, "files"')


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize("damage", [_truncate, _flip, _lose_manifest, _garble_manifest, _remove])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(
    cluster: Cluster, damage: Callable[[Path], None]
) -> None:
    job_id = cluster.submit(steps=60)
    wait_for(lambda: "checkpoint saved at step 10" in cluster.messages(job_id), timeout_s=60)
    cluster.kill("worker")
    wait_for(lambda: not cluster.trainers(), timeout_s=10)
    folder = max((cluster.data_dir / "jobs" / job_id).glob("fence-1/checkpoints/step-*"))
    step = int(folder.name.removeprefix("step-"))
    damage(folder)
    cluster.restart_dead(print)
    (job,) = cluster.finish(job_id)
    said = cluster.messages(job_id)
    assert (job.state, job.user_failures) == ("succeeded", 0)
    assert f"resumed after step {step - 5}" in said
    assert any("torn" in message or "is unusable" in message for message in said), said


def test_a_checkpoint_that_was_whole_when_its_trainer_died_is_taken_over(cluster: Cluster, tmp_path: Path) -> None:
    stopped(cluster, UNIAPL_TEST_DIE_AT=f"uniapl.run.reporter:Reporter.checkpoint:before:2:{tmp_path / 'died'}")
    cluster.restart_dead(print)
    job_id = cluster.submit()
    (job,) = cluster.finish(job_id)
    said = cluster.messages(job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)
    assert "unreported checkpoint at step 10 recovered" in said
    assert "resumed after step 10" in said  # the unreported checkpoint


def test_a_checkpoint_that_was_not_whole_is_not(cluster: Cluster, tmp_path: Path) -> None:
    stopped(cluster, UNIAPL_TEST_DIE_AT=f"uniapl.run.manifest:_sync_all:after:2:{tmp_path / 'died'}")
    cluster.restart_dead(print)
    job_id = cluster.submit()
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)
    assert "resumed after step 5" in cluster.messages(job_id)


def test_a_dataset_whose_file_is_gone_is_named_in_the_error(cluster: Cluster) -> None:
    dataset = cluster.client.datasets.upload(ROWS).id
    (cluster.data_dir / "datasets" / f"{dataset}.jsonl").unlink()
    job_id = cluster.submit(
        student="tiny-random-llama", dataset_mix=[{"dataset": dataset}], steps=1, alpha=0.5, checkpoint_every=1
    )
    (job,) = cluster.finish(job_id, timeout_s=180)
    assert job.error is not None
    assert (job.state, job.attempt) == ("failed", 1), job.error
    assert dataset in job.error["message"]


def broken_upload(cluster: Cluster, *, chunked: bool) -> None:
    """Half of a dataset, and then nothing."""
    body = ROWS.read_bytes() * 200
    framing = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
    sender = f"host: x\r\nauthorization: {cluster.headers['authorization']}"
    head = f"POST /datasets?name=half HTTP/1.1\r\n{sender}\r\ncontent-type: application/jsonl\r\n{framing}\r\n\r\n"
    half = body[: len(body) // 2]
    with socket.create_connection(("127.0.0.1", cluster.port)) as connection:
        connection.sendall(head.encode())
        connection.sendall(b"%x\r\n%b\r\n" % (len(half), half) if chunked else half)
        wait_for(lambda: parts(cluster), timeout_s=10)
        time.sleep(0.2)


def parts(cluster: Cluster) -> list[Path]:
    return list((cluster.data_dir / "datasets").glob(".*"))


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_that_breaks_off_is_not_listed_and_leaves_nothing(cluster: Cluster, chunked: bool) -> None:
    known = {dataset.id for dataset in cluster.client.datasets.list()}
    files = set((cluster.data_dir / "datasets").glob("*.jsonl"))
    broken_upload(cluster, chunked=chunked)
    wait_for(lambda: not parts(cluster), timeout_s=15)
    assert {dataset.id for dataset in cluster.client.datasets.list()} == known
    assert set((cluster.data_dir / "datasets").glob("*.jsonl")) == files
    again = cluster.client.datasets.upload(ROWS, name="half")
    assert again.id in {dataset.id for dataset in cluster.client.datasets.list()}
