"""Remote discriminators: exact numbers from each kind of server, and never a number from an invalid reply."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tests.client.scripted import Answer, Request, Server, serving
from tests.conftest import MODELS
from tests.uniapl.conftest import Listening
from tests.uniapl.discriminators.polar_model import TOKENS
from tests.worker.vllm.fake_vllm import embedding, logit
from uniapl.discriminators.base import Comparison
from uniapl.discriminators.load import discriminator_server, load_discriminator
from uniapl.discriminators.polar_encoding import encode
from uniapl.discriminators.remote import RemoteEmbedding, RemotePolar
from uniapl.errors import ServerError, SpecError
from uniapl.inference.client import ModelServer, Question
from uniapl.inference.endpoint import Address, read_address, write_address
from uniapl.inference.protocol import InvalidReply, read_embeddings, read_scores
from uniapl.run.config import ModelSource, RunConfig
from uniapl.run.signals import Stopped
from uniapl.spec.backend import Api, RequestOptions
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.integration

FEW = [Comparison("How many?", "Three.", output) for output in ("Three.", "", "Two.", "Three.")]
OPTIONS = RequestOptions(timeout_s=60, retry_s=60, concurrency=4)
Script = Callable[[Request], Answer]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uniapl.inference.retry.FIRST_BACKOFF_S", 0.01)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    """A tokenizer with POLAR's two tokens."""
    from transformers import AutoConfig, AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    loaded = AutoTokenizer.from_pretrained(MODELS / "tiny-random-llama")
    loaded.add_special_tokens({"additional_special_tokens": TOKENS})
    loaded.save_pretrained(folder)
    AutoConfig.from_pretrained(MODELS / "tiny-random-llama").save_pretrained(folder)
    return ModelSource(path=str(folder))


MINILM = ModelSource(path=str(MODELS / "all-minilm-l6-v2"))


def well(request: Request, *, api: Api = "vllm", model: str = "judge") -> Answer:
    """The replies of a correct server."""
    if request.path == "/v1/models":
        return Answer({"object": "list", "data": [{"id": model}, {"id": "another"}]})
    body = request.json
    if request.path == "/v1/embeddings":
        data = [{"index": i, "embedding": embedding(row)} for i, row in enumerate(body["input"])]
        return Answer({"data": data[::-1], "model": model})  # in any order
    if api == "sglang":
        assert request.path == "/classify"
        return Answer([{"embedding": [logit(text)], "meta_info": {}} for text in body["text"]])
    assert request.path == "/pooling"
    if api == "lmdeploy":
        return Answer({"data": [{"index": i, "data": logit(t)} for i, t in enumerate(body["input"])], "model": model})
    squash = body.get("use_activation") is not False
    scores = [1 / (1 + math.exp(-logit(text))) if squash else logit(text) for text in body["input"]]
    return Answer({"data": [{"index": i, "data": [s]} for i, s in enumerate(scores)][::-1], "model": model})


@contextmanager
def asking(script: Script, options: RequestOptions = OPTIONS) -> Iterator[tuple[ModelServer, Server]]:
    with serving(script) as running:
        address = Address(model="judge", url=running.url)
        server = ModelServer(lambda: address, options, param="discriminator.backend")
        try:
            yield server, running
        finally:
            server.close()


def polar(source: ModelSource, server: ModelServer, api: Api = "vllm", batch_size: int = 2) -> RemotePolar:
    return RemotePolar(source, server, api=api, wrapper="sft", batch_size=batch_size)


def expected(judge: RemotePolar) -> torch.Tensor:
    return torch.tensor([logit(encode(judge._tokenizer, c, "sft")) for c in FEW])


@pytest.mark.parametrize("api", ["vllm", "sglang", "lmdeploy"])
def test_every_kind_of_server_gives_the_raw_logit_of_polars_text(source: ModelSource, api: Api) -> None:
    with asking(lambda request: well(request, api=api)) as (server, running):
        judge = polar(source, server, api)
        assert_close(judge.score(FEW), expected(judge))
        asked = len(running.seen)
        assert_close(judge.score(FEW), expected(judge))  # what was asked before is not asked again
        assert len(running.seen) == asked


def test_a_text_is_requested_once_in_requests_of_batch_size(source: ModelSource) -> None:
    bodies: list[Any] = []

    def script(request: Request) -> Answer:
        content = request.body
        if content:
            bodies.append(json.loads(content))
        copied = Request(request.method, request.path, {}, {}, lambda _: content, len(content))
        return well(copied)

    with asking(script) as (server, _):
        polar(source, server).score(FEW)
    assert sorted(len(body["input"]) for body in bodies[2:]) == [1, 2]  # after the two that check for raw logits
    assert [body["use_activation"] for body in bodies[2:]] == [False, False]


