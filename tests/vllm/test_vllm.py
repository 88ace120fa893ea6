"""The real vLLM beside a trainer, on CPU (`make vllm`), compared with the same models in this process."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoTokenizer
from uniapl_client import Client

from embedded.service import EmbeddedService
from tests.conftest import MODELS, ROOT
from tests.e2e.conftest import CHANCE, IMPATIENT, wait_for
from tests.uniapl.discriminators.polar_model import TOKENS, write_model
from uniapl.discriminators.base import Comparison, Discriminator
from uniapl.discriminators.embedding import EmbeddingDiscriminator
from uniapl.discriminators.polar import PolarDiscriminator
from uniapl.inference.endpoint import read_address
from uniapl.run.config import ModelSource
from worker.vllm.probe import tokens

pytestmark = pytest.mark.vllm
VLLM = ROOT / ".venv-vllm" / "bin" / "vllm"
START_S = 900.0
MISMATCH = 1e-3
"""Bound of the mean |difference| in nats between the sampler's log-probabilities and the trainer's, both in float32."""


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    """A tiny Llama that classifies, with POLAR's two tokens and random weights."""
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "tiny-random-llama")
    tokenizer.add_special_tokens({"additional_special_tokens": TOKENS})
    return write_model(tmp_path_factory.mktemp("reward-model"), tokenizer)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, reward_model: ModelSource) -> Iterator[EmbeddedService]:
    folder = tmp_path_factory.mktemp("service")
    models = {
        "tiny-random-llama": {"kind": "student", "path": str(MODELS / "tiny-random-llama")},
        "all-MiniLM-L6-v2": {"kind": "discriminator", "path": str(MODELS / "all-minilm-l6-v2")},
        "tiny-reward-model": {"kind": "discriminator", "path": reward_model.path},
    }
    (folder / "models.json").write_text(json.dumps(models))
    environment = {
        **IMPATIENT,
        "UNIAPL_LEASE_S": "30",
        "UNIAPL_MODELS_FILE": str(folder / "models.json"),
        "UNIAPL_VLLM_COMMAND": json.dumps([str(VLLM)]),
        "UNIAPL_VLLM_OPTIONS": json.dumps(["--enforce-eager", "--max-num-seqs", "16"]),
        "UNIAPL_SIDECAR_PROBE_S": "300",  # the first request to vLLM on CPU takes most of a minute
        "UNIAPL_SIDECAR_PROBE_EVERY_S": "2",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    with EmbeddedService(folder / "data", environment=environment) as running:
        yield running
    assert vllms() == []


@pytest.fixture
def client(service: EmbeddedService) -> Iterator[Client]:
    with Client(service.url, api_key=service.api_key) as client:
        yield client


@pytest.fixture
def spec(client: Client) -> dict[str, Any]:
    dataset = client.datasets.upload(CHANCE).id
    return {
        "student": "tiny-random-llama",
        "dataset_mix": [{"dataset": dataset}],
        "alpha": 0.3,
        "lambda_adv": 0.01,
        "grpo": {"group_size": 4},
        "rollout": {"max_new_tokens": 12},
        "data": {"max_prompt_tokens": 400},
        "optimizer": {"learning_rate": 1e-2},
        "schedule": {"steps": 4, "prompts_per_step": 2, "checkpoint_every": 2, "eval_every": 2},
        "evaluation": {"dataset": dataset, "rows": 4, "samples": 4, "score": True},
    }


GROUPS: set[int] = set()
"""Process groups of the servers that have been seen."""


def vllms() -> list[psutil.Process]:
    """Running processes of vLLM; some change their name and overwrite their environment."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if {"worker.vllm.reaper", str(VLLM)} <= set(process.cmdline()):  # those of other tests are not ours
                GROUPS.add(process.pid)
            if process.info["status"] != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) in GROUPS:
                found.append(process)
        except (psutil.Error, ProcessLookupError):
            continue
    return found


def vllm(**changes: Any) -> dict[str, Any]:
    return {"type": "vllm", "dtype": "float32", "max_model_tokens": 512, **changes}


def finished(client: Client, spec: dict[str, Any]) -> str:
    job = client.jobs.create(**spec)
    assert client.jobs.wait(job.id, timeout_s=START_S).step == spec["schedule"]["steps"]
    return job.id


def metrics(client: Client, job_id: str) -> dict[tuple[str, int], float]:
    return {(p.name, p.step): p.value for p in client.jobs.metrics(job_id)}


def check_scores(client: Client, job_id: str, here: Discriminator) -> None:
    """The scores of a job's held-out answers are those of the same model in this process."""
    samples = client.jobs.samples(job_id)
    assert len(samples) == 12
    pairs = [Comparison(s.prompt, s.reference or "", s.completion) for s in samples]
    served = torch.tensor([s.score for s in samples])
    difference = (served - here.score(pairs)).abs().max().item()
    print(f"largest difference of a score: {difference:.1e}")
    assert difference < 1e-4
    assert served.std() > 1e-3  # they are not all the same


def told(client: Client, job_id: str) -> list[str]:
    return [event.message for event in client.jobs.list_events(job_id)]


def test_minilm_scores_as_in_process_and_its_engine_may_be_killed(client: Client, spec: dict[str, Any]) -> None:
    served = {"type": "embedding", "backend": vllm(max_model_tokens=None)}
    schedule = {"steps": 40, "prompts_per_step": 2, "checkpoint_every": 20, "eval_every": 20}
    job = client.jobs.create(**{**spec, "discriminator": served, "schedule": schedule})
    wait_for(lambda: client.jobs.get(job.id).step >= 1, timeout_s=START_S)
    print(f"memory: {sum(p.memory_full_info().uss for p in vllms()) / 2**30:.2f} GiB in {len(vllms())} processes")
    next(p for p in vllms() if "EngineCore" in " ".join(p.cmdline())).kill()
    done = client.jobs.wait(job.id, timeout_s=START_S)
    assert (done.step, done.attempt) == (40, 1)
    said = [message for message in told(client, job.id) if "server" in message]
    print(*said, sep="\n")
    assert any("restarting it (1 of 3)" in message for message in said)
    here = EmbeddingDiscriminator(
        ModelSource(path=str(MODELS / "all-minilm-l6-v2")), batch_size=8, device=torch.device("cpu")
    )
    check_scores(client, job.id, here)


def test_a_reward_model_scores_as_in_process(
    client: Client, service: EmbeddedService, spec: dict[str, Any], reward_model: ModelSource
) -> None:
    served = {"type": "polar", "model": "tiny-reward-model", "backend": vllm(), "batch_size": 4}
    job_id = finished(client, {**spec, "discriminator": served})
    print(*[message for message in told(client, job_id) if "server" in message], sep="\n")
    options = {"wrapper": "sft", "batch_size": 8, "device": torch.device("cpu"), "store": service.data_dir}
    here = PolarDiscriminator(reward_model, **options)
    check_scores(client, job_id, here)
    [address] = [read_address(file) for file in service.data_dir.glob("sidecars/*/address.json")]
    assert address is not None
    assert (asyncio.run(tokens(address)) or 0) > 0  # it is warm still, and has counted what it read


@pytest.mark.parametrize("lora", [None, {"rank": 8}], ids=["weights", "adapters"])
def test_completions_come_from_the_newest_weights(
    client: Client, spec: dict[str, Any], lora: dict[str, Any] | None
) -> None:
    rollout = {"max_new_tokens": 12, "backend": vllm()}
    job_id = finished(client, {**spec, "rollout": rollout, "lora": lora})
    wait_for(lambda: vllms() == [], timeout_s=30)  # no other job can use a server with this job's weights
    print(*[message for message in told(client, job_id) if "server" in message], sep="\n")
    found = metrics(client, job_id)
    for name in ("time/sync_weights", "time/generate", "time/scoring_hidden", "sampling/sampling_logp_difference/mean"):
        print(name, [f"{found[name, step]:.2g}" for step in (1, 2, 3, 4)])
    # the learning rate moves every log-probability by far more than the bound: old weights would be seen
    assert abs(found["eval/reference_logprob", 4] - found["eval/reference_logprob", 0]) > 20 * MISMATCH
    for step in (1, 2, 3, 4):
        assert found["sampling/sampling_logp_difference/mean", step] < MISMATCH
