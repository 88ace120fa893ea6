"""Rows of a newer release and broken rows: returned as they are, beside all others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text, update

from store.db import unit_of_work
from store.jobs import lifecycle, metrics
from store.model_registry import Registry
from store.tables import Event, Job, Worker
from tests.api.conftest import ROW, TEACHER, new_key, upload
from tests.store.jobs.factories import claimed
from tests.store.test_workers import report
from uniapl.spec.job import SPEC_VERSION

pytestmark = pytest.mark.integration

Json = dict[str, Any]


def _engine(client: TestClient) -> Engine:
    engine: Engine = client.app.state.service.engine  # type: ignore[attr-defined]
    return engine


def _put(target: Json, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target[part]
    target[last] = value


CHANGES: dict[str, Json] = {
    "a key at the top": {"speculative": {"draft": "small", "rates": [0.1, {"at": 3}]}},
    "a key below": {"rollout.backend": {"type": "transformers", "draft_model": "small"}},
    "a key in an entry": {"dataset_mix.0.filter": {"tags": ["a"]}},
    "a weight of another type": {"alpha": {"type": "sigmoid", "start": 0.9, "end": 0.1}},
    "a discriminator of another type": {"discriminator": {"type": "jury", "members": [{"model": "m"}]}},
    "a backend of another type": {"rollout.backend": {"type": "sglang"}},
    "a teacher of another type": {"teacher": {"type": "pool", "members": [{"api_key_secret": "big"}]}},
    "a role of another name": {"dataset_mix.0.role": "preference"},
    "a value beyond its bounds": {"alpha": 7, "schedule.steps": 0, "seed": 2**40, "grpo.group_size": -1},
    "values of other types": {"student": {"id": "tiny", "revision": 3}, "tags": ["a"], "name": 5, "schedule": 12},
    "parts that are gone": {"schedule": None, "evaluation": [], "dataset_mix": {}, "lambda_adv": None, "seed": None},
}

NONE: list[Any] = [{}, [1], "text", None, 3]
"""What is no spec at all."""


@pytest.fixture
def job(client: TestClient) -> Json:
    """A job, made as any other."""
    made: Json = client.post("/jobs", json={"student": "tiny", "dataset_mix": [{"dataset": upload(client)}]}).json()
    return made


def rewrite(client: TestClient, job: Json, spec: Any, version: int = SPEC_VERSION) -> None:
    with unit_of_work(_engine(client)) as session:
        session.execute(update(Job).where(Job.id == job["id"]).values(spec=spec, spec_version=version))


def walk(client: TestClient, job_id: str, spec: Any) -> None:
    """Ask every route that shows the job."""
    ours, theirs = f"/jobs/{job_id}", f"/v1/fine_tuning/jobs/{job_id}"
    shown = [client.get(ours)]
    others = [client.get(ours + path) for path in ("/events", "/metrics", "/samples", "/checkpoints")]
    others += [client.get(theirs + path) for path in ("", "/events", "/checkpoints")]
    for change in ("pause", "resume", "pause", "pause"):  # the last is a replay
        shown.append(client.post(f"{ours}/{change}", headers={"idempotency-key": f"{job_id}{change}"}))
    others += [client.post(f"{theirs}/{change}") for change in ("pause", "resume", "cancel")]
    shown.append(client.post(f"{ours}/cancel"))
    assert {answer.status_code for answer in (*shown, *others)} == {200}, (spec, [a.text for a in (*shown, *others)])
    assert [answer.json()["spec"] for answer in shown] == [spec] * len(shown)


@pytest.mark.parametrize("what", ["newer", "no spec"])
def test_a_spec_that_is_not_known_whole_is_answered_as_it_is(client: TestClient, job: Json, what: str) -> None:
    report(_engine(client), "worker_a")
    body = {"student": "tiny", "dataset_mix": job["spec"]["dataset_mix"]}
    specs: dict[str, Any] = {}
    for change in CHANGES.values() if what == "newer" else NONE:
        spec = json.loads(json.dumps(job["spec"]))
        for path, value in change.items() if isinstance(change, dict) else ():
            _put(spec, path, value)
        given = spec if what == "newer" else change
        made = client.post("/jobs", json=body).json()
        specs[made["id"]] = given if isinstance(given, dict) else {"unreadable": given}
        with unit_of_work(_engine(client)) as session:
            written = {"spec": json.dumps(given), "id": made["id"]}
            session.execute(text("UPDATE jobs SET spec = :spec WHERE id = :id"), written)
    listed = client.get("/jobs").json()["data"]
    assert {each["id"]: each["spec"] for each in listed} == specs | {job["id"]: job["spec"]}
    theirs = client.get("/v1/fine_tuning/jobs", params={"limit": 100}).json()["data"]
    assert [each["id"] for each in theirs] == [each["id"] for each in listed]
    for path in ("/metrics", "/workers"):
        assert client.get(path).status_code == 200
    assert client.post("/jobs/estimate", json=body).status_code == 200
    assert client.post("/jobs", json=body).status_code == 201
    assert client.delete(f"/datasets/{upload(client)}").status_code == 204
    for job_id, spec in specs.items():
        walk(client, job_id, spec)


def test_a_spec_that_is_not_even_json_does_not_take_others_down(client: TestClient, job: Json) -> None:
    if _engine(client).dialect.name == "postgresql":
        pytest.skip("Postgres stores JSON only")
    broken = client.post("/jobs", json={"student": "tiny", "dataset_mix": job["spec"]["dataset_mix"]}).json()["id"]
    with unit_of_work(_engine(client)) as session:
        session.execute(text('UPDATE jobs SET spec = \'{"student": "ti\' WHERE id = :id'), {"id": broken})
    kept = {"unreadable": '{"student": "ti'}
    assert [each["spec"] for each in client.get("/jobs").json()["data"]] == [kept, job["spec"]]
    walk(client, broken, kept)


def test_a_newer_spec_is_shown_in_openais_format_as_far_as_possible(client: TestClient, job: Json) -> None:
    rewrite(client, job, job["spec"] | {"speculative": 1, "alpha": {"type": "sigmoid", "steps": 3}, "lambda_adv": 0.0})
    view = client.get(f"/v1/fine_tuning/jobs/{job['id']}").json()
    assert (view["model"], view["training_file"]) == ("tiny", job["spec"]["dataset_mix"][0]["dataset"])
    assert view["hyperparameters"]["batch_size"] == job["spec"]["schedule"]["prompts_per_step"]
    assert view["method"] == {"type": "uniapl", "uniapl": {"alpha": {"type": "sigmoid", "steps": 3}, "lambda_adv": 0.0}}


def test_a_job_of_a_newer_version_has_no_place_in_this_queue(client: TestClient, job: Json) -> None:
    report(_engine(client), "worker_a")
    rewrite(client, job, job["spec"] | {"speculative": 1}, SPEC_VERSION + 1)
    second = client.post("/jobs", json={"student": "tiny", "dataset_mix": job["spec"]["dataset_mix"]}).json()["id"]
    newer, known = (client.get(f"/jobs/{each}").json() for each in (job["id"], second))
    assert newer["queue_position"] is None
    assert newer["queue_reason"] == f"spec version {SPEC_VERSION + 1} requires workers of a newer release"
    assert (known["queue_position"], known["queue_reason"]) == (1, "a worker is about to claim it")


def test_a_dataset_is_in_use_wherever_a_newer_spec_names_it(client: TestClient, job: Json) -> None:
    held_out, pool, tagged = upload(client), upload(client), upload(client)
    rewrite(client, job, job["spec"] | {"evaluation": {"sets": [held_out]}, "pools": {pool: 1}, "tags": {"of": tagged}})
    named = job["spec"]["dataset_mix"][0]["dataset"]
    for dataset in (named, held_out, pool):
        answer = client.delete(f"/datasets/{dataset}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "dataset_in_use")
    assert client.delete(f"/datasets/{tagged}").status_code == 204
    client.post(f"/jobs/{job['id']}/cancel")
    assert client.delete(f"/datasets/{held_out}").status_code == 204


def test_a_secret_is_in_use_wherever_a_newer_spec_names_it(client: TestClient, job: Json) -> None:
    for name in ("big", "judge", "vllm"):
        assert client.put(f"/secrets/{name}", json={"value": "sk-0123456789"}).status_code in (200, 201)
    teacher = {"type": "pool", "members": [{"api_key_secret": "big"}]}
    rewrite(client, job, job["spec"] | {"teacher": teacher, "judge": {"secrets": ["judge"], "backend": "vllm"}})
    for name in ("big", "judge"):
        answer = client.delete(f"/secrets/{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "secret_in_use")
    assert client.delete("/secrets/vllm").status_code == 204


def test_states_levels_and_kinds_of_a_newer_release_are_answered(
    client: TestClient, job: Json, any_state: None
) -> None:
    engine = _engine(client)
    with unit_of_work(engine) as session:
        session.execute(update(Event).values(level="debug", type="archived"))
        if engine.dialect.name == "sqlite":
            session.execute(text("PRAGMA ignore_check_constraints = ON"))
        error = {
            "code": "x",
            "message": "m",
            "category": "tenant",
            "hint": None,
            "param": None,
            "log_tail": "",
            "at": 3,
        }
        values = {"state": "archived", "finished_at": 1.0, "error": error, "event_seq": 1}
        session.execute(update(Job).where(Job.id == job["id"]).values(**values))
    shown = client.get(f"/jobs/{job['id']}")
    assert shown.status_code == 200, shown.text
    assert (shown.json()["state"], shown.json()["error"]) == ("archived", error)
    assert client.get("/jobs").json()["data"] == [shown.json()]
    [event] = client.get(f"/jobs/{job['id']}/events").json()["data"]
    assert (event["level"], event["type"]) == ("debug", "archived")
    with client.stream("GET", f"/jobs/{job['id']}/events", headers={"accept": "text/event-stream"}) as stream:
        assert "event: archived" in "\n".join(stream.iter_lines())  # and ends
    assert client.get(f"/v1/fine_tuning/jobs/{job['id']}").json()["status"] == "archived"
    assert 'state="archived"' in client.get("/metrics").text


@pytest.fixture
def any_state(client: TestClient) -> Iterator[None]:
    """As a newer release's database is; that of Postgres is other tests' too, and is left as it was."""
    engine = _engine(client)
    if engine.dialect.name == "sqlite":
        yield
        return
    with unit_of_work(engine) as session:
        rule = session.scalar(
            text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'ck_jobs_state'")
        )
        session.execute(text("ALTER TABLE jobs DROP CONSTRAINT ck_jobs_state"))
    yield
    with unit_of_work(engine) as session:
        session.execute(text("TRUNCATE jobs CASCADE"))
        session.execute(text(f"ALTER TABLE jobs ADD CONSTRAINT ck_jobs_state {rule}"))


def test_a_newer_workers_hardware_is_answered(client: TestClient, job: Json) -> None:
    gpu = {"name": "card", "memory_bytes": 1 << 40, "processes": ["trainer", "teacher"], "mig": True}
    report(_engine(client), "worker_a")
    with unit_of_work(_engine(client)) as session:
        session.execute(update(Worker).values(gpus=[gpu]))
    [worker] = client.get("/workers").json()["data"]
    assert worker["gpus"] == [{"uuid": None, "compute_capability": None, **gpu}]
    spec = {"student": "tiny", "dataset_mix": job["spec"]["dataset_mix"]}
    assert client.post("/jobs/estimate", json=spec).status_code == 200
    assert client.post("/jobs", json=spec).status_code == 201


def test_rows_of_a_newer_release_are_shown_and_left_out_of_statistics(client: TestClient, tmp_path: Path) -> None:
    dataset = upload(client, ROW, ROW)
    file = tmp_path / "datasets" / f"{dataset}.jsonl"
    newer = {**ROW, "reward": {"type": "jury", "size": 3}, "turns": [[1]]}
    file.write_text("\n".join(json.dumps(row) for row in (ROW, newer)) + "\n")
    shown = client.get(f"/datasets/{dataset}/preview")
    assert shown.json()["data"] == [ROW, newer]
    assert client.get(f"/datasets/{dataset}/statistics").json()["sampled_rows"] == 1
    spec = {"student": "tiny", "dataset_mix": [{"dataset": dataset}]}
    assert client.post("/jobs/estimate", json=spec).status_code == 200


def withdraw(client: TestClient, folder: Path, gone: str) -> None:
    """As an operator does, with the restart that it takes."""
    service = client.app.state.service  # type: ignore[attr-defined]
    (folder / "models.json").write_text("{}" if gone == "model" else (folder / "models.json").read_text())
    teachers = [] if gone == "teacher" else service.settings.teacher_urls
    settings = service.settings.model_copy(update={"teacher_urls": teachers})
    app: Any = client.app
    app.state.service = replace(service, settings=settings, registry=Registry(settings))


@pytest.mark.parametrize("route", ["/jobs", "/v1/fine_tuning/jobs"])
@pytest.mark.parametrize("gone", ["model", "teacher"])
def test_a_repeated_post_is_answered_though_it_would_be_refused_today(
    client: TestClient, tmp_path: Path, route: str, gone: str
) -> None:
    dataset = upload(client)
    ours: Json = {"teacher": {"type": "openai", "base_url": TEACHER, "model": "m"}}
    body = {"student": "tiny", "dataset_mix": [{"dataset": dataset}], **ours}
    if route != "/jobs":
        body = {"model": "tiny", "training_file": dataset, "method": {"type": "uniapl", "uniapl": ours}}
    first = client.post(route, json=body, headers={"idempotency-key": "k"})
    assert first.status_code < 300, first.text
    withdraw(client, tmp_path, gone)
    assert client.post(route, json=body).status_code == 422
    again = client.post(route, json=body, headers={"idempotency-key": "k"})
    assert (again.status_code, again.headers.get("idempotency-replayed")) == (first.status_code, "true"), again.text
    assert again.json().keys() == first.json().keys()
    assert again.json()["id"] == first.json()["id"]
    assert again.headers.get("location") == first.headers.get("location")
    client.headers["authorization"] = f"Bearer {new_key(client, tenant='other')}"
    assert client.post(route, json=body, headers={"idempotency-key": "k"}).status_code == 422


def test_a_repeated_post_whose_body_is_not_understood_any_more_is_answered(client: TestClient, job: Json) -> None:
    body = {"student": "tiny", "dataset_mix": job["spec"]["dataset_mix"], "speculative": 1}
    headers = {"idempotency-key": "k"}
    assert client.post("/jobs", json=body, headers=headers).status_code == 422
    sent = client.build_request("POST", "/jobs", json=body)
    request = sha256(b"POST /jobs?\n" + sent.content).hexdigest()
    stored = {**job, "spec": body}
    with unit_of_work(_engine(client)) as session:  # as the newer release has answered it
        values = {"tenant": "default", "key": "k", "request": request, "body": json.dumps(stored)}
        columns = ", ".join(values)
        session.execute(
            text(f"INSERT INTO answers ({columns}, created_at) VALUES (:tenant, :key, :request, :body, 1e10)"),  # noqa: S608
            values,
        )
    again = client.post("/jobs", json=body, headers=headers)
    assert (again.status_code, again.json()) == (201, stored)
    assert client.post("/jobs", json=body | {"seed": 3}, headers=headers).status_code == 422


def test_metrics_of_a_running_newer_job_make_no_difference_to_others(client: TestClient, job: Json) -> None:
    """Speeds are taken from earlier jobs; what cannot be read is no earlier job."""
    claim = claimed(_engine(client), job["id"])
    with unit_of_work(_engine(client)) as session:
        lifecycle.begin(session, claim)
        metrics.put_metrics(session, job["id"], claim.fence, [("step_time", step, 1.0) for step in (1, 2)])
        session.execute(update(Job).where(Job.id == job["id"]).values(step=2))
    rewrite(client, job, job["spec"] | {"speculative": 1})
    report(_engine(client), "worker_a")
    walk_running = client.get("/jobs").json()["data"]
    assert walk_running[0]["eta_s"] is not None
    assert client.post("/jobs", json={"student": "tiny", "dataset_mix": job["spec"]["dataset_mix"]}).status_code == 201
    assert client.get("/jobs").status_code == 200
