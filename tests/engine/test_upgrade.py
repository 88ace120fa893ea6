"""An upgrade from the images of an earlier release, with its database, its artifacts and its unfinished jobs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.engine import jobs
from tests.engine.checkout import UP, Checkout

pytestmark = pytest.mark.engine

EARLIER = "6ed0904"
"""A commit of the earlier release: migrations up to 0007, an image of its own Dockerfile for each service."""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    command = ["git", "cat-file", "-e", f"{EARLIER}^{{commit}}"]
    if subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"this clone does not contain commit {EARLIER}, so not checked: an upgrade from its images")
    return Checkout(tmp_path_factory.mktemp("checkout"))


def test_jobs_of_an_earlier_release_are_readable_and_continued(earlier: Checkout, tmp_path: Path) -> None:
    with earlier as stack:
        stack.replace_files(EARLIER)
        stack.run("make secrets")
        stack.run(UP)
        old_images = stack.run("docker compose images --quiet").split()
        key = stack.key()
        with stack.client(key) as client:
            done = client.jobs.wait(jobs.create(client, steps=2), timeout_s=300)
            paused = jobs.start(client, steps=60)
            step = jobs.pause(client, paused)

        stack.replace_files()
        stack.run("make secrets && docker compose build")
        with stack.client(key) as client:  # still of the earlier release, whose worker runs one job at a time
            running, queued = jobs.start(client, steps=80), jobs.create(client, steps=2)
            assert client.jobs.get(queued).state == "queued"
        stack.run("docker compose up -d --wait")
        assert not set(old_images) & set(stack.run("docker compose images --quiet api worker").split())

        with stack.client(key) as client:
            assert client.jobs.get(done.id).model_dump(exclude={"spec"}) == done.model_dump(exclude={"spec"})
            assert {found.id for found in client.jobs.list()} == {done.id, paused, running, queued}
            [checkpoint] = client.jobs.checkpoints(done.id)
            client.checkpoints.download(checkpoint.id, tmp_path / "model")
            assert (client.jobs.get(paused).state, client.jobs.get(paused).step) == ("paused", step)
            client.jobs.resume(paused)
            ended = {job_id: client.jobs.wait(job_id, timeout_s=900) for job_id in (running, queued, paused)}
            assert {job_id: (job.state, job.step, job.attempt) for job_id, job in ended.items()} == {
                running: ("succeeded", 80, 2),
                queued: ("succeeded", 2, 1),
                paused: ("succeeded", 60, 2),
            }
            assert jobs.resumptions(client, paused) == [step]
            assert min(jobs.resumptions(client, running)) >= 3
