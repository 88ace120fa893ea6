"""One trace from the request through the worker to the training step, as an OTLP collector gets it."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed, so traces are not checked")

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from uniapl_client import Client

from embedded.service import EmbeddedService
from tests.e2e.conftest import CHANCE, IMPATIENT, wait_for

pytestmark = pytest.mark.full
CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str | int]


class Collector:
    """Takes what exporters send."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, sent: ExportTraceServiceRequest) -> None:
        for group in sent.resource_spans:
            service = next(a.value.string_value for a in group.resource.attributes if a.key == "service.name")
            for scope in group.scope_spans:
                for s in scope.spans:
                    facts = {a.key: a.value.string_value or a.value.int_value for a in s.attributes}
                    ids = (s.trace_id.hex(), s.span_id.hex(), s.parent_span_id.hex())
                    self.spans.append(Span(service, s.name, *ids, facts))

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


def test_a_step_can_be_traced_back_to_the_request(collector: Collector, tmp_path: Path) -> None:
    environment = {**IMPATIENT, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with EmbeddedService(tmp_path, environment=environment) as service:
        headers = {"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01", "authorization": f"Bearer {service.api_key}"}
        with Client(service.url, api_key=service.api_key) as client:
            dataset = client.datasets.upload(CHANCE)
            spec = {
                "student": "tiny-random-llama",
                "dataset_mix": [{"dataset": dataset.id, "role": "sft"}],
                "alpha": 1.0,
                "lambda_adv": 0.0,
                "schedule": {"steps": 3, "prompts_per_step": 1},
            }
            answer = httpx.post(f"{service.url}/jobs", json=spec, headers=headers, trust_env=False)
            job_id = answer.json()["id"]
            client.jobs.wait(job_id, timeout_s=300)
        wait_for(lambda: collector.named("attempt"), timeout_s=20)

    steps = collector.named("step")
    assert sorted(step.attributes["step"] for step in steps) == [1, 2, 3]
    by_id = {span.id: span for span in collector.spans}
    for step in steps:
        train = by_id[step.parent]
        attempt = by_id[train.parent]
        request = by_id[attempt.parent]
        assert [span.name for span in (train, attempt, request)] == ["train", "attempt", "POST /jobs"]
        assert [s.service for s in (step, attempt, request)] == ["uniapl-trainer", "uniapl-worker", "uniapl-api"]
        assert {span.trace for span in (step, train, attempt, request)} == {CALLER}
        assert attempt.attributes == {"job_id": job_id, "attempt": 1, "fence": 1}
        assert request.attributes["http.response.status_code"] == 201
    assert not any("/readyz" in span.name for span in collector.spans)
