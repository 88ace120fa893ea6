"""Weights for a sampler on another card: a broadcast to a second process, and every way in which it fails."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from tests.client.scripted import Answer, serving
from tests.conftest import ROOT
from tests.uniapl.rollout.gloo_group import Gloo
from tests.uniapl.rollout.test_vllm import (
    OPTIONS,
    PROMPTS,
    Sampler,
    sampler,  # noqa: F401 - a fixture
    sampling,
    shared_memory_of_the_test,  # noqa: F401 - a fixture
    shift,
)
from uniapl.errors import ServerError
from uniapl.inference.endpoint import Address, RestartRequest
from uniapl.model.policy import Policy
from uniapl.rollout import nccl_transfer, vllm, weight_transfer
from uniapl.rollout.nccl import GroupError, Nccl, Network
from uniapl.rollout.nccl_transfer import NcclTransfer
from uniapl.rollout.vllm import VllmGenerator
from uniapl.rollout.weight_transfer import write_weights
from uniapl.run import signals

pytestmark = pytest.mark.integration

JOIN = ["/get_world_size", "/init_weight_transfer_engine"]
BEFORE, AFTER = ["/pause", "/start_weight_update"], ["/finish_weight_update", "/reset_prefix_cache", "/resume"]


class Rank:
    """A server's process, to which the test's server passes what it is requested."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        command = [sys.executable, "-m", "tests.uniapl.rollout.gloo_group"]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process: subprocess.Popen[str] = subprocess.Popen(command, cwd=ROOT, **pipes)
        self._expect("ready")

    def __call__(self, path: str, body: Any) -> Answer | None:
        if path == "/get_world_size":
            return Answer({"world_size": 1})
        if path == "/init_weight_transfer_engine":
            self._write(base64.b64decode(body["init_info"]["nccl_unique_id_b64"]).decode().strip())
            self._expect("joined")
        if path == "/update_weights":
            self._write(json.dumps(body["update_info"] | {"into": str(self._folder / f"received-{self._count}")}))
            self._count += 1
            self._expect("received")
        return None

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _expect(self, line: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == line

    def received(self) -> dict[str, Tensor]:
        """All weights that arrived."""
        weights: dict[str, Tensor] = {}
        for number in range(self._count):
            weights |= load_file(self._folder / f"received-{number}")
        return weights

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


class Waiting:
    """A network and its group, whose broadcasts end with `abort` only, unless `sends`."""

    def __init__(self, *, sends: bool = True, aborts: bool = True, joins: bool = True) -> None:
        self._sends, self._aborts, self._joins = sends, aborts, joins
        self.aborted = threading.Event()
        self.failure: str | None = None

    def new_id(self) -> bytes:
        return bytes(128)

    def join(self, group_id: bytes, size: int, device: torch.device) -> Waiting:
        if self.failure is not None:
            raise GroupError(self.failure)
        if not self._joins:
            threading.Event().wait()
        return self

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        if not self._sends:
            self.aborted.wait()
            raise GroupError("aborted")

    def abort(self) -> None:
        if self._aborts:
            self.aborted.set()


def by_nccl(policy: Policy, generator: VllmGenerator, network: Network) -> None:
    """As on CUDA, where a sampler on another card gets this transport."""
    generator._transports.insert(0, NcclTransfer(policy, generator._commands, torch.bfloat16, network))


def one_worker(path: str, body: Any) -> Answer | None:
    return Answer({"world_size": 1}) if path == "/get_world_size" else None


@contextmanager
def restarting(folder: Path, place: Any, url: str) -> Iterator[RestartRequest]:
    """The worker, which answers a request for the restart of life 1 with a new server at `url`."""
    request, over = RestartRequest(folder / "address.json"), threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            if request.is_for(1):
                place.address = Address(model="tiny", url=url, life=2)

    thread = threading.Thread(target=watch)
    thread.start()
    yield request
    over.set()
    thread.join()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nccl_transfer, "JOIN_S", 1.0)
    monkeypatch.setattr(nccl_transfer, "END_S", 0.5)
    monkeypatch.setattr(vllm, "POLL_S", 0.01)


def test_weights_arrive_in_another_process_bit_for_bit(
    policy: Policy,
    sampler: Sampler,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weight_transfer, "REQUEST_BYTES", 2**17)
    monkeypatch.setattr(nccl_transfer, "END_S", 60.0)  # of a busy machine
    sampler.spoil = rank = Rank(tmp_path)
    with closing(rank), sampling(policy, tmp_path, sampler) as (generator, _):
        by_nccl(policy, generator, Gloo(tmp_path))
        shift(policy, 0.5)
        generator.sync(1)
        updates = len(sampler.asked("/update_weights"))
        assert updates > 1
        assert [path for path, _ in sampler.orders] == [*JOIN, *BEFORE, *["/update_weights"] * updates, *AFTER]
        assert sampler.asked("/pause") == [{"mode": "wait", "clear_cache": "false"}]
        [given] = sampler.asked("/init_weight_transfer_engine")
        assert len(base64.b64decode(given["init_info"].pop("nccl_unique_id_b64"))) == 128
        assert given == {"init_info": {"rank_offset": 1, "world_size": 2, "packed": False}}
        write_weights(policy, tmp_path / "w", torch.bfloat16)
        assert_close(rank.received(), load_file(tmp_path / "w" / "model.safetensors"), rtol=0, atol=0)
        [[one]] = generator.sample(PROMPTS[:1], group_size=1, seed=0)
        assert (one.ids[0], one.version, sampler.events) == (11, 1, [])
        sampler.orders.clear()
        generator.sync(2)
        assert [path for path, _ in sampler.orders][:3] == [*BEFORE, "/update_weights"]


