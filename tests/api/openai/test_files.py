"""OpenAI's own client with `/v1/files`, and malformed forms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from api.openai.multipart import MAX_FIELD_BYTES, MAX_FIELDS, Form
from store.settings import Settings
from tests.api.server import Server
from uniapl.errors import SpecError

pytestmark = pytest.mark.integration

CHAT = {"messages": [{"role": "user", "content": "Say hi."}, {"role": "assistant", "content": "hi"}]}
LINES = (json.dumps(CHAT) + "\n").encode() * 3
TYPE = "multipart/form-data; boundary=x"


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    models = tmp_path / "models.json"
    models.write_text(json.dumps({"tiny": {"kind": "student", "path": "t"}}))
    with Server(Settings(data_dir=tmp_path, database_url=database_url, models_file=models, hub_models=[])) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        yield client


def upload(client: openai.OpenAI, name: str = "train.jsonl", data: bytes = LINES, **options: Any) -> Any:
    return client.files.create(file=(name, data), purpose="fine-tune", **options)


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "datasets").iterdir())


def test_a_file_is_a_dataset(server: Server, client: openai.OpenAI, tmp_path: Path) -> None:
    made = upload(client)
    assert (made.object, made.filename, made.bytes, made.purpose) == ("file", "train.jsonl", len(LINES), "fine-tune")
    assert client.files.wait_for_processing(made.id).status == "processed"
    dataset = httpx.get(f"{server.url}/datasets/{made.id}", headers=server.headers, trust_env=False).json()
    assert (dataset["name"], dataset["rows"], dataset["references"]) == ("train.jsonl", 3, 3)
    rows = [json.loads(line) for line in client.files.content(made.id).text.splitlines()]
    assert [(row["messages"], row["reference"]) for row in rows] == [(CHAT["messages"][:1], "hi")] * 3
    job = client.fine_tuning.jobs.create(model="tiny", training_file=made.id)
    with pytest.raises(openai.ConflictError) as used:
        client.files.delete(made.id)
    assert used.value.code == "dataset_in_use"
    client.fine_tuning.jobs.cancel(job.id)
    assert client.files.delete(made.id).deleted
    for gone in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            gone(made.id)
    assert kept(tmp_path) == []


def test_files_are_listed_page_by_page(client: openai.OpenAI) -> None:
    made = [upload(client, f"{i}.jsonl").id for i in range(5)]
    assert [file.id for file in client.files.list(limit=2)] == made[::-1]
    assert [file.id for file in client.files.list(purpose="fine-tune")] == made[::-1]
    assert list(client.files.list(purpose="batch")) == []


def test_the_same_key_makes_one_file(client: openai.OpenAI, tmp_path: Path) -> None:
    first, again = (upload(client, extra_headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.id == again.id
    with pytest.raises(openai.ConflictError):
        upload(client, "other.jsonl", extra_headers={"Idempotency-Key": "k"})
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize(
    ("options", "param"),
    [({"file": ("a.jsonl", b'{"x": 1}\n'), "purpose": "fine-tune"}, None), ({"purpose": "batch"}, "purpose")],
)
def test_what_is_refused_leaves_nothing(
    client: openai.OpenAI, tmp_path: Path, options: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.files.create(**{"file": ("train.jsonl", LINES), **options})
    assert refused.value.param == param
    assert kept(tmp_path) == []


def part(name: str, value: bytes, filename: str = "") -> bytes:
    extra = f'; filename="{filename}"' if filename else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value + b"\r\n"


def read(body: bytes) -> None:
    form = Form(TYPE, lambda _: None)
    form.feed(body)
    form.finish()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_form_may_come_in_any_pieces(size: int) -> None:
    taken = bytearray()
    form = Form(TYPE, taken.extend)
    data = b"a\r\n--y\r\n" * 50
    body = part("purpose", b"fine-tune") + part("file", data, "ä.jsonl") + part("more", b"1") + b"--x--\r\n"
    for start in range(0, len(body), size):
        form.feed(body[start : start + size])
    form.finish()
    assert bytes(taken) == data
    assert (form.filename, form.fields) == ("ä.jsonl", {"purpose": "fine-tune", "more": "1"})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "incomplete"),
        (part("file", b"{}", "a"), "incomplete"),
        (part("purpose", b"fine-tune") + b"--x--\r\n", "has no file"),
        (part("file", b"{}", "a") + part("file", b"{}", "b"), "two files"),
        (part("purpose", b"p" * (MAX_FIELD_BYTES + 1)), "longer than"),
        (b"".join(part(f"f{i}", b"") for i in range(MAX_FIELDS + 1)), "more than"),
        (b"garbage", "malformed"),
    ],
)
def test_a_malformed_form_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read(body)


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/form-data", "text/plain; boundary=x"])
def test_another_content_type_than_a_form_is_refused(kind: str) -> None:
    with pytest.raises(SpecError, match="not multipart/form-data"):
        Form(kind, lambda _: None)
