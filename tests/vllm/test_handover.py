"""The hand-over of weights to the real vLLM on CPU: versions, caches, probes, sleep, and the fallback from CUDA IPC."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from store.settings import Settings
from tests.conftest import MODELS, ROOT
from uniapl.inference.client import ModelServer
from uniapl.inference.endpoint import Address, ProbePause, RestartRequest, read_address
from uniapl.model.policy import Policy, load_policy
from uniapl.rollout.generator import Completion
from uniapl.rollout.vllm import SamplerPlace, VllmGenerator
from uniapl.rollout.weight_transfer import DeviceIpc
from uniapl.run.config import ModelSource
from uniapl.spec.backend import VllmSampler
from uniapl.spec.job import JobSpec
from worker.vllm.command import IPC, plans
from worker.vllm.server import Sidecar

pytestmark = pytest.mark.vllm
VLLM = ROOT / ".venv-vllm" / "bin" / "vllm"
START_S = 900.0
PROMPTS = [list(range(5, 5 + 40)), list(range(100, 100 + 33))]
"""Longer than a block of the prefix cache, which has 16 tokens, or 128 on CPU."""
ROUNDING = 0.03
"""Bound of the mean |difference| in nats between log-probabilities in bfloat16 and float32."""
STUDENT = ModelSource(path=str(MODELS / "tiny-random-llama"))


@pytest.fixture
def policy() -> Policy:
    return load_policy(STUDENT, torch.device("cpu"))


class Handles:
    """In place of CUDA IPC handles, which need a GPU; a probe arrives while they are sent."""

    def __init__(self, probe: Callable[[], str]) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._probe = probe
        self.probed: Future[str] | None = None

    def __call__(self, tensor: torch.Tensor) -> dict[str, tuple[Any, ...]]:
        if self.probed is None:
            self.probed = self._pool.submit(self._probe)
            time.sleep(1)
        return {"GPU-none": (tensor.shape,)}


def shift(policy: Policy, seed: int) -> None:
    """Change every weight by a tenth of its size, so that all log-probabilities change."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.3 * parameter.std() * torch.randn_like(parameter))


@torch.no_grad()
def distance(policy: Policy, prompt: list[int], completion: Completion) -> float:
    """Mean |difference| of a completion's log-probabilities to those of the policy in float32."""
    logits = policy.model(torch.tensor([prompt + completion.ids])).logits[0, len(prompt) - 1 : -1]
    own = logits.log_softmax(-1)[torch.arange(len(completion.ids)), completion.ids]
    return (own - torch.tensor(completion.logprobs)).abs().mean().item()


@contextmanager
def paused(pause: ProbePause) -> Iterator[list[bool]]:
    """Records whether probes are suspended, 20 times a second."""
    seen: list[bool] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            seen.append(pause.active)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def test_weights_go_to_vllm_in_its_own_type_and_it_sleeps_between(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("VLLM_ALLOW_INSECURE_SERIALIZATION", "1")
    backend = {"type": "vllm", "concurrency": 4}
    rollout = {"max_new_tokens": 12, "backend": backend, "sync_s": 300}
    fields: dict[str, Any] = {"grpo": {"group_size": 4}, "data": {"max_prompt_tokens": 400}}
    spec = JobSpec.model_validate({"student": "tiny", "dataset_mix": [{"dataset": "d"}], "rollout": rollout, **fields})
    assert isinstance(spec.rollout.backend, VllmSampler)
    settings = Settings(
        vllm_command=[str(VLLM)],
        vllm_options=["--enforce-eager", "--weight-transfer-config", IPC],
        sidecar_probe_s=300,
        sidecar_probe_every_s=1,
    )
    plan = plans(spec, {"tiny": STUDENT}, tmp_path, {}, tmp_path)["rollout"]
    sidecar = Sidecar(plan, settings, tmp_path / "server", threading.Lock())
    server = ModelServer(lambda: read_address(sidecar.address_file), spec.rollout.backend, param="rollout.backend")
    events: list[str] = []
    pause = ProbePause(sidecar.address_file)
    folder = tmp_path / "sampler"
    times: dict[str, float] = {}

    def address() -> Address:
        found = read_address(sidecar.address_file)
        assert found is not None
        return found

    def sync(version: int, name: str) -> None:
        began = time.monotonic()
        with paused(pause) as seen:
            generator.sync(version)
        times[name] = time.monotonic() - began
        assert True in seen or times[name] < 0.1
        assert not pause.active

    def check(version: int) -> list[list[Completion]]:
        groups = generator.sample(PROMPTS, group_size=4, seed=0)
        found = [(p, c) for p, group in zip(PROMPTS, groups, strict=True) for c in group]
        assert {c.version for _, c in found} == {version}
        mean = sum(distance(policy, p, c) for p, c in found) / len(found)
        print(f"version {version}: mean |difference| of log-probabilities {mean:.4f}")
        assert mean < ROUNDING
        return groups

    sidecar.start()
    try:
        where = SamplerPlace(pause, RestartRequest(sidecar.address_file), events.append, shared_card=True)
        generator = VllmGenerator(policy, server, spec.rollout, folder=folder, place=where)
        assert folder.resolve().parent == Path("/dev/shm")
        handles = Handles(lambda: sidecar._ask(address()))
        generator._transports.insert(0, DeviceIpc(policy, generator._commands, torch.bfloat16, handle=handles))
        began = time.monotonic()
        server.wait()
        times["start"] = time.monotonic() - began
        sync(0, "start's weights")
        assert not list(folder.glob("version-*"))
        first = check(0)

        shift(policy, 1)
        sync(1, "CUDA IPC, refused, then folder")
        (event,) = events
        print(event)
        assert event.startswith("weights are handed to the sampler in a folder, not on the card: ")
        assert [path.name for path in folder.glob("version-*")] == ["version-1"]
        assert handles.probed is not None
        assert handles.probed.result() == ""  # it waited for whole weights
        assert sidecar.restarts == 0
        second = check(1)  # also of prompts whose keys and values were cached
        assert second != first

        generator.release()
        assert pause.active
        time.sleep(3 * settings.sidecar_probe_every_s)
        assert (sidecar.state, sidecar.restarts) == ("ready", 0)
        shift(policy, 2)
        sync(2, "folder, asleep")
        check(2)
        generator.release()
        sync(2, "the same version, asleep")
        assert check(2) != second
        time.sleep(3 * settings.sidecar_probe_every_s)  # probes reach it again
        assert (sidecar.state, sidecar.restarts, len(events)) == ("ready", 0, 1)
        print({name: round(seconds, 2) for name, seconds in times.items()})
    finally:
        server.close()
        log = sidecar.log.read_text() if sidecar.log.exists() else ""
        print(*[line for line in log.splitlines() if "rror" in line][-8:], sep="\n")
        sidecar.stop()
