"""An upgrade from the images of an earlier release, with its database, its artifacts and its paused job."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.conftest import CHANCE
from tests.engine import jobs
from tests.engine.checkout import UP, Checkout
from tests.engine.conftest import SPEC

pytestmark = pytest.mark.engine

EARLIER = "6ed0904"
"""A commit of the earlier release: migrations up to 0007, an image of its own Dockerfile for each service."""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    command = ["git", "cat-file", "-e", f"{EARLIER}^{{commit}}"]
    if subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"this clone does not contain commit {EARLIER}, so not checked: an upgrade from its images")
    return Checkout(tmp_path_factory.mktemp("checkout"))


def test_jobs_of_an_earlier_release_are_readable_and_resumed(earlier: Checkout, tmp_path: Path) -> None:
    with earlier as stack:
        stack.replace_files(EARLIER)
        stack.run("make secrets")
        stack.run(UP)
        key = stack.key()
        with stack.client(key) as client:
            dataset = client.datasets.upload(CHANCE)
            job = client.jobs.create(**SPEC, dataset_mix=[{"dataset": dataset.id}])
            done = client.jobs.wait(job.id, timeout_s=300)
            paused = jobs.start(client, steps=100)
            step = jobs.pause(client, paused)
        old_images = stack.run("docker compose images --quiet").split()

        stack.replace_files()
        stack.run("make secrets")
        stack.run(UP)
        assert not set(old_images) >= set(stack.run("docker compose images --quiet").split())
        with stack.client(key) as client:
            assert client.jobs.get(job.id).model_dump(exclude={"spec"}) == done.model_dump(exclude={"spec"})
            assert {found.id for found in client.jobs.list()} == {job.id, paused}
            [checkpoint] = client.jobs.checkpoints(job.id)
            client.checkpoints.download(checkpoint.id, tmp_path / "model")
            assert (client.jobs.get(paused).state, client.jobs.get(paused).step) == ("paused", step)
            client.jobs.resume(paused)
            finished = client.jobs.wait(paused, timeout_s=300)
            assert (finished.state, finished.step) == ("succeeded", 100)
            assert jobs.resumptions(client, paused) == [step]
