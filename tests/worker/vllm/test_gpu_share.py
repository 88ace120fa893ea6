"""What a worker makes of its cards: the share of its card that each server is started with."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import MODELS
from uniapl.run.config import ModelSource
from uniapl.spec.estimate import Gpu
from uniapl.spec.job import JobSpec
from worker.vllm.gpu_share import concurrent, shares, trainer_memory

pytestmark = pytest.mark.unit

GB = 10**9
MODELS_HERE = {
    "smol": ModelSource(path=str(MODELS / "smollm2-135m-instruct")),
    "all-MiniLM-L6-v2": ModelSource(path=str(MODELS / "all-minilm-l6-v2")),
}
VLLM = {"type": "vllm"}


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"student": "smol", "dataset_mix": [{"dataset": "d"}], **fields})


def card(size: int, *processes: Any) -> Gpu:
    return Gpu(name="G", memory_bytes=size * GB, **({"processes": list(processes)} if processes else {}))


def test_the_more_the_trainer_takes_of_a_card_the_less_the_sampler_gets() -> None:
    small, large = (
        shares(job(rollout={"backend": VLLM}, resources={"micro_batch_tokens": n}), MODELS_HERE, [card(40)])["rollout"]
        for n in (1024, 8192)
    )
    assert 0.1 < large < small < 0.95
    apart = [card(40, "trainer"), card(40, "rollout")]
    alone = shares(job(rollout={"backend": VLLM}, resources={"micro_batch_tokens": 8192}), MODELS_HERE, apart)
    assert alone["rollout"] > small


def test_a_sampler_with_a_small_share_runs_fewer_completions_at_once() -> None:
    spec = job(rollout={"backend": VLLM, "max_new_tokens": 4096}, data={"max_prompt_tokens": 4000})
    all_, some = (concurrent(spec, MODELS_HERE, [card(n)], {"rollout": 0.4}) for n in (1000, 20))
    assert all_ == 64 * 8
    assert some is not None
    assert 1 < some < 64  # 8 GB: at most 0.19 GB of keys and values each
    assert concurrent(spec, MODELS_HERE, [], {}) is None
    unknown = {**MODELS_HERE, "smol": ModelSource(hub="org/smol")}
    assert concurrent(spec, unknown, [card(20)], {"rollout": 0.4}) is None


def test_the_trainer_chooses_its_resources_with_what_the_servers_leave() -> None:
    spec = job(rollout={"backend": VLLM})
    beside = trainer_memory(spec, MODELS_HERE, [card(40)])
    assert beside is not None
    assert 30 * GB < beside < 40 * GB
    assert trainer_memory(spec, MODELS_HERE, [card(40, "trainer"), card(40, "rollout")]) is None
    assert trainer_memory(spec, MODELS_HERE, []) is None


def test_a_discriminators_server_gets_the_same_for_the_next_job_that_fits() -> None:
    judge = {"type": "embedding", "backend": VLLM}
    found = [
        shares(job(discriminator=judge, rollout={"max_new_tokens": n}), MODELS_HERE, [card(80)]) for n in (64, 512)
    ]
    assert found[0] == found[1]
    assert 0 < found[0]["discriminator"] < 0.2


def test_nothing_is_divided_without_a_card_or_without_the_students_size() -> None:
    spec = job(rollout={"backend": VLLM})
    assert shares(spec, MODELS_HERE, []) == {}
    assert shares(spec, {**MODELS_HERE, "smol": ModelSource(hub="org/smol")}, [card(80)]) == {}
