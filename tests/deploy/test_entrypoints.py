"""The compose file's own commands as processes, on a real Postgres and a real Redis with passwords, scraped by a real
Prometheus where there is one."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from uniapl_client import Client
from uniapl_client.spec_file import read_spec

from tests.conftest import ROOT
from tests.deploy.conftest import Config, tool
from tests.deploy.stack import Stack
from tests.e2e.conftest import CHANCE, wait_for
from tests.faults.servers import free_port

pytestmark = pytest.mark.integration

WORKERS = ("worker", "worker-2")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, everything: Config) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), everything) as running:
        yield running


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    """After three replicas have migrated at once."""
    for process in [stack.start("migrate", f"migrate-{number}") for number in range(3)]:
        assert process.wait(60) == 0
    with stack.start_all(*WORKERS) as client:
        yield client


@pytest.fixture(scope="module")
def jobs(stack: Stack, client: Client) -> list[Any]:
    """The demo's spec on the tiny model, once for each worker, at the same time."""
    dataset = client.datasets.upload(CHANCE)
    spec = read_spec(ROOT / "examples" / "uniapl.json")
    tiny = {
        "student": "tiny-random-llama",
        "dataset_mix": [entry.model_copy(update={"dataset": dataset.id}) for entry in spec.dataset_mix],
        "rollout": spec.rollout.model_copy(update={"max_new_tokens": 12}),
        "schedule": spec.schedule.model_copy(update={"prompts_per_step": 2}),
        "evaluation": spec.evaluation and spec.evaluation.model_copy(update={"dataset": dataset.id, "rows": 4}),
    }
    created = [client.jobs.create(spec.model_copy(update=tiny)) for _ in WORKERS]
    return [client.jobs.wait(job.id, timeout_s=240) for job in created]


def messages(stack: Stack, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stack.log(name).read_text().splitlines() if line.startswith("{")]


def test_the_demo_succeeds_on_two_workers_of_one_database(stack: Stack, jobs: list[Any]) -> None:
    assert [(job.state, job.step, job.error) for job in jobs] == [("succeeded", 10, None)] * 2
    engine = create_engine(stack.environment("api")["UNIAPL_DATABASE_URL"], connect_args={"password": password(stack)})
    with engine.connect() as connection:
        owners = set(connection.scalars(text("SELECT owner FROM attempts")))
    engine.dispose()
    assert len(owners) == 2


def test_the_demos_own_spec_succeeds(client: Client) -> None:
    if "COMPOSE_CHECK" not in os.environ:
        pytest.skip("not checked: that the demo's spec succeeds as it is (`make compose-check` does, in some minutes)")
    job = client.jobs.create(read_spec(ROOT / "examples" / "uniapl.json", client))
    assert client.jobs.wait(job.id, timeout_s=3600).step == 10


def password(stack: Stack) -> str:
    return stack.secret("postgres_password")


def test_postgres_and_redis_want_their_passwords(stack: Stack, jobs: list[Any]) -> None:
    engine = create_engine(stack.environment("api")["UNIAPL_DATABASE_URL"])
    with pytest.raises(OperationalError, match="password"):
        engine.connect()
    with pytest.raises(redis.exceptions.AuthenticationError), redis.Redis(port=stack.redis.port) as stranger:
        stranger.ping()
    with redis.Redis(port=stack.redis.port, password=stack.secret("redis_password")) as known:
        assert known.ping()
        assert known.config_get("appendonly") == {"appendonly": "yes"}
        assert known.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert stack.redis.process is not None
    command = Path(f"/proc/{stack.redis.process.pid}/cmdline").read_bytes()
    assert b"redis-server" in command
    assert stack.secret("redis_password").encode() not in command


def test_no_password_is_in_a_log_or_a_command(stack: Stack, jobs: list[Any]) -> None:
    secrets = [stack.secret(file.name) for file in stack.secrets.iterdir()]
    for log in stack.folder.glob("*.log"):
        content = log.read_text()
        assert not any(secret in content for secret in secrets), log
    for process in stack.processes.values():
        if process.poll() is None:
            command = Path(f"/proc/{process.pid}/cmdline").read_text()
            assert not any(secret in command for secret in secrets)


def test_services_are_healthy_by_the_script_of_their_images(stack: Stack, jobs: list[Any]) -> None:
    assert stack.healthy("api", "/readyz")
    assert all(stack.healthy(worker, "/metrics") for worker in WORKERS)
    assert not stack.healthy("api", "/metrics")  # without the token


