"""Downloads that the API redirects to presigned URLs of the bucket, with the real SDK against a real S3 server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from uniapl_client import Client

from store.checkpoints import repository as checkpoints
from store.db import unit_of_work
from store.settings import Settings
from tests.api.conftest import ROW
from tests.api.server import Server
from tests.store.jobs.test_lifecycle import claimed, make_job

pytestmark = pytest.mark.integration
WEIGHTS = bytes(range(256)) * 40


def settings(bucket: str, database_url: str, folder: Path, *, redirect: bool) -> Settings:
    return Settings(data_dir=folder, database_url=database_url, artifacts_url=bucket, artifacts_redirect=redirect)


@pytest.fixture
def server(bucket: str, database_url: str, tmp_path: Path) -> Iterator[Server]:
    with Server(settings(bucket, database_url, tmp_path, redirect=True)) as server:
        yield server


def get(server: Server, path: str, **headers: str) -> httpx.Response:
    return httpx.get(server.url + path, headers={**server.headers, **headers}, trust_env=False)


def upload(server: Server) -> str:
    content = json.dumps(ROW).encode() + b"\n"
    made = httpx.post(f"{server.url}/datasets", content=content, headers=server.headers, trust_env=False)
    return str(made.json()["id"])


def checkpoint(server: Server) -> str:
    """A checkpoint in the bucket, of one file."""
    claim = claimed(server.engine, make_job(server.engine))
    artifacts = server.app.state.service.artifacts
    folder = artifacts.checkpoints(claim.job_id, claim.fence) / "step-00000001"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    files = {"model.safetensors": {"bytes": len(WEIGHTS), "sha256": sha256(WEIGHTS).hexdigest()}}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    name = artifacts.relative(folder)
    artifacts.objects.publish(name)
    with unit_of_work(server.engine) as session:
        digest = sha256((folder / "manifest.json").read_bytes()).hexdigest()
        checkpoints.commit(session, claim.job_id, claim.fence, step=1, path=name, manifest_sha256=digest, size=1)
        return checkpoints.of_job(session, claim.job_id)[0].id


def test_files_that_never_change_are_redirected_to_the_bucket_where_no_key_is_needed(server: Server, s3: str) -> None:
    dataset = upload(server)
    for path in (f"/v1/files/{dataset}/content", f"/checkpoints/{checkpoint(server)}/files/model.safetensors"):
        redirect = get(server, path)
        assert (redirect.status_code, redirect.headers["cache-control"]) == (307, "no-store"), path
        target = redirect.headers["location"]
        assert target.startswith(s3)
        whole = httpx.get(target, trust_env=False)
        part = httpx.get(target, headers={"range": "bytes=2-9"}, trust_env=False)
        assert whole.status_code == 200
        assert (part.status_code, part.content) == (206, whole.content[2:10])
        assert redirect.headers.get("x-checksum-sha256") in (None, sha256(whole.content).hexdigest())
    assert "x-checksum-sha256" in redirect.headers  # of the checkpoint's file
    assert get(server, "/v1/files/ds_gone/content").status_code == 404


def test_a_log_which_grows_is_streamed(server: Server) -> None:
    claim = claimed(server.engine, make_job(server.engine))
    artifacts = server.app.state.service.artifacts
    log = artifacts.log(claim.job_id, claim.fence)
    log.parent.mkdir(parents=True)
    log.write_text("step 1")
    artifacts.objects.publish(artifacts.relative(log))
    answer = get(server, f"/jobs/{claim.job_id}/logs")
    assert (answer.status_code, answer.text) == (200, "step 1")


def test_the_sdk_follows_the_redirect_and_keeps_its_key_to_itself(server: Server, s3: str, tmp_path: Path) -> None:
    checkpoint_id = checkpoint(server)
    asked: list[httpx.Request] = []
    with Client(server.url, api_key=server.key) as client:
        client._transport._client.event_hooks = {"request": [asked.append]}
        folder = client.checkpoints.download(checkpoint_id, tmp_path / "copy")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    at_bucket = [request for request in asked if str(request.url).startswith(s3)]
    assert len(at_bucket) == 1
    assert server.key not in str(at_bucket[0].headers.raw)
    assert at_bucket[0].headers["range"] == "bytes=0-"
    assert all("authorization" in request.headers for request in asked if request not in at_bucket)


def test_by_default_the_api_streams(bucket: str, database_url: str, tmp_path: Path) -> None:
    with Server(settings(bucket, database_url, tmp_path, redirect=False)) as server:
        answer = get(server, f"/v1/files/{upload(server)}/content")
    assert (answer.status_code, json.loads(answer.content)["reference"]) == (200, ROW["reference"])
