"""The two places where artifacts are shared, a folder and a bucket of a real S3 server, behave alike."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from store.artifacts.base import StorageUnavailable
from store.artifacts.paths import Artifacts
from store.settings import Settings
from tests.faults.servers import free_port
from uniapl.run.manifest import MANIFEST

pytestmark = pytest.mark.integration

CHECKPOINT = "jobs/job_1/fence-2/checkpoints/step-00000005"
FILES = {"model.safetensors": b"w" * 100_000, "config.json": b"{}", "tokenizer/chat.jinja": b"{{ x }}", "empty": b""}


@pytest.fixture(params=["folder", "bucket"])
def boxes(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Artifacts, Artifacts]:
    """The artifacts as two machines see them."""
    if request.param == "folder":
        return Artifacts.of(Settings(data_dir=tmp_path)), Artifacts.of(Settings(data_dir=tmp_path))
    url = request.getfixturevalue("bucket")
    one, two = (Artifacts.of(Settings(data_dir=tmp_path / name, artifacts_url=url)) for name in ("one", "two"))
    return one, two


def write(artifacts: Artifacts, name: str = CHECKPOINT) -> None:
    """A checkpoint on one machine."""
    folder = artifacts.root / name
    for file, content in FILES.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    listed = {file: {"bytes": len(content), "sha256": sha256(content).hexdigest()} for file, content in FILES.items()}
    (folder / MANIFEST).write_text(json.dumps({"step": 5, "files": listed}))


def test_what_one_machine_publishes_another_has(boxes: tuple[Artifacts, Artifacts]) -> None:
    one, two = boxes
    write(one)
    one.objects.publish(CHECKPOINT)
    one.objects.publish(CHECKPOINT)
    listed = two.objects.checkpoint_files(CHECKPOINT)
    assert listed is not None
    assert {file.name: file.bytes for file in listed} == {name: len(content) for name, content in FILES.items()}
    two.objects.fetch(CHECKPOINT)
    two.objects.fetch(CHECKPOINT)
    for name, content in FILES.items():
        assert (two.root / CHECKPOINT / name).read_bytes() == content
    assert not two.unfinished()
    copy = CHECKPOINT.replace("fence-2", "fence-2.bak")  # a manual copy, which belongs to no attempt
    shutil.copytree(one.root / CHECKPOINT, one.root / copy)
    one.objects.publish(copy)
    for box in (one, two):
        assert box.objects.checkpoints() == {CHECKPOINT}
        assert box.fences("job_1") == [2]


def test_bytes_are_streamed_from_where_they_lie(boxes: tuple[Artifacts, Artifacts]) -> None:
    one, two = boxes
    write(one)
    one.objects.publish(CHECKPOINT)
    name = f"{CHECKPOINT}/model.safetensors"
    assert two.objects.size(name) == 100_000
    assert two.objects.size(f"{CHECKPOINT}/nothing") is None
    assert len(b"".join(two.objects.stream(name, 0, 100_000))) == 100_000
    assert b"".join(two.objects.stream(f"{CHECKPOINT}/tokenizer/chat.jinja", 2, 5)) == b" x "


def test_a_client_downloads_from_the_bucket_itself(bucket: str, tmp_path: Path) -> None:
    artifacts = Artifacts.of(Settings(data_dir=tmp_path, artifacts_url=bucket, artifacts_redirect=True))
    write(artifacts)
    artifacts.objects.publish(CHECKPOINT)
    for file, filename in (
        ("model.safetensors", "model.safetensors"),
        ("tokenizer/chat.jinja", "tokenizer/chat.jinja"),
    ):
        url = artifacts.objects.download_url(f"{CHECKPOINT}/{file}", filename=filename)
        assert url is not None
        assert url.partition("?")[0].endswith(file)  # the name under which a browser saves it
        assert int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0]) == 900
        answer = httpx.get(url, headers={"range": "bytes=1-4"}, trust_env=False)
        assert (answer.status_code, answer.content) == (206, FILES[file][1:5])
    name = artifacts.relative(artifacts.dataset("ds_1"))
    assert artifacts.objects.download_url(name, filename="my rows.jsonl") is None  # would be saved under another name


def test_a_client_downloads_through_the_api_where_it_cannot_reach_the_store(bucket: str, tmp_path: Path) -> None:
    name = f"{CHECKPOINT}/model.safetensors"
    for url in (bucket, ""):
        settings = Settings(data_dir=tmp_path, artifacts_url=url, artifacts_redirect=not url)
        assert Artifacts.of(settings).objects.download_url(name, filename="model.safetensors") is None


def test_a_single_file_is_shared_too(boxes: tuple[Artifacts, Artifacts]) -> None:
    one, two = boxes
    one.dataset("ds_1").parent.mkdir(parents=True)
    one.dataset("ds_1").write_text("rows")
    name = one.relative(one.dataset("ds_1"))
    one.objects.publish(name)
    two.objects.fetch(name)
    assert two.dataset("ds_1").read_text() == "rows"
    two.objects.remove(name)
    assert one.objects.size(name) is None
    two.objects.remove(name)


def test_datasets_are_listed_copies_too(boxes: tuple[Artifacts, Artifacts]) -> None:
    one, two = boxes
    one.dataset("ds_1").parent.mkdir(parents=True)
    one.dataset("ds_1").write_text("rows")
    one.upload("ds_2").write_text("not whole yet")
    name = one.relative(one.dataset("ds_1"))
    one.objects.publish(name)
    assert two.fetched("ds_1").read_text() == "rows"
    assert one.objects.datasets() == two.objects.datasets() == {name}
    two.objects.remove(name)
    assert (name in one.objects.datasets()) == one.dataset("ds_1").exists()  # a copy is left for the garbage
    assert two.objects.datasets() == set()


def test_two_threads_that_fetch_a_file_do_not_disturb_each_other(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins when the first has half of it, and continues when the first has read all."""
    import obstore

    one, two = (Artifacts.of(Settings(data_dir=tmp_path / name, artifacts_url=bucket)) for name in ("one", "two"))
    content = os.urandom(2 * 1024 * 1024)
    one.dataset("ds_1").parent.mkdir(parents=True)
    one.dataset("ds_1").write_bytes(content)
    one.objects.publish(one.relative(one.dataset("ds_1")))
    half, begun, done = Event(), Event(), Event()
    get, calls = obstore.get, count()

    def stream(whole: bytes) -> Iterator[bytes]:
        yield whole[: 1024 * 1024]
        half.set()
        assert begun.wait(60)
        yield whole[1024 * 1024 :]

    def slow(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 0:
            whole = bytes(get(*arguments, **options).bytes())
            return SimpleNamespace(stream=lambda: stream(whole))
        begun.set()
        assert done.wait(60)
        return get(*arguments, **options)

    def second() -> bytes:
        assert half.wait(60)
        return two.fetched("ds_1").read_bytes()

    monkeypatch.setattr(obstore, "get", slow)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(second)
        found = two.fetched("ds_1").read_bytes()
        done.set()
        assert found == content
        assert other.result() == content
    assert [path.name for path in (tmp_path / "two" / "datasets").iterdir()] == ["ds_1.jsonl"]


def test_what_was_removed_or_never_published_is_missed(boxes: tuple[Artifacts, Artifacts]) -> None:
    one, two = boxes
    write(one)
    one.objects.publish(CHECKPOINT)
    one.objects.remove(CHECKPOINT)
    assert two.objects.checkpoint_files(CHECKPOINT) is None
    assert two.objects.checkpoints() == set()
    for name in (CHECKPOINT, "datasets/ds_2.jsonl"):
        with pytest.raises(FileNotFoundError):
            two.objects.fetch(name)


def test_a_checkpoint_without_its_manifest_is_none(boxes: tuple[Artifacts, Artifacts]) -> None:
    one, two = boxes
    write(one)
    (one.root / CHECKPOINT / MANIFEST).unlink()
    one.objects.publish(CHECKPOINT)  # as far as a machine came that then died
    assert two.objects.checkpoint_files(CHECKPOINT) is None


def test_a_machine_that_dies_while_it_publishes_leaves_no_half_a_checkpoint(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore

    artifacts = Artifacts.of(Settings(data_dir=tmp_path, artifacts_url=bucket))
    write(artifacts)
    put, left = obstore.put, 0

    def put_until_it_dies(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return put(*arguments, **options)

    monkeypatch.setattr(obstore, "put", put_until_it_dies)
    for files in range(len(FILES) + 1):  # the manifest is one more
        left = files
        with pytest.raises(KeyboardInterrupt):
            artifacts.objects.publish(CHECKPOINT)
        assert artifacts.objects.checkpoint_files(CHECKPOINT) is None
    left = len(FILES) + 1
    artifacts.objects.publish(CHECKPOINT)
    assert artifacts.objects.checkpoint_files(CHECKPOINT) is not None


def test_a_torn_copy_is_fetched_again_and_an_evicted_one_too(bucket: str, tmp_path: Path) -> None:
    one, two = (Artifacts.of(Settings(data_dir=tmp_path / name, artifacts_url=bucket)) for name in ("one", "two"))
    write(one)
    one.objects.publish(CHECKPOINT)
    two.objects.fetch(CHECKPOINT)
    (two.root / CHECKPOINT / "model.safetensors").write_bytes(b"short")
    two.objects.fetch(CHECKPOINT)
    assert (two.root / CHECKPOINT / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    two.objects.evict(CHECKPOINT)
    assert not (two.root / CHECKPOINT).exists()
    assert two.objects.checkpoint_files(CHECKPOINT) is not None
    two.objects.fetch(CHECKPOINT)
    assert (two.root / CHECKPOINT / "config.json").read_bytes() == b"{}"


def test_a_large_file_goes_in_parts(bucket: str, tmp_path: Path) -> None:
    artifacts = Artifacts.of(Settings(data_dir=tmp_path, artifacts_url=bucket))
    (tmp_path / "large").write_bytes(os.urandom(40 * 1024 * 1024))
    artifacts.objects.publish("large")
    digest = sha256()
    for chunk in artifacts.objects.stream("large", 0, 40 * 1024 * 1024):
        digest.update(chunk)
    assert digest.hexdigest() == sha256((tmp_path / "large").read_bytes()).hexdigest()


def test_a_server_that_does_not_answer_is_no_missing_file(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from store.artifacts import s3

    monkeypatch.setattr(s3, "GIVE_UP", timedelta(seconds=1))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    artifacts = Artifacts.of(Settings(data_dir=tmp_path, artifacts_url=bucket))
    write(artifacts)
    for call in (
        lambda: artifacts.objects.publish(CHECKPOINT),
        lambda: artifacts.objects.checkpoint_files(CHECKPOINT),
        lambda: artifacts.objects.fetch("datasets/ds_1.jsonl"),
        lambda: artifacts.objects.size(CHECKPOINT),
        artifacts.objects.checkpoints,
    ):
        with pytest.raises(StorageUnavailable):
            call()
    artifacts.objects.remove(CHECKPOINT)  # here at least
    assert not (tmp_path / CHECKPOINT).exists()


def test_the_secret_may_lie_in_a_file(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    secret = tmp_path / "secret"
    secret.write_text("test\n")
    settings = Settings(data_dir=tmp_path / "data", artifacts_url=bucket, artifacts_secret_file=secret)
    artifacts = Artifacts.of(settings)
    write(artifacts)
    artifacts.objects.publish(CHECKPOINT)
    assert artifacts.objects.checkpoint_files(CHECKPOINT) is not None
    secret.unlink()
    with pytest.raises(ValueError, match="cannot read the secret file"):
        Artifacts.of(settings)


def test_something_else_than_a_bucket_is_refused_early(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="UNIAPL_ARTIFACTS_URL"):
        Artifacts.of(Settings(data_dir=tmp_path, artifacts_url="file:///tmp"))
