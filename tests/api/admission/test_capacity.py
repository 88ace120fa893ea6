"""Jobs against the live workers: refusals with the numbers, hardware, places in the queue."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, update

from api import worker_cache
from store.db import now, unit_of_work
from store.tables import Worker
from tests.api.admission.conftest import GB, SMALL, train_rows, validation, validation_warnings, worker
from tests.api.conftest import upload
from tests.api.routes.test_jobs import body, engine_of
from uniapl.estimate import plan
from uniapl.estimate.plan import least
from uniapl.estimate.servers import ASLEEP

pytestmark = pytest.mark.integration


def test_a_job_that_no_worker_can_hold_is_refused_with_the_numbers_everywhere(real: TestClient) -> None:
    spec = body(train_rows(real), student="smol", **SMALL)
    worker(real, 1.0)
    worker(real, 2.0, "worker_b")
    found = real.post("/jobs/estimate", json=spec).json()
    low = found["memory"]["total"]["low"]
    assert found["verdict"] == "does_not_fit"
    assert found["reasons"][0] == f"the job needs at least {low / GB:.1f} GB; the largest worker has 2.0 GB"
    refused = real.post("/jobs", json=spec)
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "does_not_fit"
    for number in (f"at least {low / GB:.1f} GB", "2.0 GB", "micro_batch_tokens"):
        assert number in refused.json()["detail"]
    assert real.get("/jobs").json()["data"] == []
    (problem,) = validation(real, spec)["problems"]
    assert (problem["code"], problem["param"]) == ("does_not_fit", "resources")
    worker(real, low / GB + 0.01, "worker_c")
    assert real.post("/jobs/estimate", json=spec).json()["verdict"] == "tight"
    assert "memory: " in validation_warnings(real, spec)[0]
    assert real.post("/jobs", json=spec).status_code == 201


def test_live_workers_are_queried_once_for_many_jobs(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_cache, "MAX_AGE_S", 3600.0)
    spec = body(upload(client))
    seen: list[str] = []
    event.listen(engine_of(client), "before_cursor_execute", lambda *args: seen.append(args[2]))
    for _ in range(3):
        assert client.post("/jobs", json=spec).status_code == 201
    assert sum("FROM workers" in statement for statement in seen) == 1


def test_of_jobs_that_differ_in_name_and_seed_one_is_measured(
    real: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_cache, "MAX_AGE_S", 3600.0)
    spec = body(train_rows(real), student="smol", **SMALL)
    low = real.post("/jobs/estimate", json=spec).json()["memory"]["total"]["low"]
    worker(real, low / GB + 0.2)
    measured = []
    monkeypatch.setattr(plan, "least", lambda *args: measured.append(args) or least(*args))
    for other in ({}, {"seed": 5}, {"name": "x"}, {"alpha": 0.5}):
        assert real.post("/jobs", json={**spec, **other}).status_code == 201
    assert len(measured) == 2
    larger = {**spec, "grpo": {**spec["grpo"], "kl_coef": 0.1}}
    assert [real.post("/jobs", json=larger).status_code for _ in range(2)] == [422, 422]


def test_a_silent_worker_refuses_nothing(real: TestClient) -> None:
    spec = body(train_rows(real), student="smol", **SMALL)
    worker(real, 1.0)
    assert real.post("/jobs", json=spec).status_code == 422
    with unit_of_work(engine_of(real)) as session:
        session.execute(update(Worker).values(seen_at=now() - 300))
    assert real.post("/jobs", json=spec).status_code == 201
    assert real.get("/workers").json()["data"] == []


def test_a_gpu_counts_by_its_own_memory(real: TestClient) -> None:
    spec = body(train_rows(real), student="smol", **SMALL)
    worker(real, 1.0, gpu=80)
    found = real.post("/jobs/estimate", json=spec).json()
    assert (found["verdict"], found["memory"]["device"]) == ("fits", "gpu")
    assert real.post("/jobs", json=spec).status_code == 201
    worker(real, 500.0, gpu=1)
    assert real.post("/jobs", json=spec).json()["error"]["code"] == "does_not_fit"


def test_servers_on_a_gpu_are_counted_and_what_they_lack_is_refused(real: TestClient) -> None:
    rollout = {"max_new_tokens": 16, "backend": {"type": "vllm", "concurrency": 8}}
    spec = body(train_rows(real), **{**SMALL, "student": "smol", "rollout": rollout})
    spec["resources"] = {**spec.get("resources", {}), "gradient_checkpointing": True}  # on GPUs of any size
    worker(real, 64.0, vllm="0.33.0")
    found = real.post("/jobs/estimate", json=spec).json()
    assert found["memory"]["servers"] == {}
    assert "memory of the rollout server beside the trainer is not included" in found["reasons"]
    worker(real, 64.0, gpu=80, vllm="0.33.0")
    found = real.post("/jobs/estimate", json=spec).json()
    assert found["verdict"] == "fits"
    assert list(found["memory"]["servers"]) == ["rollout"]
    assert "rollout" in found["reasons"][0]
    trainer, sampler = found["memory"]["total"]["low"], found["memory"]["servers"]["rollout"]["low"]
    least = (trainer + ASLEEP.low) / GB  # the sampler sleeps in an update
    assert least < (trainer + sampler) / GB
    worker(real, 64.0, gpu=least + 0.1, vllm="0.33.0")
    assert real.post("/jobs", json=spec).status_code == 201
    worker(real, 64.0, gpu=least - 0.1, vllm="0.33.0")
    refused = real.post("/jobs", json=spec).json()["error"]
    assert (refused["code"], refused["param"]) == ("does_not_fit", "resources")
    assert f"at least {least:.1f} GB (during an update: trainer " in refused["message"]
    apart = [
        {"name": "G", "memory_bytes": int(1.1 * max(trainer, sampler)), "processes": [p]}
        for p in ("trainer", "rollout")
    ]
    worker(real, 64.0, gpus=apart, vllm="0.33.0")
    assert real.post("/jobs", json=spec).status_code == 201
    spec["rollout"]["backend"]["gpu_memory_fraction"] = 0.01
    refused = real.post("/jobs", json=spec).json()["error"]
    assert (refused["code"], refused["param"]) == ("does_not_fit", "rollout.backend.gpu_memory_fraction")


def test_a_server_that_no_worker_can_start_is_refused_everywhere(real: TestClient) -> None:
    judged = {"lambda_adv": 0.001, "discriminator": {"type": "embedding", "backend": {"type": "vllm"}}}
    sampled = {"rollout": {"max_new_tokens": 16, "backend": {"type": "vllm"}}}
    dataset = train_rows(real)
    for param, changes in (("rollout.backend", sampled), ("discriminator.backend", judged)):
        spec = body(dataset, **{**SMALL, **changes})
        worker(real, 64.0)
        refused = real.post("/jobs", json=spec)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "vllm_missing")
        assert refused.json()["error"]["param"] == param
        assert f"remove {param}" in refused.json()["detail"]
        (problem,) = real.post("/jobs/validate", json=spec).json()["problems"]
        assert (problem["code"], problem["param"]) == ("vllm_missing", param)
        found = real.post("/jobs/estimate", json=spec).json()
        assert (found["verdict"], "no live worker has vLLM" in found["reasons"][0]) == ("does_not_fit", True)
        worker(real, 64.0, "worker_b", vllm="0.33.0")
        assert real.post("/jobs", json=spec).status_code == 201
        with unit_of_work(engine_of(real)) as session:
            session.execute(update(Worker).values(seen_at=now() - 300))
        assert real.post("/jobs", json=spec).status_code == 201  # no worker is alive


def test_a_library_that_no_worker_has_is_refused_everywhere(real: TestClient) -> None:
    spec = body(train_rows(real), **{**SMALL, "optimizer": {"moments": "8bit"}})
    worker(real, 64.0)
    refused = real.post("/jobs", json=spec)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "library_missing")
    assert refused.json()["error"]["param"] == "optimizer.moments"
    assert "pip install 'bitsandbytes" in refused.json()["detail"]
    (problem,) = real.post("/jobs/validate", json=spec).json()["problems"]
    assert (problem["code"], problem["param"]) == ("library_missing", "optimizer.moments")
    found = real.post("/jobs/estimate", json=spec).json()
    assert (found["verdict"], "no live worker has it" in found["reasons"][0]) == ("does_not_fit", True)
    worker(real, 64.0, "worker_b", bitsandbytes="0.50.2")
    assert real.post("/jobs", json=spec).status_code == 201
    assert real.post("/jobs/estimate", json=spec).json()["verdict"] != "does_not_fit"


def test_by_default_a_gpu_worker_with_vllm_samples_by_a_server(real: TestClient) -> None:
    spec = body(train_rows(real), **{**SMALL, "student": "smol"})
    for facts, servers in (
        ({}, []),
        ({"vllm": "0.33.0"}, []),
        ({"gpu": 80}, []),
        ({"gpu": 80, "vllm": "0.33.0"}, ["rollout"]),
        ({"gpu": 4, "vllm": "0.33.0"}, []),  # too small for both
    ):
        worker(real, 64.0, **{"vllm": None, **facts})
        found = real.post("/jobs/estimate", json=spec).json()
        assert list(found["memory"]["servers"]) == servers, facts
        assert found["verdict"] in ("fits", "tight")
        created = real.post("/jobs", json=spec).json()
        assert created["spec"]["rollout"]["backend"] is None


NAMED = {"rollout": {"max_new_tokens": 16, "backend": {"type": "transformers"}}}


def test_a_sampler_that_every_worker_refuses_is_refused_everywhere(real: TestClient) -> None:
    left_out = body(train_rows(real), **{**SMALL, "student": "smol"})
    spec = left_out | NAMED
    worker(real, 64.0, gpu=80, vllm="0.33.0")
    refused = real.post("/jobs", json=spec)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "sampler_refused")
    assert refused.json()["error"]["param"] == "rollout.backend"
    assert "leave rollout.backend out" in refused.json()["detail"]
    (problem,) = real.post("/jobs/validate", json=spec).json()["problems"]
    assert (problem["code"], problem["param"]) == ("sampler_refused", "rollout.backend")
    found = real.post("/jobs/estimate", json=spec).json()
    assert (found["verdict"], "every live worker has a GPU and vLLM" in found["reasons"][0]) == ("does_not_fit", True)
    assert real.post("/jobs", json=left_out).status_code == 201
    unsampled = {**spec, "lambda_adv": 0, "alpha": 1}
    assert real.post("/jobs", json=unsampled).status_code == 201


@pytest.mark.parametrize(
    ("other", "fields"),
    [
        ({"name": "worker_b"}, {}),
        ({"name": "worker_b", "gpu": 80}, {}),
        ({"gpu": 4}, {}),  # too small for trainer and server
        ({}, {"lora": {"rank": 600}}),  # vLLM serves no such adapter
    ],
)
def test_a_worker_that_samples_in_the_trainers_process_takes_the_job(
    real: TestClient, other: dict[str, Any], fields: dict[str, Any]
) -> None:
    spec = body(train_rows(real), **{**SMALL, "student": "smol", **NAMED, **fields})
    worker(real, 64.0, gpu=80, vllm="0.33.0")
    worker(real, 64.0, **({} if "name" in other else {"vllm": "0.33.0", "gpu": 80}) | other)
    found = real.post("/jobs/estimate", json=spec).json()
    assert found["verdict"] in ("fits", "tight")
    assert (found["memory"]["device"], found["memory"]["servers"]) == (
        "gpu" if other.get("gpu") or fields else "cpu",
        {},
    )
    created = real.post("/jobs", json=spec)
    assert created.status_code == 201, created.text
    expected = "1 of 2 workers sample in the trainer's process, as rollout.backend requires"
    reason = real.get(f"/jobs/{created.json()['id']}").json()["queue_reason"]
    assert reason == (expected if "name" in other else "a worker is about to claim it")


def test_a_small_job_fits_and_warns_of_nothing(real: TestClient) -> None:
    worker(real, 24.0)
    spec = body(train_rows(real), **SMALL)
    assert real.post("/jobs/estimate", json=spec).json()["verdict"] == "fits"
    assert validation_warnings(real, spec) == []
    limited = {**spec, "data": {"max_reference_tokens": 20}}
    (warning,) = validation_warnings(real, limited)
    assert "exceed the limits of `data`" in warning


def test_a_model_without_local_files_is_unknown_and_accepted(client: TestClient) -> None:
    worker(client, 0.001)
    spec = body(upload(client), **SMALL)  # `tiny` of this registry names an empty place
    found = client.post("/jobs/estimate", json=spec).json()
    assert (found["verdict"], found["memory"]) == ("unknown", None)
    assert "size of a model is unknown" in found["reasons"][0]
    assert found["tokens_per_step"] > 0
    assert client.post("/jobs", json=spec).status_code == 201


def test_workers_are_listed_with_what_they_run_on(real: TestClient) -> None:
    worker(real, 24.0, gpu=80, host="rack-1", slots=2)
    (found,) = real.get("/workers").json()["data"]
    assert (found["id"], found["host"], found["slots"], found["memory_bytes"]) == ("worker_a", "rack-1", 2, 24 * GB)
    assert (found["vllm"], found["speed"]) == (None, None)
    every = ["trainer", "discriminator", "rollout"]
    described = {"name": "G", "memory_bytes": 80 * GB, "processes": every}
    assert found["gpus"] == [{**described, "uuid": None, "compute_capability": None}]
    estimate = real.post("/jobs/estimate", json=body(train_rows(real), **SMALL)).json()
    assert estimate["hardware"] == [
        {key: found[key] for key in ("cpus", "memory_bytes", "gpus", "slots", "vllm", "bitsandbytes", "speed")}
    ]


def test_an_accepted_job_is_replayed_whatever_workers_are_left(real: TestClient) -> None:
    spec, key = body(train_rows(real), student="smol", **SMALL), {"idempotency-key": "once"}
    worker(real, 24.0)
    first = real.post("/jobs", json=spec, headers=key)
    worker(real, 1.0)  # the same worker, in a smaller container
    again = real.post("/jobs", json=spec, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert real.post("/jobs", json=spec).json()["error"]["code"] == "does_not_fit"


def test_queue_position_and_eta_take_few_queries_for_a_page(client: TestClient) -> None:
    spec = body(upload(client))
    made = [client.get(f"/jobs/{client.post('/jobs', json=spec).json()['id']}").json() for _ in range(12)]
    assert [job["queue_position"] for job in made] == list(range(1, 13))
    assert {job["queue_reason"] for job in made} == {"no worker is connected"}
    worker(client, 24.0)
    count = [0]
    event.listen(engine_of(client), "before_cursor_execute", lambda *_: count.__setitem__(0, count[0] + 1))
    listed = client.get("/jobs").json()["data"]
    for_all, count[0] = count[0], 0
    assert [job["queue_position"] for job in listed] == list(range(12, 0, -1))
    assert (listed[-1]["queue_reason"], listed[-2]["queue_reason"]) == (
        "a worker is about to claim it",
        "1 job ahead",
    )
    assert client.get("/jobs", params={"limit": 1}).json()["data"] == listed[:1]
    assert count[0] == for_all <= 10  # two of them BEGIN on SQLite, one for the key
    assert client.get(f"/jobs/{made[3]['id']}").json()["queue_position"] == 4
    client.post(f"/jobs/{made[0]['id']}/pause")
    assert client.get(f"/jobs/{made[0]['id']}").json()["queue_position"] is None
    client.post(f"/jobs/{made[0]['id']}/resume")
    resumed = client.get(f"/jobs/{made[0]['id']}").json()
    assert (resumed["queue_position"], resumed["eta_s"]) == (1, None)