def test_windows_are_not_longer_than_what_model_and_server_take() -> None:
    lengths: list[int] = []

    def script(request: Request) -> Answer:
        if request.path == "/v1/embeddings":
            content = request.body
            lengths.extend(len(row) for row in json.loads(content)["input"])
            request = Request(request.method, request.path, {}, {}, lambda _: content, len(content))
        return well(request)

    long = [Comparison("", "word " * 1000, "One.")]
    for limit, longest in ((None, 256), (20, 20)):
        with asking(script) as (server, _):
            RemoteEmbedding(MINILM, server, batch_size=3, max_tokens=limit).score(long)
        assert max(lengths) == longest
        assert sum(lengths) == 1002 + 2 * len(lengths)  # every word and the two tokens of "One.", in their windows
        lengths.clear()


def test_embeddings_are_compared_by_cosine() -> None:
    with asking(well) as (server, _):
        judge = RemoteEmbedding(MINILM, server, batch_size=3)
        ids = {text: judge._windows.split(text)[0].ids for text in ("Three.", "", "Two.")}
        vectors = {
            text: torch.nn.functional.normalize(torch.tensor(embedding(row)), dim=0) for text, row in ids.items()
        }
        cosines = torch.stack([vectors["Three."] @ vectors[c.output] for c in FEW])
        assert_close(judge.score(FEW), cosines)
        assert judge.score([]).shape == (0,)


def spoil(change: Callable[[Any], Any]) -> Callable[[Answer], Answer]:
    def spoilt(answer: Answer) -> Answer:
        return Answer(change(json.loads(answer.body)))

    return spoilt


