"""Rollouts from a vLLM server, which samples with the newest weights only."""

from __future__ import annotations

import base64
import json
import math
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from tests.client.scripted import Answer, Request, serving
from uniapl.errors import ServerError
from uniapl.estimate import vllm_obstacle
from uniapl.inference.client import ModelServer
from uniapl.inference.endpoint import Address, ProbePause, RestartRequest
from uniapl.model.lora import with_lora
from uniapl.model.policy import Policy
from uniapl.objective.losses import bounded_anchor, clipped_surrogate
from uniapl.rollout import vllm, weight_transfer
from uniapl.rollout.generator import Completion
from uniapl.rollout.vllm import SamplerPlace, VllmGenerator
from uniapl.rollout.weight_transfer import DeviceIpc, fixed_segments, requests_of, write_weights
from uniapl.run import shared_memory
from uniapl.run.config import ModelSource
from uniapl.spec.backend import VllmSampler
from uniapl.spec.job import JobSpec
from uniapl.spec.training import Lora, Rollout
from uniapl.training.rollout_collector import _check_fresh

pytestmark = pytest.mark.integration

PROMPTS = [[5, 6, 7], [8, 9]]
OPTIONS = Rollout(
    temperature=0.7, max_new_tokens=3, sync_s=30, backend=VllmSampler(timeout_s=60, retry_s=60, concurrency=2)
)


@dataclass
class Sampler:
    """A server that records the weights it loads, and samples token 10 + their version, then the end token."""

    stop_id: int
    orders: list[tuple[str, Any]] = field(default_factory=list)
    version: str = "default"
    adapters: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    spoil: Callable[[str, Any], Answer | None] = lambda path, body: None

    def __call__(self, request: Request) -> Answer:
        content = request.body
        body = json.loads(content) if content else None
        if request.path != "/weight_info":
            self.orders.append((request.path, request.query | body if request.query else body))
        if (spoilt := self.spoil(request.path, body)) is not None:
            return spoilt
        match request.path:
            case "/v1/load_lora_adapter":
                self.adapters.append(body["lora_name"])
            case "/v1/unload_lora_adapter":
                self.adapters.remove(body["lora_name"])
            case "/update_weight_version":
                self.version = body["new_version"]
            case "/finish_weight_update":
                self.version = body["weight_version"]
            case "/weight_info":
                return Answer({"weight_version": self.version})
            case "/v1/completions":
                return self.complete(body)
            case "/reset_prefix_cache":
                return Answer({"success": True})
        return Answer(b"ok")

    def complete(self, body: Any) -> Answer:
        if "@" in body["model"] and body["model"] not in self.adapters:
            return Answer({"error": "no such model"}, 404)
        number = 10 + int(self.version if self.version != "default" else body["model"].split("@")[-1])
        ended = {"token_ids": [number, self.stop_id], "logprobs": {"token_logprobs": [-1.5, -0.5]}}
        cut = {"token_ids": [number] * 3, "logprobs": {"token_logprobs": [-1.0, -2.0, -3.0]}}
        choices = [{"index": i, **(cut if i % 2 else ended)} for i in range(body["n"])]
        return Answer({"model": body["model"], "choices": choices[::-1]})

    def asked(self, path: str) -> list[Any]:
        return [body for found, body in self.orders if found == path]


class Place:
    """The address of the server, which a test changes."""

    def __init__(self) -> None:
        self.address: Address | None = None

    def __call__(self) -> Address | None:
        return self.address


@contextmanager
def sampling(
    policy: Policy, folder: Path, sampler: Sampler, options: Rollout = OPTIONS, *, shared_card: bool = False
) -> Iterator[tuple[VllmGenerator, Place]]:
    with serving(sampler) as running:
        place = Place()
        place.address = Address(model="tiny", url=running.url, life=1)
        assert isinstance(OPTIONS.backend, VllmSampler)
        server = ModelServer(place, OPTIONS.backend, param="rollout.backend")
        address = folder / "address.json"
        where = SamplerPlace(ProbePause(address), RestartRequest(address), sampler.events.append, shared_card)
        try:
            yield VllmGenerator(policy, server, options, folder=folder / "weights", place=where), place
        finally:
            server.close()


