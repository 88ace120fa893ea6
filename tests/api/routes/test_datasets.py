"""/datasets, /models and health over HTTP."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import statistics
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from fastapi.testclient import TestClient
from pyarrow import parquet
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.deps import Service
from store.datasets import repository as datasets
from store.datasets import statistics as contents
from store.db import reading, unit_of_work
from store.errors import Conflict
from store.jobs import lifecycle
from store.model_registry import Registry
from store.settings import Settings
from store.tables import Dataset, Job
from tests.api.conftest import ROW, upload
from tests.conftest import MODELS, ROOT
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.integration


def test_an_upload_is_described_by_its_contents(client: TestClient, tmp_path: Path) -> None:
    content = (json.dumps(ROW) + "\n" + json.dumps({"messages": ROW["messages"]}) + "\n").encode()
    answer = client.post("/datasets", params={"name": "two rows"}, content=content)
    assert answer.status_code == 201
    dataset = answer.json()
    assert (dataset["name"], dataset["rows"], dataset["references"], dataset["rewards"]) == ("two rows", 2, 1, 1)
    assert dataset["sha256"] == hashlib.sha256(content).hexdigest()
    assert dataset["bytes"] == len(content)
    assert (tmp_path / "datasets" / f"{dataset['id']}.jsonl").read_bytes() == content
    assert client.get(f"/datasets/{dataset['id']}").json() == dataset
    assert client.get("/datasets").json()["data"] == [dataset]


def test_bad_lines_are_listed_and_nothing_is_stored(client: TestClient, tmp_path: Path) -> None:
    good = json.dumps(ROW) + "\n"
    answer = client.post("/datasets", content=good + '{"messages": []}\n' + "nonsense\n")
    assert answer.status_code == 422
    problem = answer.json()
    assert [(e["line"], e["offset"]) for e in problem["errors"]] == [(2, len(good)), (3, len(good) + 17)]
    assert problem["errors"][0]["reason"].startswith("messages")
    assert "nothing was stored" in problem["detail"]
    assert client.get("/datasets").json()["data"] == []
    assert not any((tmp_path / "datasets").iterdir())


def test_models_lists_the_registry(client: TestClient) -> None:
    assert {(m["id"], m["kind"]) for m in client.get("/models").json()["data"]} == {
        ("tiny", "student"),
        ("all-MiniLM-L6-v2", "discriminator"),
    }


def test_health_and_readiness(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}


def test_an_unusable_database_is_a_503_with_retry_after(client: TestClient, tmp_path: Path) -> None:
    from store.db import make_engine

    upload(client)
    service = client.app.state.service  # type: ignore[attr-defined]
    object.__setattr__(service, "engine", make_engine("postgresql+psycopg://nobody@127.0.0.1:9/none"))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["error"]["code"] == "database_unavailable"
    assert client.get("/healthz").status_code == 200


def test_a_database_without_tables_is_not_ready(tmp_path: Path) -> None:
    from api.main import create_app

    with TestClient(create_app(Settings(data_dir=tmp_path))) as fresh:
        answer = fresh.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "database_not_migrated"


def test_a_nul_in_a_row_is_refused(client: TestClient) -> None:
    row = {"messages": [{"role": "user", "content": "a\x00b"}]}
    answer = client.post("/datasets", content=json.dumps(row))
    assert answer.status_code == 422
    assert "NUL" in answer.json()["errors"][0]["reason"]


def service_of(client: TestClient) -> Service:
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    return service


def test_what_was_sent_is_checked_against_what_was_stated(client: TestClient, tmp_path: Path) -> None:
    content = gzip.compress(json.dumps(ROW).encode())
    sha256 = hashlib.sha256(content).hexdigest()
    for stated in ({"bytes": len(content) - 1}, {"sha256": "0" * 64}):
        answer = client.post("/datasets", params=stated, content=content)
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, next(iter(stated)))
    assert not any((tmp_path / "datasets").iterdir())
    answer = client.post("/datasets", params={"bytes": len(content), "sha256": sha256}, content=content)
    assert answer.status_code == 201
    assert (answer.json()["bytes"], answer.json()["sha256"]) == (len(content), sha256)
    assert client.post("/datasets", params={"sha256": "short"}, content=content).status_code == 422


def test_damage_and_excess_have_different_errors(client: TestClient, tmp_path: Path) -> None:
    answer = client.post("/datasets", content=gzip.compress(b"x" * 1000)[:-5])
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_dataset"
    assert "truncated: compress it again" in answer.json()["detail"]
    object.__setattr__(service_of(client).settings, "max_dataset_bytes", 2000)
    answer = client.post("/datasets", content=b"\n" * 2001)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert not any((tmp_path / "datasets").iterdir())


def test_rows_of_other_tools_are_shown_as_they_are_stored(client: TestClient) -> None:
    rows = [
        {"prompt": "Say hello.", "completion": "Hello!"},
        {"key": 1, "prompt": "?", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"num_words": None}]},
        ROW,
    ]
    dataset = upload(client, *rows)
    preview = client.get(f"/datasets/{dataset}/preview").json()
    assert preview == {
        "object": "list",
        "data": [
            {"messages": [{"role": "user", "content": "Say hello."}], "reference": "Hello!"},
            {
                "id": "1",
                "messages": [{"role": "user", "content": "?"}],
                "reward": {"type": "ifeval", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
            },
            ROW,
        ],
        "has_more": False,
    }
    preview = client.get(f"/datasets/{dataset}/preview", params={"rows": 2}).json()
    assert (len(preview["data"]), preview["has_more"]) == (2, True)
    assert client.get(f"/datasets/{dataset}/preview", params={"rows": 101}).status_code == 422


def test_a_preview_of_long_rows_is_short_but_not_empty(client: TestClient) -> None:
    row = {"prompt": "a" * 700_000}
    preview = client.get(f"/datasets/{upload(client, row, row, row)}/preview").json()
    assert (len(preview["data"]), preview["has_more"]) == (1, True)


UNREAD = {"messages": [{"role": "user", "content": "Hi", "name": "ann"}, {"role": "assistant", "content": "Yo"}]}


@pytest.mark.parametrize("way", ["at once", "in pieces", "as OpenAI's file"])
def test_an_upload_is_answered_with_what_is_not_read(client: TestClient, way: str) -> None:
    content = "\n".join(json.dumps(row) for row in (UNREAD, UNREAD | {"source": "x"}, ROW)).encode()
    if way == "at once":
        answer = client.post("/datasets", content=content)
    elif way == "in pieces":
        upload_id = client.post("/uploads", json={"bytes": len(content)}).json()["id"]
        client.patch(f"/uploads/{upload_id}", headers={"upload-offset": "0"}, content=content)
        answer = client.post(f"/uploads/{upload_id}/complete")
    else:
        answer = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("rows.jsonl", content)})
    expected = {"messages[].name": 2, "source": 1}
    found = answer.json()
    assert (found["uniapl"] if way == "as OpenAI's file" else found)["ignored_fields"] == expected, answer.text
    assert client.get(f"/datasets/{found['id']}").json()["ignored_fields"] == expected
    assert client.get("/datasets").json()["data"][0]["ignored_fields"] == expected


ASKED = {"question": "What is 3 + 4?", "answer": "Seven", "notes": "easy"}
MAP = {"map": ["answer:reward.exact_match", "notes:ignore"]}
EXACT = {"type": "exact_match", "answer": "Seven"}


@pytest.mark.parametrize("way", ["at once", "in pieces", "as OpenAI's file"])
def test_fields_are_mapped_as_the_upload_names_them(client: TestClient, way: str) -> None:
    content = json.dumps(ASKED).encode()
    refused = client.post("/datasets", content=content)
    assert refused.status_code == 422
    assert "?map=answer:reward.exact_match" in refused.json()["errors"][0]["reason"]
    if way == "at once":
        answer = client.post("/datasets", params=MAP, content=content)
    elif way == "as OpenAI's file":
        file = {"file": ("rows.jsonl", content)}
        answer = client.post("/v1/files", params=MAP, data={"purpose": "fine-tune"}, files=file)
        answer = client.get(f"/datasets/{answer.json()['id']}")
    else:
        upload_id = client.post("/uploads", json={"bytes": len(content)}).json()["id"]
        client.patch(f"/uploads/{upload_id}", headers={"upload-offset": "0"}, content=content)
        answer = client.post(f"/uploads/{upload_id}/complete", params=MAP)
    dataset = answer.json()
    assert answer.status_code in (200, 201), dataset
    assert (dataset["references"], dataset["rewards"]) == (0, 1)
    assert dataset["mapping"] == {
        "question": ["messages"],
        "answer": ["reward.exact_match"],
        "notes": ["ignore"],
    }
    assert dataset["ignored_fields"] == {"notes": 1}
    assert client.get(f"/datasets/{dataset['id']}").json() == dataset
    (row,) = client.get(f"/datasets/{dataset['id']}/preview").json()["data"]
    assert row == {"messages": [{"role": "user", "content": "What is 3 + 4?"}], "reward": EXACT}


def test_the_recognised_format_and_the_use_of_its_fields_are_in_the_answer(client: TestClient) -> None:
    rows = [{"question": f"{n} + 1?", "answer": f"Add.\n#### {n + 1}"} for n in range(3)]
    dataset = client.post("/datasets", content="\n".join(map(json.dumps, [*rows, ROW]))).json()
    assert dataset["recognised"] == {"GSM8K": 3, "UniAPL": 1}
    assert dataset["mapping"] == {"question": ["messages"], "answer": ["reward.math", "reference"]}


def test_a_preview_stores_nothing(client: TestClient, tmp_path: Path) -> None:
    content = "\n".join(json.dumps(ASKED) for _ in range(10))
    found = client.post("/datasets/preview", params=MAP | {"rows": 2}, content=content).json()
    assert (found["rows"], found["rewards"], found["recognised"]) == (10, 10, {"prompt and gold": 10})
    assert found["mapping"]["answer"] == ["reward.exact_match"]
    assert found["ignored_fields"] == {"notes": 10}
    assert [row["reward"] for row in found["data"]] == [EXACT] * 2
    refused = client.post("/datasets/preview", content=content)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["line"] == 1
    assert client.get("/datasets").json()["data"] == []
    assert not any((tmp_path / "datasets").iterdir())


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (["answer"], "'answer' is not a pair of a field and a target"),
        (["answer:gold"], "targets are prompt, messages"),
        (["a:reference", "b:reference"], "two fields are mapped to reference"),
        (["anser:reward.math"], "no row has the field 'anser'"),
    ],
)
def test_a_mapping_that_cannot_act_is_refused(client: TestClient, pairs: list[str], expected: str) -> None:
    answer = client.post("/datasets", params={"map": pairs}, content=json.dumps(ROW))
    assert answer.status_code == 422
    assert expected in answer.text


def test_columns_of_parquet_are_mapped(client: TestClient) -> None:
    rows = [{"text": "3 + 4?", "extra": {"gold": "7"}, "score": 1.0}]
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    pairs = {"map": "text:prompt,extra.gold:reward.math"}
    dataset = client.post("/datasets", params=pairs, content=buffer.getvalue()).json()
    assert dataset["mapping"] == {"text": ["prompt"], "extra.gold": ["reward.math"]}
    assert (dataset["rewards"], dataset["ignored_fields"]) == (1, {"score": 1})


def test_rows_that_earlier_versions_took_are_shown(client: TestClient, tmp_path: Path) -> None:
    dataset, blank = upload(client), {"messages": [{"role": "user", "content": "Hi"}], "reference": " "}
    (tmp_path / "datasets" / f"{dataset}.jsonl").write_text(json.dumps(blank) + "\n")
    assert client.get(f"/datasets/{dataset}/preview").json()["data"] == [blank]
    assert client.get(f"/datasets/{dataset}/statistics").json()["sampled_rows"] == 1


def test_statistics_describe_every_row_of_a_small_dataset(client: TestClient) -> None:
    answers = ["a" * (n + 1) for n in range(100)]
    rows = [
        {"prompt": "What?", "completion": answer, "tags": ["x", "y"] if len(answer) % 2 else ["x"]}
        for answer in answers
    ]
    dataset = upload(client, *rows, ROW)
    found = client.get(f"/datasets/{dataset}/statistics").json()
    assert (found["rows"], found["references"], found["rewards"], found["sampled_rows"]) == (101, 101, 1, 101)
    assert found["reward_types"] == {"ifeval": 1}
    assert found["tags"] == {"x": 100, "y": 50}
    assert found["prompt"]["count"] == 101
    assert found["prompt"]["tokens"] is None
    lengths = sorted([*map(len, answers), len(ROW["reference"])])
    expected = {"mean": statistics.mean(lengths), "p50": lengths[50], "p95": lengths[95], "max": 100}
    assert found["reference"]["characters"] == pytest.approx(expected)


def test_statistics_count_the_tokens_of_a_registered_student(client: TestClient, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    name = "smollm2-135m-instruct"
    models = tmp_path / "models.json"
    known = {"smol": {"kind": "student", "path": str(MODELS / name)}, "tiny": {"kind": "student", "path": "tiny"}}
    models.write_text(json.dumps(known | {"hub": {"kind": "student", "hub": "some/model"}}))
    object.__setattr__(service_of(client), "registry", Registry(Settings(models_file=models)))
    content = (ROOT / "examples" / "data" / "train.jsonl").read_bytes()
    dataset = client.post("/datasets", content=content).json()["id"]
    rows = [json.loads(line) for line in content.splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(MODELS / name)
    found = client.get(f"/datasets/{dataset}/statistics", params={"student": "smol"}).json()
    for field, texts in {
        "prompt": ["\n".join(turn["content"] for turn in row["messages"]) for row in rows],
        "reference": [row["reference"] for row in rows if "reference" in row],
    }.items():
        lengths = [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
        assert found[field]["tokens"]["max"] == max(lengths)
        assert found[field]["tokens"]["mean"] == pytest.approx(statistics.mean(lengths))
    for student, text in (("tiny", "no tokenizer.json"), ("hub", "no tokenizer.json"), ("nope", "not a registered")):
        answer = client.get(f"/datasets/{dataset}/statistics", params={"student": student})
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == "student"
        assert text in answer.json()["detail"]
        assert answer.json()["detail"].endswith("tokens can be counted for: smol")


def test_statistics_of_many_rows_are_those_of_rows_spread_evenly(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "SAMPLE", 50)
    dataset = upload(client, *({"prompt": "a" * (n + 1)} for n in range(1000)))
    found = client.get(f"/datasets/{dataset}/statistics").json()
    assert (found["rows"], found["sampled_rows"], found["prompt"]["count"]) == (1000, 50, 50)
    assert found["prompt"]["characters"] == pytest.approx({"mean": 491, "p50": 481, "p95": 941, "max": 981})
    assert found["reference"] is None
    monkeypatch.setattr(contents, "PATIENCE_S", 0.0)
    found = client.get(f"/datasets/{dataset}/statistics").json()
    assert found["sampled_rows"] == 1


def end(client: TestClient, job_id: str) -> None:
    with unit_of_work(service_of(client).engine) as session:
        session.get_one(Job, job_id).state = "succeeded"


@pytest.mark.parametrize("entry", ["dataset_mix", "evaluation"])
def test_a_dataset_is_deleted_once_no_job_that_is_not_over_names_it(
    client: TestClient, tmp_path: Path, entry: str
) -> None:
    dataset, other = upload(client), upload(client)
    spec: dict[str, Any] = {"student": "tiny", "dataset_mix": [{"dataset": dataset}]}
    if entry == "evaluation":
        spec = {"student": "tiny", "dataset_mix": [{"dataset": other}], "evaluation": {"dataset": dataset}}
    job = client.post("/jobs", json=spec).json()
    answer = client.delete(f"/datasets/{dataset}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "dataset_in_use")
    assert job["id"] in answer.json()["detail"]
    assert client.get(f"/datasets/{dataset}").status_code == 200
    end(client, job["id"])
    assert client.delete(f"/datasets/{dataset}").status_code == 204
    assert not (tmp_path / "datasets" / f"{dataset}.jsonl").exists()
    for path in ("", "/preview", "/statistics"):
        assert client.get(f"/datasets/{dataset}{path}").json()["error"]["code"] == "dataset_not_found"
    assert client.delete(f"/datasets/{dataset}").status_code == 404
    assert [found["id"] for found in client.get("/datasets").json()["data"]] == [other]
    assert client.get(f"/jobs/{job['id']}").json()["spec"] == job["spec"]
    answer = client.post("/jobs", json=spec)
    assert answer.status_code == 422
    assert "unknown dataset" in answer.json()["detail"]


def in_between(engine: Engine, first: Callable[[Session], object], then: Callable[[], object]) -> BaseException | None:
    """What `then` raises that begins after `first` and before its commit; it has to wait for it."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            then()
        except BaseException as error:  # noqa: BLE001  (looked at by the caller)
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=run)
    with unit_of_work(engine) as session:
        first(session)
        thread.start()
        thread.join(timeout=0.5)
        assert thread.is_alive(), raised
    thread.join(timeout=30)
    return raised[0]


def admit(session: Session, dataset: str) -> Job:
    """As the API does it."""
    datasets.use(session, dataset)
    return lifecycle.create(
        session, JobSpec.model_validate({"student": "tiny", "dataset_mix": [{"dataset": dataset}]}), {}
    )


def test_a_dataset_is_not_deleted_under_a_job_that_is_being_admitted(client: TestClient) -> None:
    engine, dataset = service_of(client).engine, upload(client)

    def delete() -> None:
        with unit_of_work(engine) as session:
            datasets.delete(session, dataset)

    raised = in_between(engine, lambda session: admit(session, dataset), delete)
    assert isinstance(raised, Conflict)
    with reading(engine) as session:
        assert session.get_one(Dataset, dataset).deleted_at is None


def test_a_job_is_not_admitted_on_a_dataset_that_is_being_deleted(client: TestClient) -> None:
    engine, dataset = service_of(client).engine, upload(client)

    def create() -> None:
        answer = client.post("/jobs", json={"student": "tiny", "dataset_mix": [{"dataset": dataset}]})
        assert answer.status_code == 201, answer.text

    raised = in_between(engine, lambda session: datasets.delete(session, dataset), create)
    assert "unknown dataset" in str(raised)
    assert client.get("/jobs").json()["data"] == []