GARBAGE: dict[str, Callable[[Answer], Answer]] = {
    "html": lambda _: Answer(b"<html>200 OK</html>"),
    "empty": lambda _: Answer(b""),
    "truncated": lambda answer: Answer(answer.body[:-7]),
    "broken off": lambda answer: Answer(answer.body, cut_after=10),
    "one too few": spoil(lambda found: found | {"data": found["data"][1:]}),
    "one too many": spoil(lambda found: found | {"data": [*found["data"], found["data"][0]]}),
    "one twice": spoil(lambda found: found | {"data": [found["data"][0]] * len(found["data"])}),
    "another model's": spoil(lambda found: found | {"model": "somebody-else"}),
    "an error in a 200": lambda _: Answer({"error": {"message": "no"}}),
    "busy": lambda _: Answer({"error": "later"}, 503),
    "text for a number": spoil(lambda found: found | {"data": [x | {"data": ["1"]} for x in found["data"]]}),
    "two numbers": spoil(lambda found: found | {"data": [x | {"data": [1.0, 2.0]} for x in found["data"]]}),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_an_invalid_reply_is_never_used_and_the_request_is_repeated(source: ModelSource, kind: str) -> None:
    spoiling, spoilt, lock = threading.Event(), 0, threading.Lock()

    def script(request: Request) -> Answer:
        nonlocal spoilt
        answer = well(request)
        with lock:
            if spoiling.is_set() and spoilt < 3:
                spoilt += 1
                return GARBAGE[kind](answer)
        return answer

    with asking(script) as (server, _):
        judge = polar(source, server, batch_size=3)
        spoiling.set()
        assert_close(judge.score(FEW), expected(judge))
        assert (spoilt, server.retries) == (3, 3)


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_server_of_invalid_replies_alone_ends_the_run(source: ModelSource, kind: str) -> None:
    spoiling = threading.Event()
    options = RequestOptions(timeout_s=60, retry_s=0.3)
    with asking(lambda r: GARBAGE[kind](well(r)) if spoiling.is_set() else well(r), options) as (server, _):
        judge = polar(source, server, batch_size=3)
        spoiling.set()
        with pytest.raises(ServerError, match="sent no usable reply to"):
            judge.score(FEW)


@pytest.mark.parametrize("worth", [None, math.nan, math.inf, -math.inf, 1e30])
def test_a_score_that_is_not_a_number_is_missing_and_the_others_are_kept(
    source: ModelSource, worth: float | None
) -> None:
    def script(request: Request) -> Answer:
        found = json.loads(well(request).body)
        for item in found["data"]:
            if item.get("data") == [logit("How many?\nThree.<|reward|>How many?\nTwo.[UNUSED_TOKEN_130]")]:
                item["data"] = [worth]
        return Answer(json.dumps(found).encode())

    with asking(script) as (server, _):
        judge = polar(source, server)
        scores = judge.score(FEW)
        assert scores.isnan().tolist() == [False, False, True, False]
        assert_close(scores[:2], expected(judge)[:2])


def test_a_score_that_is_missing_once_is_requested_again(source: ModelSource) -> None:
    spoil_next = threading.Event()

    def script(request: Request) -> Answer:
        answer = well(request)
        if spoil_next.is_set():
            spoil_next.clear()
            found = json.loads(answer.body)
            found["data"][0]["data"] = [math.nan]
            return Answer(json.dumps(found).encode())
        return answer

    with asking(script) as (server, _):
        judge = polar(source, server, batch_size=3)
        spoil_next.set()
        assert_close(judge.score(FEW), expected(judge))
        assert server.retries == 1


@pytest.mark.parametrize("worth", [None, math.nan, math.inf, 0.0])
def test_an_embedding_that_points_nowhere_gives_no_score(worth: float | None) -> None:
    def script(request: Request) -> Answer:
        found = json.loads(well(request).body)
        for item in found["data"]:
            if "embedding" in item and item["embedding"] == embedding([101, 2048, 1012, 102]):  # "Two."
                item["embedding"] = [worth] * 8
        return Answer(json.dumps(found).encode())

    with asking(script) as (server, _):
        scores = RemoteEmbedding(MINILM, server, batch_size=3).score(FEW)
        assert scores.isnan().tolist() == [False, False, True, False]


def test_a_server_that_always_applies_an_activation_is_refused(source: ModelSource) -> None:
    def script(request: Request) -> Answer:
        if request.path == "/v1/models":
            return well(request)
        inputs = request.json["input"]
        return Answer({"data": [{"index": i, "data": [1 / (1 + math.exp(-logit(t)))]} for i, t in enumerate(inputs)]})

    with (
        asking(script) as (server, _),
        pytest.raises(ServerError, match="between 0 and 1 for requests of raw logits") as found,
    ):
        polar(source, server)
    assert found.value.param == "discriminator.backend"


def test_a_reward_model_that_answers_for_every_token_is_read_at_the_last() -> None:
    content = json.dumps({"data": [{"index": 0, "data": [[-1.0], [2.0], [-0.57]]}]}).encode()
    assert read_scores("vllm", content, model="judge", count=1) == [-0.57]


def test_a_server_without_the_model_is_refused_at_the_start(source: ModelSource) -> None:
    with (
        asking(lambda request: well(request, model="somebody-else")) as (server, _),
        pytest.raises(ServerError, match="does not list the model judge; its models: somebody-else, another"),
    ):
        polar(source, server)


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_is_not_repeated(source: ModelSource, status: int) -> None:
    with asking(lambda _: Answer({"error": "no"}, status)) as (server, running):
        with pytest.raises(ServerError, match=f"status {status}"):
            polar(source, server)
        assert len(running.seen) == 1


def test_requests_are_few_at_once_and_share_connections(source: ModelSource) -> None:
    now, most, lock = 0, 0, threading.Lock()
    clients: set[Any] = set()

    def script(request: Request) -> Answer:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        answer = well(request)
        with lock:
            now -= 1
        clients.add(threading.get_ident())  # one thread for each connection
        return answer

    with asking(script, RequestOptions(concurrency=3)) as (server, _):
        judge = polar(source, server, batch_size=1)
        judge.score([Comparison("p", "r", str(i)) for i in range(30)])
    assert most == 3
    assert len(clients) == 3


def test_a_hung_request_times_out_and_is_repeated(source: ModelSource) -> None:
    hang, answered, waited = threading.Event(), threading.Event(), threading.Event()

    def script(request: Request) -> Answer:
        answer = well(request)
        if hang.is_set():
            hang.clear()
            if not answered.wait(60):
                waited.set()
        return answer

    with asking(script, RequestOptions(timeout_s=2)) as (server, _):
        judge = polar(source, server)
        hang.set()
        assert_close(judge.score(FEW), expected(judge))
        answered.set()
    assert not waited.is_set()


def test_requests_wait_while_a_managed_server_restarts(source: ModelSource, tmp_path: Path) -> None:
    path = tmp_path / "address.json"
    down, options = threading.Event(), RequestOptions(timeout_s=60, retry_s=0.4)
    with serving(lambda r: Answer(b"", 500) if down.is_set() else well(r)) as first, serving(well) as second:
        write_address(path, Address(model="judge", url=first.url, token="one", life=1))
        server = ModelServer(lambda: read_address(path), options, param="discriminator.backend")
        judge = polar(source, server)
        down.set()
        write_address(path, Address(model="judge", url="", state="starting", life=1))

        def start_again() -> None:
            time.sleep(1.0)  # longer than anybody would have retried
            write_address(path, Address(model="judge", url=second.url, token="two", life=2))

        threading.Thread(target=start_again).start()
        assert_close(judge.score(FEW), expected(judge))
        assert {request.headers["authorization"] for request in second.seen} == {"Bearer two"}
        server.close()


def run_config(tmp_path: Path, discriminator: dict[str, Any], **fields: Any) -> RunConfig:
    spec = {"student": "s", "dataset_mix": [{"dataset": "d"}], "discriminator": discriminator}
    return RunConfig.model_validate({"spec": spec, "run_dir": str(tmp_path), **fields})


def test_the_spec_names_the_server(source: ModelSource, tmp_path: Path) -> None:
    with serving(lambda request: well(request, api="sglang", model="polar-7b")) as running:
        backend = {"type": "server", "api": "sglang", "url": running.url, "served_model": "polar-7b"}
        chosen = {"type": "polar", "model": "judge", "backend": backend, "batch_size": 4}
        run = run_config(tmp_path, chosen, models={"judge": source})
        server = discriminator_server(run.spec, run)
        assert server is not None
        judge = load_discriminator(run.spec, run, torch.device("cpu"), server)
        assert isinstance(judge, RemotePolar)
        assert_close(judge.score(FEW), expected(judge))
        server.close()


def test_a_managed_server_needs_a_worker(tmp_path: Path) -> None:
    run = run_config(tmp_path, {"type": "embedding", "backend": {"type": "vllm"}})
    with pytest.raises(SpecError, match="started by the service's worker") as found:
        discriminator_server(run.spec, run)
    assert found.value.param == "discriminator.backend"


def test_embeddings_come_from_vllm_alone() -> None:
    backend = {"type": "server", "url": "http://host", "api": "sglang"}
    with pytest.raises(ValueError, match="set it to 'vllm'"):
        JobSpec.model_validate(
            {
                "student": "s",
                "dataset_mix": [{"dataset": "d"}],
                "discriminator": {"type": "embedding", "backend": backend},
            }
        )


@pytest.mark.parametrize(
    "content",
    [b"[1, 2]", b"null", b'{"data": 3}', b'{"data": [{"index": 0}]}', b'{"data": [{"index": 0, "data": []}]}'],
)
def test_other_shapes_are_invalid(content: bytes) -> None:
    with pytest.raises(InvalidReply):
        read_scores("vllm", content, model="judge", count=1)
    with pytest.raises(InvalidReply):
        read_embeddings(content, model="judge", count=1)


def test_embeddings_of_different_lengths_are_invalid() -> None:
    data = [{"index": 0, "embedding": [1.0, 2.0]}, {"index": 1, "embedding": [1.0]}]
    with pytest.raises(InvalidReply, match="different lengths"):
        read_embeddings(json.dumps({"data": data}).encode(), model="judge", count=2)


def test_the_first_failure_ends_the_others() -> None:
    with asking(lambda _: Answer({"error": "no"}, 400)) as (server, _):
        question = Question("/x", lambda _: {}, lambda content, _: content)
        with pytest.raises(ServerError):
            server.ask([question] * 20)


def test_a_stop_cancels_running_requests_and_starts_no_other(listening: Listening) -> None:
    over = threading.Event()

    def silent(request: Request) -> Answer:
        os.kill(os.getpid(), signal.SIGTERM)
        over.wait(60)
        return well(request)

    signals = listening()
    questions = [Question("/pooling", lambda _: {"input": ["a"]}, lambda content, _: content)] * 4
    with asking(silent, RequestOptions(timeout_s=50, retry_s=50, concurrency=1)) as (server, running):
        with pytest.raises(Stopped):
            server.ask(questions)
        over.set()
        assert (signals.stop, len(running.seen)) == (True, 1)


def test_a_stop_ends_the_wait_for_a_server_that_is_not_there(listening: Listening) -> None:
    server = ModelServer(lambda: None, OPTIONS, param="rollout.backend")
    listening()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Stopped):
        server.wait()
    server.close()