@pytest.fixture(autouse=True)
def shared_memory_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shm").mkdir()
    monkeypatch.setattr(shared_memory, "ROOT", tmp_path / "shm")


@pytest.fixture
def sampler(policy: Policy) -> Sampler:
    return Sampler(stop_id=policy.stop_ids[0])


def shift(policy: Policy, by: float) -> None:
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(by)


def test_the_written_weights_are_the_policys_with_a_separate_head(policy: Policy, tmp_path: Path) -> None:
    write_weights(policy, tmp_path / "w", torch.float32)
    ids = torch.tensor([PROMPTS[0]])
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "w")
    assert not found.config.tie_word_embeddings
    assert_close(found(ids).logits, policy.model(ids).logits)
    assert policy.model.config.tie_word_embeddings  # the policy itself is as it was


def test_full_weights_are_reloaded_and_the_prefix_cache_is_reset(
    policy: Policy, sampler: Sampler, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    with sampling(policy, tmp_path, sampler) as (generator, _):
        assert (weights / "start" / "model.safetensors").exists()
        for version in (1, 2):
            shift(policy, 0.5)
            generator.sync(version)
        paths = [path for path, _ in sampler.orders]
        assert paths == ["/collective_rpc", "/reset_prefix_cache", "/update_weight_version"] * 2
        order = sampler.asked("/collective_rpc")[1]
        assert order["method"] == "reload_weights"
        folder = Path(order["kwargs"]["weights_path"])
        handed = load_file(folder / "model.safetensors")
        assert {value.dtype for value in handed.values()} == {torch.bfloat16}
        assert_close(handed["model.norm.weight"], policy.model.state_dict()["model.norm.weight"].bfloat16())
        assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
        assert sorted(p.name for p in weights.glob("*[!k]")) == ["start", "version-2"]  # the disk does not fill
        generator.sync(2)
        assert len(sampler.orders) == 6  # it has them already


def test_the_weights_of_the_servers_start_are_not_sent_again(policy: Policy, sampler: Sampler, tmp_path: Path) -> None:
    fresh = Sampler(sampler.stop_id)
    with sampling(policy, tmp_path, sampler) as (generator, place), serving(fresh) as second:
        generator.sync(0)
        assert sampler.orders == [("/update_weight_version", {"new_version": "0"})]
        place.address = Address(model="tiny", url=second.url, life=2)
        generator.sync(0)
        assert [path for path, _ in fresh.orders] == ["/update_weight_version"]
        generator.sync(1)
        generator.sync(0)  # the server no longer has them
        assert len(fresh.asked("/collective_rpc")) == 2


def test_without_room_in_shared_memory_an_event_explains_the_disk(
    policy: Policy, sampler: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sampling(policy, tmp_path, sampler):
        assert (tmp_path / "weights").resolve().parent == tmp_path / "shm"
        assert sampler.events == []
    monkeypatch.setattr(shared_memory, "ROOT", tmp_path / "nowhere")
    with sampling(policy, tmp_path / "other", sampler):
        assert (tmp_path / "other" / "weights" / "start").is_dir()
        (event,) = sampler.events
        assert event.startswith("weights for the sampler are written to disk, not to shared memory: ")


def test_a_server_in_float32_gets_float32(policy: Policy, sampler: Sampler, tmp_path: Path) -> None:
    exact = OPTIONS.model_copy(update={"backend": VllmSampler(dtype="float32")})
    with sampling(policy, tmp_path, sampler, exact):
        handed = load_file(tmp_path / "weights" / "start" / "model.safetensors")
        assert {value.dtype for value in handed.values()} == {torch.float32}


def test_a_prefix_cache_in_use_is_reset_again(policy: Policy, sampler: Sampler, tmp_path: Path) -> None:
    def in_use(path: str, body: Any) -> Answer | None:
        if path != "/reset_prefix_cache":
            return None
        return Answer({"success": len(sampler.asked("/reset_prefix_cache")) > 2})

    sampler.spoil = in_use
    with sampling(policy, tmp_path, sampler) as (generator, _):
        generator.sync(1)
        assert len(sampler.asked("/reset_prefix_cache")) == 3
        sampler.spoil = lambda path, body: Answer({"success": False}) if path == "/reset_prefix_cache" else None
    hasty = OPTIONS.model_copy(update={"sync_s": 2.0})
    with (
        sampling(policy, tmp_path / "other", sampler, hasty) as (generator, _),
        pytest.raises(ServerError, match="requests are running"),
    ):
        generator.sync(1)


def test_probes_pause_while_weights_are_loaded(policy: Policy, sampler: Sampler, tmp_path: Path) -> None:
    pause, seen = ProbePause(tmp_path / "address.json"), []

    def look(path: str, body: Any) -> None:
        seen.append((path, pause.active))

    sampler.spoil = look
    with sampling(policy, tmp_path, sampler) as (generator, _):
        generator.sync(1)
        assert seen == [("/collective_rpc", True), ("/reset_prefix_cache", True), ("/update_weight_version", True)]
        assert not pause.active
        generator.sample(PROMPTS, group_size=1, seed=0)
        assert not any(active for path, active in seen if path == "/v1/completions")


def by_value(tensor: torch.Tensor) -> dict[str, tuple[Any, ...]]:
    """In place of a CUDA IPC handle: the values, since this machine has no card."""
    return {"GPU-1": (tensor.clone(),)}


def on_card(policy: Policy, generator: VllmGenerator) -> None:
    ipc = DeviceIpc(policy, generator._commands, torch.bfloat16, handle=by_value)
    generator._transports.insert(0, ipc)


def received(sampler: Sampler) -> dict[str, torch.Tensor]:
    """All weights that came through `/update_weights`, checked as vLLM's IPC engine checks them."""
    weights: dict[str, torch.Tensor] = {}
    for body in sampler.asked("/update_weights"):
        info = body["update_info"]
        assert set(info) == {"names", "dtype_names", "shapes", "ipc_handles_pickled"}
        handles = pickle.loads(base64.b64decode(info["ipc_handles_pickled"]))  # noqa: S301
        for name, dtype, shape, handle in zip(info["names"], info["dtype_names"], info["shapes"], handles, strict=True):
            (tensor,) = handle["GPU-1"]
            assert (tensor.dtype, list(tensor.shape)) == (getattr(torch, dtype), shape)
            weights[name] = tensor
    return weights


@pytest.mark.parametrize("request_bytes", [2**30, 1])
def test_weights_on_a_shared_card_go_by_handles(
    policy: Policy, sampler: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_bytes: int
) -> None:
    monkeypatch.setattr(weight_transfer, "REQUEST_BYTES", request_bytes)
    with sampling(policy, tmp_path, sampler, shared_card=True) as (generator, _):
        on_card(policy, generator)
        generator.sync(1)
        paths = [path for path, _ in sampler.orders]
        updates = len(sampler.asked("/update_weights"))
        assert paths == [
            "/sleep", "/wake_up", "/init_weight_transfer_engine", "/start_weight_update",
            *["/update_weights"] * updates, "/finish_weight_update", "/reset_prefix_cache", "/wake_up",
        ]  # fmt: skip
        assert (updates == 1) == (request_bytes > 1)
        assert sampler.asked("/init_weight_transfer_engine") == [{"init_info": {"packed": False}}]
        assert sampler.asked("/finish_weight_update") == [{"weight_version": "1"}]
        write_weights(policy, tmp_path / "w", torch.bfloat16)
        written = load_file(tmp_path / "w" / "model.safetensors")
        assert_close(received(sampler), written, rtol=0, atol=0)
        [[one]] = generator.sample(PROMPTS[:1], group_size=1, seed=0)
        assert (one.ids[0], one.version, sampler.asked("/collective_rpc")) == (11, 1, [])
        generator.sync(2)
        assert len(sampler.asked("/init_weight_transfer_engine")) == 1


@pytest.mark.parametrize("path", ["/init_weight_transfer_engine", "/start_weight_update", "/update_weights"])
@pytest.mark.parametrize("status", [404, 500])
def test_a_server_that_takes_no_handles_gets_a_folder(
    policy: Policy, sampler: Sampler, tmp_path: Path, path: str, status: int
) -> None:
    sampler.spoil = lambda found, body: Answer({"error": "unsupported"}, status) if found == path else None
    with sampling(policy, tmp_path, sampler, shared_card=True) as (generator, _):
        on_card(policy, generator)
        generator.sync(1)
        paths = [path for path, _ in sampler.orders]
        assert paths[:2] == ["/sleep", "/wake_up"]
        assert "/wake_up" not in paths[2:-1]  # no request runs until the folder is loaded
        assert sampler.orders[-1] == ("/wake_up", {"tags": "kv_cache"})
        assert paths.count(path) == 1  # a 500 is not repeated
        assert paths.count("/collective_rpc") == 1
        (event,) = [event for event in sampler.events if "on the card" in event]
        assert path in event
        generator.sync(2)
        assert len(sampler.asked(path)) == 1  # for the rest of the run
        [[one]] = generator.sample(PROMPTS[:1], group_size=1, seed=0)
        assert one.version == 2


def test_a_transfer_that_breaks_halfway_fails(
    policy: Policy, sampler: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_transfer, "REQUEST_BYTES", 1)
    second = lambda path, body: (  # noqa: E731
        Answer(b"", 500) if path == "/update_weights" and len(sampler.asked("/update_weights")) == 2 else None
    )
    sampler.spoil = second
    with sampling(policy, tmp_path, sampler, shared_card=True) as (generator, _):
        on_card(policy, generator)
        with pytest.raises(ServerError):
            generator.sync(1)
        assert sampler.asked("/collective_rpc") == []
        assert len(sampler.asked("/wake_up")) == 1  # half of its layers are new: it does not wake


def test_what_is_sent_by_handles_is_a_copy_outside_of_extendable_segments(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: list[str] = []
    monkeypatch.setattr(torch._C, "_accelerator_setAllocatorSettings", settings.append)
    own = {parameter.data_ptr() for parameter in policy.model.parameters()}
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    [weights] = requests_of(policy, torch.float32, allocation=fixed_segments)
    assert not own & {weight.data_ptr() for weight in weights.values()}
    assert all(weight.is_contiguous() and not weight.requires_grad for weight in weights.values())
    assert settings[:2] == ["expandable_segments:False", "expandable_segments:True"]
    assert settings == settings[:2] * (len(settings) // 2)
    settings.clear()
    list(requests_of(policy, torch.float32))  # for a transfer without handles
    assert settings == []
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:512")
    list(requests_of(policy, torch.bfloat16, allocation=fixed_segments))
    assert settings == []


def test_the_trainers_cached_memory_is_free_before_a_sampler_wakes(
    policy: Policy, sampler: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed = lambda: sampler.orders.append(("freed", None))  # noqa: E731
    monkeypatch.setattr(vllm, "free_cached_memory", freed)
    monkeypatch.setattr(weight_transfer, "free_cached_memory", freed)
    with sampling(policy, tmp_path, sampler, shared_card=True) as (generator, _):
        assert sampler.orders == [("freed", None)]  # the server starts now
        on_card(policy, generator)
        generator.sync(1)
        assert [path for path, _ in sampler.orders][1:4] == ["freed", "/sleep", "/wake_up"]
        generator.release()
        sampler.orders.clear()
        generator.sync(2)
        paths = [path for path, _ in sampler.orders]
        assert paths[:2] == ["freed", "/wake_up"]
        assert paths[-2:] == ["freed", "/wake_up"]  # that of the copies, before the keys and values


def test_a_restarted_server_is_initialised_again(policy: Policy, sampler: Sampler, tmp_path: Path) -> None:
    fresh = Sampler(sampler.stop_id)
    with sampling(policy, tmp_path, sampler, shared_card=True) as (generator, place), serving(fresh) as second:
        on_card(policy, generator)
        generator.sync(1)
        place.address = Address(model="tiny", url=second.url, life=2)
        generator.sync(1)
        paths = [path for path, _ in fresh.orders]
        assert paths[:3] == ["/sleep", "/wake_up", "/init_weight_transfer_engine"]
        assert received(fresh).keys() == received(sampler).keys()


@pytest.mark.parametrize("on_device", [False, True])
def test_a_sampler_on_the_trainers_card_sleeps_without_its_weights(
    policy: Policy, sampler: Sampler, tmp_path: Path, on_device: bool
) -> None:
    pause = ProbePause(tmp_path / "address.json")
    with sampling(policy, tmp_path, sampler, shared_card=True) as (generator, _):
        if on_device:
            on_card(policy, generator)
        generator.sync(0)
        generator.sample(PROMPTS, group_size=1, seed=0)
        generator.release()
        assert sampler.orders[-1] == ("/sleep", {"level": "2", "mode": "wait"})
        assert pause.active
        sampler.orders.clear()
        generator.release()
        assert sampler.orders == []
        generator.sync(0)  # the same version, for an evaluation: its weights are gone
        paths = [path for path, _ in sampler.orders]
        assert sampler.orders[0] == ("/wake_up", {"tags": "weights"})
        assert sampler.orders[-1] == ("/wake_up", {"tags": "kv_cache"})
        assert ("/update_weights" if on_device else "/collective_rpc") in paths
        assert not {"/pause", "/resume"} & set(paths)  # a sleeping scheduler is paused
        assert not pause.active
        [[one]] = generator.sample(PROMPTS[:1], group_size=1, seed=0)
        assert one.version == 0


def test_the_base_weights_below_adapters_are_kept_while_it_sleeps(
    policy: Policy, sampler: Sampler, tmp_path: Path
) -> None:
    student = with_lora(policy, Lora(rank=4), seed=0)
    with sampling(student, tmp_path, sampler, shared_card=True) as (generator, _):
        assert (tmp_path / "weights" / "start").is_dir()  # the server may start
        generator.sync(1)
        generator.release()
        assert sampler.orders[-1] == ("/sleep", {"level": "1", "mode": "wait"})
        generator.sync(1)
        assert sampler.orders[-1] == ("/wake_up", {})
        generator.release()
        generator.sync(2)
        assert [path for path, _ in sampler.orders[-3:]] == [
            "/wake_up",
            "/v1/load_lora_adapter",
            "/v1/unload_lora_adapter",
        ]
        assert sampler.adapters == ["tiny@2"]


def test_a_server_that_restarts_in_its_sleep_is_awake(policy: Policy, sampler: Sampler, tmp_path: Path) -> None:
    fresh = Sampler(sampler.stop_id)
    with sampling(policy, tmp_path, sampler, shared_card=True) as (generator, place), serving(fresh) as second:
        generator.sync(1)
        generator.release()
        place.address = Address(model="tiny", url=second.url, life=2)
        generator.sync(2)
        assert [path for path, _ in fresh.orders[:3]] == ["/sleep", "/wake_up", "/collective_rpc"]
        assert not ProbePause(tmp_path / "address.json").active


def test_a_sampler_that_has_not_sampled_sleeps_during_an_update_too(
    policy: Policy, sampler: Sampler, tmp_path: Path
) -> None:
    fresh = Sampler(sampler.stop_id)
    with sampling(policy, tmp_path, sampler, shared_card=True) as (generator, place), serving(fresh) as second:
        generator.release()  # the first steps have demonstrations only
        assert sampler.orders == [("/sleep", {"level": "2", "mode": "wait"})]
        place.address = Address(model="tiny", url=second.url, life=2)  # restarted, and awake
        generator.release()
        assert [path for path, _ in fresh.orders] == ["/sleep"]
        assert ProbePause(tmp_path / "address.json").active
        generator.sync(0)
        assert "/collective_rpc" in [path for path, _ in fresh.orders]  # the weights of its start are gone
        [[one]] = generator.sample(PROMPTS[:1], group_size=1, seed=0)
        assert one.version == 0


def test_a_sampler_with_a_card_of_its_own_stays_awake(policy: Policy, sampler: Sampler, tmp_path: Path) -> None:
    with sampling(policy, tmp_path, sampler) as (generator, _):
        generator.sync(1)
        generator.release()
        assert sampler.asked("/sleep") == []
        assert not ProbePause(tmp_path / "address.json").active


def test_the_name_of_an_adapter_contains_its_version(policy: Policy, sampler: Sampler, tmp_path: Path) -> None:
    with sampling(with_lora(policy, Lora(rank=4), seed=0), tmp_path, sampler) as (generator, _):
        generator.sync(0)
        generator.sync(1)
        assert sampler.adapters == ["tiny@1"]
        [[one, _], _] = generator.sample(PROMPTS, group_size=2, seed=3)
        assert (one.ids[0], one.version) == (11, 1)
        assert {body["model"] for body in sampler.asked("/v1/completions")} == {"tiny@1"}


def test_answers_carry_tokens_logprobs_and_the_version_they_come_from(
    policy: Policy, sampler: Sampler, tmp_path: Path
) -> None:
    with sampling(policy, tmp_path, sampler) as (generator, _):
        generator.sync(7)
        groups = generator.sample(PROMPTS, group_size=2, seed=3)
        end = policy.stop_ids[0]
        expected = [
            Completion([17, end], [-1.5, -0.5], truncated=False, version=7),
            Completion([17, 17, 17], [-1.0, -2.0, -3.0], truncated=True, version=7),
        ]
        assert groups == [expected, expected]
        bodies = sorted(sampler.asked("/v1/completions"), key=lambda body: PROMPTS.index(body["prompt"]))
        assert [(b["prompt"], b["n"], b["temperature"], b["max_tokens"]) for b in bodies] == [
            (PROMPTS[0], 2, 0.7, 3),
            (PROMPTS[1], 2, 0.7, 3),
        ]
        assert {(b["top_p"], b["top_k"], b["min_p"], b["repetition_penalty"]) for b in bodies} == {(1, 0, 0, 1)}
        assert bodies[0]["stop_token_ids"] == policy.stop_ids
        seeds = [body["seed"] for body in bodies]
        assert seeds[0] != seeds[1]
        generator.sample(PROMPTS, group_size=2, seed=3)
        assert {b["seed"] for b in sampler.asked("/v1/completions")} == set(seeds)
        generator.sample(PROMPTS, group_size=2, seed=4)
        assert len({b["seed"] for b in sampler.asked("/v1/completions")}) == 4


def test_a_greedy_completion_is_requested_once(policy: Policy, sampler: Sampler, tmp_path: Path) -> None:
    with sampling(policy, tmp_path, sampler) as (generator, _):
        generator.sync(0)
        [group] = generator.sample(PROMPTS[:1], group_size=3, seed=0, greedy=True)
        assert len(group) == 3
        [body] = sampler.asked("/v1/completions")
        assert (body["n"], body["temperature"]) == (1, 0.0)


@pytest.mark.parametrize("adapter", [False, True])
def test_a_restarted_server_gets_the_weights_before_it_samples(
    policy: Policy, sampler: Sampler, tmp_path: Path, adapter: bool
) -> None:
    fresh = Sampler(sampler.stop_id)
    student = with_lora(policy, Lora(rank=4), seed=0) if adapter else policy
    with sampling(student, tmp_path, sampler) as (generator, place), serving(fresh) as second:
        generator.sync(5)
        place.address = Address(model="tiny", url=second.url, life=2)
        [[one]] = generator.sample(PROMPTS[:1], group_size=1, seed=0)
        assert (one.ids[0], one.version) == (15, 5)
        order = "/v1/load_lora_adapter" if adapter else "/collective_rpc"
        paths = [path for path, _ in fresh.orders]
        assert paths.index(order) < paths.index("/v1/completions")
        assert sampler.asked("/v1/completions") == []


def test_a_restart_during_sampling_discards_the_samples(policy: Policy, sampler: Sampler, tmp_path: Path) -> None:
    fresh = Sampler(sampler.stop_id)
    with sampling(policy, tmp_path, sampler) as (generator, place), serving(fresh) as second:
        generator.sync(2)

        def dies(path: str, body: Any) -> Answer | None:
            if path != "/v1/completions":
                return None
            place.address = Address(model="tiny", url=second.url, life=2)
            return Answer(b"", 500)

        sampler.spoil = dies
        groups = generator.sample(PROMPTS, group_size=1, seed=0)
        assert [group[0].version for group in groups] == [2, 2]
        assert [path for path, _ in fresh.orders][:3] == [
            "/collective_rpc",
            "/reset_prefix_cache",
            "/update_weight_version",
        ]
        assert len(fresh.asked("/v1/completions")) == 2


@pytest.mark.parametrize("adapter", [False, True])
def test_a_stalled_transfer_of_weights_times_out(
    policy: Policy, sampler: Sampler, tmp_path: Path, adapter: bool
) -> None:
    student = with_lora(policy, Lora(rank=4), seed=0) if adapter else policy
    over = threading.Event()
    stalls = ("/v1/load_lora_adapter", "/collective_rpc")

    def stall(path: str, body: Any) -> Answer | None:
        if path in stalls:
            over.wait(60)
        return None

    sampler.spoil = stall
    options = OPTIONS.model_copy(update={"sync_s": 1.0})
    with sampling(student, tmp_path, sampler, options) as (generator, _):
        began = time.monotonic()
        with pytest.raises(ServerError, match=r"no complete reply within 1 s"):
            generator.sync(1)
        assert time.monotonic() - began < 50
        over.set()


def test_a_server_with_other_weights_is_not_sampled(policy: Policy, sampler: Sampler, tmp_path: Path) -> None:
    with sampling(policy, tmp_path, sampler) as (generator, _):
        generator.sync(1)
        sampler.version = "0"
        with pytest.raises(ServerError, match="version 0 of the weights instead of 1"):
            generator.sample(PROMPTS, group_size=1, seed=0)
        assert sampler.asked("/v1/completions") == []


def test_answers_of_other_weights_are_not_trained_on() -> None:
    def group(version: int | None) -> list[list[Completion]]:
        return [[Completion([1], [-1.0], truncated=False, version=version)]]

    _check_fresh(group(None), 3)
    _check_fresh(group(3), 3)
    with pytest.raises(ServerError, match=r"after \[2\] updates instead of 3"):
        _check_fresh(group(2), 3)


BAD = {
    "no tokens": {"token_ids": [], "logprobs": {"token_logprobs": []}},
    "one log-probability too few": {"token_ids": [1, 2], "logprobs": {"token_logprobs": [-1.0]}},
    "a probability above one": {"token_ids": [1], "logprobs": {"token_logprobs": [0.5]}},
    "not finite": {"token_ids": [1], "logprobs": {"token_logprobs": [-math.inf]}},
    "none": {"token_ids": [1], "logprobs": None},
}


@pytest.mark.parametrize("kind", [*BAD, "html", "another model's", "too many"])
def test_an_invalid_reply_is_requested_again(policy: Policy, sampler: Sampler, tmp_path: Path, kind: str) -> None:
    spoilt = 0

    def once(path: str, body: Any) -> Answer | None:
        nonlocal spoilt
        if path != "/v1/completions" or spoilt:
            return None
        spoilt += 1
        well = json.loads(sampler.complete(body).body)
        match kind:
            case "html":
                return Answer(b"<html>")
            case "another model's":
                return Answer(well | {"model": "tiny@4"})
            case "too many":
                return Answer(well | {"choices": [*well["choices"], well["choices"][0]]})
        return Answer(json.dumps(well | {"choices": [{"index": 0, **BAD[kind]}]}).encode())

    sampler.spoil = once
    with sampling(policy, tmp_path, sampler) as (generator, _):
        generator.sync(0)
        [[one]] = generator.sample(PROMPTS[:1], group_size=1, seed=0)
        assert (one.ids[0], spoilt) == (10, 1)


def test_importance_weights_are_bounded_from_above_and_keep_their_direction() -> None:
    logprobs = torch.tensor([[-1.0, -1.0, -1.0]], requires_grad=True)
    sampler_logprobs = torch.tensor([[-1.0, -4.0, -0.5]])  # ratios 1, e³ ≈ 20, e^-0.5 ≈ 0.61
    anchor = bounded_anchor(logprobs, sampler_logprobs, 2.0)
    ratio = (logprobs - anchor).exp()
    assert_close(ratio.detach(), torch.tensor([[1.0, 2.0, math.exp(-0.5)]]))
    mask = torch.ones(1, 3, dtype=torch.bool)
    term = clipped_surrogate(logprobs, anchor, torch.tensor([-1.0]), mask, clip_low=0.2, clip_high=0.2)
    term.sum().backward()
    assert logprobs.grad is not None
    # a bad answer pushes each of its tokens down by its own ratio; the second would weigh 20 without the bound
    # and the third is beyond the lower clip: min(-0.61, -0.8) = -0.8 has no gradient
    assert_close(logprobs.grad, torch.tensor([[-1.0, -2.0, 0.0]]))


def test_truncation_and_stop_strings_are_sent_and_a_stopped_completion_is_complete(
    policy: Policy, sampler: Sampler, tmp_path: Path
) -> None:
    stop = policy.text([10] * 3)[-2:]  # the server stops at it after the third token, the limit
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    options = OPTIONS.model_copy(update={"top_p": 0.9, "top_k": 7, "min_p": 0.1, "stop": [stop]})
    with sampling(policy, first, sampler, options) as (generator, _):
        generator.sync(0)
        (group,) = generator.sample(PROMPTS[:1], group_size=2, seed=1)
    (body,) = sampler.asked("/v1/completions")
    assert (body["top_p"], body["top_k"], body["min_p"], body["stop"]) == (0.9, 7, 0.1, [stop])
    assert [c.truncated for c in group] == [False, False]
    with sampling(policy, second, sampler) as (generator, _):
        generator.sync(0)
        (group,) = generator.sample(PROMPTS[:1], group_size=2, seed=1)
    assert [c.truncated for c in group] == [False, True]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_truncated_sampling_by_a_server_requires_temperature_1(temperature: float) -> None:
    rollout = {"top_p": 0.9, "temperature": temperature, "backend": {"type": "vllm"}}
    spec = JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], "rollout": rollout})
    obstacle = vllm_obstacle(spec, ModelSource(path="s"))
    assert (obstacle is None) if temperature == 1 else ("rollout.temperature 1 only, not at 0.7" in str(obstacle))