@pytest.mark.parametrize(("path", "status"), [(JOIN[0], 404), (JOIN[1], 404), (JOIN[1], 500)])
def test_a_server_that_makes_no_group_gets_a_folder(
    policy: Policy,
    sampler: Sampler,  # noqa: F811
    tmp_path: Path,
    path: str,
    status: int,
) -> None:
    sampler.spoil = lambda found, body: (
        Answer({"error": "unsupported"}, status) if found == path else one_worker(found, body)
    )
    with sampling(policy, tmp_path, sampler) as (generator, _):
        by_nccl(policy, generator, Waiting(joins=False))
        generator.sync(1)
        (event,) = sampler.events
        assert event.startswith("weights are handed to the sampler in a folder, not from card to card: NCCL: ")
        assert "unsupported" in event
        assert not RestartRequest(tmp_path / "address.json").is_for(1)
        generator.sync(2)
        assert len(sampler.asked(path)) == 1  # for the rest of the run
        assert len(sampler.asked("/collective_rpc")) == 2
        assert sampler.asked("/pause") == []
        [[one]] = generator.sample(PROMPTS[:1], group_size=1, seed=0)
        assert one.version == 2


def test_without_nccl_the_server_is_not_requested_to_join(
    policy: Policy,
    sampler: Sampler,  # noqa: F811
    tmp_path: Path,
) -> None:
    sampler.spoil = one_worker
    with sampling(policy, tmp_path, sampler) as (generator, _):
        by_nccl(policy, generator, Nccl())  # this machine has no library of it
        generator.sync(1)
        assert "NCCL: the NCCL library cannot be loaded: libnccl.so.2" in sampler.events[0]
        assert sampler.asked("/init_weight_transfer_engine") == []
        assert len(sampler.asked("/collective_rpc")) == 1


def test_the_reason_is_the_trainers_own_error_where_it_has_one(
    policy: Policy,
    sampler: Sampler,  # noqa: F811
    tmp_path: Path,
) -> None:
    network = Waiting()
    network.failure = "ncclCommInitRank: invalid usage (Mismatched NCCL version)"

    def late(path: str, body: Any) -> Answer | None:
        time.sleep(0.2 if path == JOIN[1] else 0)
        return Answer(b"", 500) if path == JOIN[1] else one_worker(path, body)

    sampler.spoil = late
    with sampling(policy, tmp_path, sampler) as (generator, _):
        by_nccl(policy, generator, network)
        generator.sync(1)
        assert "Mismatched NCCL version" in sampler.events[0]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", ["hangs in joining", "hangs", "fails", "ends"])
def test_a_server_with_a_part_of_the_weights_is_restarted_and_gets_a_folder(
    policy: Policy,
    sampler: Sampler,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    monkeypatch.setattr(weight_transfer, "REQUEST_BYTES", 1)
    fresh, over = Sampler(sampler.stop_id), threading.Event()
    network = Waiting(sends=False, joins=fault != "hangs in joining")

    def fails(path: str, body: Any) -> Answer | None:
        hung = "/init_weight_transfer_engine" if fault == "hangs in joining" else "/update_weights"
        if path == hung or (path == "/weight_info" and fault == "hangs in joining"):
            if fault == "ends":
                place.address = Address(model="tiny", url=second.url, life=2)
            elif fault != "fails":
                over.wait(60)
            return Answer(b"", 500)
        return one_worker(path, body)

    sampler.spoil = fails
    options = OPTIONS.model_copy(update={"sync_s": 2.0})
    with (
        sampling(policy, tmp_path, sampler, options) as (generator, place),
        serving(fresh) as second,
        restarting(tmp_path, place, second.url) as request,
    ):
        by_nccl(policy, generator, network)
        began = time.monotonic()
        generator.sync(1)
        over.set()
        assert time.monotonic() - began < 30
        assert request.is_for(1)
        assert network.aborted.is_set() == (fault != "hangs in joining")
        assert not {"/collective_rpc", "/resume", "/finish_weight_update"} & {path for path, _ in sampler.orders}
        assert [path for path, _ in fresh.orders] == [
            "/collective_rpc",
            "/reset_prefix_cache",
            "/update_weight_version",
        ]
        [event] = sampler.events
        assert "from card to card: NCCL: " in event
        [[one]] = generator.sample(PROMPTS[:1], group_size=1, seed=0)
        assert (one.ids[0], one.version) == (11, 1)


@pytest.mark.usefixtures("quick")
def test_a_broadcast_that_survives_its_abort_fails_the_attempt(
    policy: Policy,
    sampler: Sampler,  # noqa: F811
    tmp_path: Path,
) -> None:
    sampler.spoil = lambda path, body: Answer(b"", 500) if path == "/update_weights" else one_worker(path, body)
    with sampling(policy, tmp_path, sampler) as (generator, _):
        by_nccl(policy, generator, Waiting(sends=False, aborts=False))
        with pytest.raises(ServerError, match=r"did not end within 0\.5 s of its abort"):
            generator.sync(1)
        assert sampler.asked("/collective_rpc") == []


def test_a_request_to_stop_ends_the_broadcast(
    policy: Policy,
    sampler: Sampler,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over, network = threading.Event(), Waiting(sends=False)

    def stop(path: str, body: Any) -> Answer | None:
        if path == "/update_weights":
            monkeypatch.setattr("uniapl.inference.client.raise_if_stopped", stopped)
            over.wait(60)
        return one_worker(path, body)

    def stopped() -> None:
        raise signals.Stopped

    sampler.spoil = stop
    with sampling(policy, tmp_path, sampler) as (generator, _):
        by_nccl(policy, generator, network)
        with pytest.raises(signals.Stopped):
            generator.sync(1)
        over.set()
        assert network.aborted.is_set()