def test_logs_are_json_and_say_which_request_job_and_attempt(stack: Stack, jobs: list[Any], client: Client) -> None:
    url = f"http://127.0.0.1:{stack.ports['api']}/jobs/nothing"
    asked = httpx.get(url, headers={"x-request-id": "asked-by-test"}, trust_env=False)
    assert asked.headers["x-request-id"] == "asked-by-test"
    found = wait_for(lambda: [m for m in messages(stack, "api") if m.get("request_id") == "asked-by-test"])
    assert found[0] | {"status": 401, "method": "GET", "level": "INFO", "logger": "api.http.middleware"} == found[0]
    ended = [m for name in WORKERS for m in messages(stack, name) if "ended: done" in m["message"]]
    assert {(m["job_id"], m["attempt"], m["fence"]) for m in ended} == {(job.id, 1, 1) for job in jobs}


@pytest.fixture(scope="module")
def prometheus(stack: Stack, jobs: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real one with our configuration, but for the addresses; it has scraped everything once."""
    program = tool("prometheus", "that Prometheus reads our metrics, alerts and dashboard (Debian: prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "3s", "evaluation_interval": "1s"}  # an answer may take as long
    config["rule_files"] = [str(ROOT / "docker/prometheus/alerts.yml")]
    wanted = {"api": ["api"], "worker": list(WORKERS), "discriminator": []}
    for job in config["scrape_configs"]:
        addresses = [f"127.0.0.1:{stack.ports[name]}" for name in wanted[job["job_name"]]]
        job["static_configs"] = [{"targets": addresses}]
        del job["dns_sd_configs"]
        if "authorization" in job:
            job["authorization"]["credentials_file"] = str(stack.secrets / "metrics_token")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: len(up(url)) == 3 and set(up(url).values()) == {"1"}, timeout_s=120)
        time.sleep(7)  # rates need two scrapes
        yield url
    finally:
        process.terminate()
        process.wait()


def query(url: str, expression: str) -> list[Any]:
    answer = httpx.get(f"{url}/api/v1/query", params={"query": expression}, trust_env=False).json()
    assert answer["status"] == "success", answer
    found: list[Any] = answer["data"]["result"]
    return found


def up(url: str) -> dict[str, str]:
    try:
        return {sample["metric"]["instance"]: sample["value"][1] for sample in query(url, "up")}
    except httpx.HTTPError:
        return {}


def number(url: str, expression: str) -> float:
    [sample] = query(url, expression)
    return float(sample["value"][1])


def test_prometheus_reads_what_has_happened(prometheus: str) -> None:
    assert number(prometheus, 'uniapl_jobs{state="succeeded"}') == 2
    assert number(prometheus, "uniapl_claims_total") == 2
    assert number(prometheus, "uniapl_queue_age_seconds") == 0
    assert number(prometheus, "sum(uniapl_worker_step_seconds_count)") == 20
    assert number(prometheus, "min(uniapl_worker_step_seconds_count)") == 10  # each worker had one
    assert number(prometheus, "sum(uniapl_worker_tokens_total)") > 100
    assert number(prometheus, "sum(uniapl_worker_discriminator_seconds_count)") == 20
    assert number(prometheus, 'sum(uniapl_worker_lease_renewals_total{outcome="renewed"})') > 0
    assert number(prometheus, "sum(uniapl_worker_slots)") == 2
    posted = number(prometheus, 'uniapl_api_request_seconds_count{method="POST",route="/jobs",status="2xx"}')
    assert posted == 2


def test_prometheus_evaluates_every_alert_and_none_fires(prometheus: str) -> None:
    def rules() -> list[Any]:
        groups = httpx.get(f"{prometheus}/api/v1/rules", trust_env=False).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    found = wait_for(lambda: all(rule["health"] == "ok" for rule in rules()) and rules(), timeout_s=10)
    assert len(found) > 10
    assert {rule["name"] for rule in found if rule["state"] == "firing"} == set()


def test_prometheus_answers_every_panel_of_the_dashboard(prometheus: str) -> None:
    dashboard = json.loads((ROOT / "docker/grafana/dashboards/uniapl.json").read_text())
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    empty = {expression for expression in targets if not query(prometheus, expression)}
    assert empty <= {expression for expression in targets if "gpu" in expression}


def test_workers_end_well_when_they_are_asked_to(stack: Stack, jobs: list[Any]) -> None:
    process = stack.processes[WORKERS[1]]
    process.terminate()
    assert process.wait(30) == 0
    migrated = [line for number in range(3) for line in stack.log(f"migrate-{number}").read_text().splitlines()]
    assert [line for line in migrated if not line.startswith("{")] == []
    assert "(MainProcess)" not in stack.log(WORKERS[1]).read_text()  # Celery's own announcement, which is no JSON
