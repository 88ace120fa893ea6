"""What a worker makes of its cards: the share of its card that each server is started with."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import MODELS
from uniapl.estimate.servers import ASLEEP
from uniapl.run.config import ModelSource
from uniapl.spec.estimate import Gpu
from uniapl.spec.job import JobSpec
from worker.vllm.gpu_share import concurrent, other_card, room_beside_servers, shared_card, shares

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


def test_the_sampler_gets_what_the_trainer_leaves_of_a_card_while_it_samples() -> None:
    def share(*gpus: Gpu, **fields: Any) -> float:
        return shares(job(rollout={"backend": VLLM}, **fields), MODELS_HERE, gpus)["rollout"]

    beside = share(card(10))
    assert share(card(10), resources={"micro_batch_tokens": 512}) == beside  # activations are freed before
    penalised = share(card(10), grpo={"kl_coef": 0.1})  # the reference model stays
    assert 0.5 < penalised < beside < share(card(10, "trainer"), card(10, "rollout"))


def test_a_sampler_with_a_small_share_runs_fewer_completions_at_once() -> None:
    spec = job(rollout={"backend": VLLM, "max_new_tokens": 4096}, data={"max_prompt_tokens": 4000})
    all_, some = (concurrent(spec, MODELS_HERE, [card(n)], {"rollout": 0.4}) for n in (1000, 20))
    assert all_ == 64 * 8
    assert some is not None
    assert 1 < some < 64  # 8 GB: at most 0.19 GB of keys and values each
    assert concurrent(spec, MODELS_HERE, [], {}) is None
    unknown = {**MODELS_HERE, "smol": ModelSource(hub="org/smol")}
    assert concurrent(spec, unknown, [card(20)], {"rollout": 0.4}) is None


def test_a_sampler_is_on_the_trainers_card_or_on_another_or_on_none() -> None:
    for gpus, expected in (
        ([], (False, False)),
        ([card(40)], (True, False)),
        ([card(40), card(40)], (True, False)),  # both take the first of the largest
        ([card(40, "trainer"), card(40, "rollout")], (False, True)),
        ([card(40, "rollout"), card(40, "discriminator")], (True, False)),
    ):
        found = shared_card(gpus), other_card(gpus)
        assert found == expected, gpus


def test_the_trainer_chooses_its_resources_with_what_the_servers_leave() -> None:
    spec = job(rollout={"backend": VLLM})
    assert room_beside_servers(spec, MODELS_HERE, [card(40)]) == (40 * GB - ASLEEP.high, False)
    assert room_beside_servers(spec, MODELS_HERE, [card(40, "trainer"), card(40, "rollout")]) == (None, False)
    assert room_beside_servers(spec, MODELS_HERE, []) == (None, False)
    judged = job(rollout={"backend": VLLM}, discriminator={"type": "embedding", "backend": VLLM})
    memory, awake = room_beside_servers(judged, MODELS_HERE, [card(40)])
    assert memory is not None
    assert 30 * GB < memory < 40 * GB - ASLEEP.high
    assert awake
    apart = [card(40, "trainer", "rollout"), card(40, "discriminator")]
    assert room_beside_servers(judged, MODELS_HERE, apart) == (40 * GB - ASLEEP.high, False)


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
