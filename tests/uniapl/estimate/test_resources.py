"""The values of `resources` that a spec leaves open, by device and memory."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any

import pytest

from uniapl.estimate import plan
from uniapl.estimate.model_shape import ModelShape, from_config
from uniapl.estimate.placement import trainer_room
from uniapl.estimate.resources import GpuRoom, choose, group_tokens, longest_sequence, reasons
from uniapl.estimate.servers import ASLEEP, Server
from uniapl.spec.estimate import Bytes, Gpu, Hardware
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.unit

GB = 10**9
GROUP = 19456  # 1024 + 9 · 2048 tokens


def shape(**changes: Any) -> ModelShape:
    """Qwen3-0.6B."""
    sizes = {
        "vocab_size": 151936, "hidden_size": 1024, "num_hidden_layers": 28, "intermediate_size": 3072,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40960,
    }  # fmt: skip
    return from_config(sizes | changes)


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], **fields})


def chosen(spec: JobSpec, room: GpuRoom | None, **options: Any) -> tuple[int, bool, bool]:
    return astuple(plan.resources(spec, plan.Models(shape(), None), room, **options))


def test_a_cpu_has_fixed_values() -> None:
    assert chosen(job(), None, compiler=True) == (4096, False, False)


@pytest.mark.parametrize("room", [None, GpuRoom(1 * GB), GpuRoom(500 * GB)])
def test_given_values_stay(room: GpuRoom | None) -> None:
    for tokens, recomputed, compiled in ((77, True, True), (100_000, False, False)):
        given = {"micro_batch_tokens": tokens, "gradient_checkpointing": recomputed, "compile_blocks": compiled}
        assert chosen(job(resources=given), room, compiler=True) == (tokens, recomputed, compiled)


def test_a_large_gpu_holds_a_group_a_smaller_one_recomputes_and_the_smallest_halves() -> None:
    assert chosen(job(), GpuRoom(140 * GB)) == (GROUP, False, False)
    assert chosen(job(), GpuRoom(32 * GB)) == (GROUP, True, False)
    halved = [chosen(job(), GpuRoom(size * GB)) for size in (22, 20, 19, 1)]
    assert [recomputed for _, recomputed, _ in halved] == [True] * 4
    tokens = [tokens for tokens, _, _ in halved]
    assert tokens == sorted(tokens, reverse=True)
    assert GROUP // 2 >= tokens[0] > tokens[-1] == longest_sequence(job()) == 3072


def test_the_chosen_values_are_the_first_that_fit() -> None:
    tried = []

    def need(candidate: Any) -> float:
        tried.append((candidate.micro_batch_tokens, candidate.gradient_checkpointing))
        return math.inf if len(tried) < 4 else 5.0

    assert astuple(choose(job(), GpuRoom(5.0), need))[:2] == (GROUP // 2, True)
    assert tried == [(GROUP, False), (GROUP, True), (GROUP // 2, False), (GROUP // 2, True)]


def test_one_given_value_leaves_the_others_open() -> None:
    assert chosen(job(resources={"gradient_checkpointing": True}), GpuRoom(140 * GB)) == (GROUP, True, False)
    assert chosen(job(resources={"micro_batch_tokens": 4096}), GpuRoom(24 * GB)) == (4096, True, False)
    tokens, recomputed, _ = chosen(job(resources={"gradient_checkpointing": False}), GpuRoom(40 * GB))
    assert tokens < GROUP
    assert not recomputed


def test_blocks_are_compiled_on_a_gpu_with_a_compiler() -> None:
    assert chosen(job(), GpuRoom(140 * GB), compiler=True)[2]
    assert chosen(job(), GpuRoom(1 * GB), compiler=True, blocks=False) == (3072, False, False)


def test_beside_a_server_on_the_same_gpu_activations_are_recomputed() -> None:
    here = Hardware(cpus=1, memory_bytes=0, slots=1, gpus=[Gpu(name="G", memory_bytes=140 * GB)])
    server = Server(Bytes(low=6 * GB, expected=90 * GB, high=90 * GB), None)
    room = trainer_room(here, {"discriminator": server})
    assert room == GpuRoom(134 * GB, shared=True)
    assert chosen(job(), room) == (GROUP, True, False)
    assert trainer_room(here, {"discriminator": Server(None, 0.5)}) == GpuRoom(70 * GB, shared=True)
    asleep = GpuRoom(140 * GB - ASLEEP.high)
    assert trainer_room(here, {"rollout": server}) == asleep  # a sampler sleeps in an update
    assert chosen(job(), asleep) == (GROUP, False, False)
    apart = [Gpu(name="G", memory_bytes=140 * GB, processes=[name]) for name in ("trainer", "rollout")]
    assert trainer_room(here.model_copy(update={"gpus": apart}), {"rollout": server}) == GpuRoom(140 * GB)
    assert trainer_room(here.model_copy(update={"gpus": []}), {"rollout": server}) is None


def test_a_group_has_the_teachers_answer_and_only_the_sequences_that_are_trained() -> None:
    assert group_tokens(job(grpo={"group_size": 16})) == 1024 + 17 * 2048
    assert group_tokens(job(alpha=1, lambda_adv=0)) == 4096  # no rollouts: several rows per pass
    assert group_tokens(job(rollout={"max_new_tokens": 64}, data={"max_reference_tokens": 513})) == 45 * 128


def test_the_memory_of_a_job_follows_the_choice() -> None:
    models, spec = plan.Models(shape(), None), job(rollout={"backend": {"type": "vllm"}})
    sizes = [plan.memory(spec, models, plan.longest(spec), "gpu", GpuRoom(n * GB)).total.high for n in (140, 60, 22)]
    assert sizes == sorted(sizes, reverse=True)
    for size, room in zip(sizes, (140, 60, 22), strict=True):
        assert size < room * GB
    assert plan.memory(spec, models, plan.longest(spec), "gpu").total.high == sizes[0]
    assert plan.least(spec, models, plan.longest(spec), "gpu", GpuRoom(22 * GB)) < sizes[2]


def test_the_reasons_name_each_value_and_its_origin() -> None:
    spec = job(resources={"compile_blocks": False})
    models = plan.Models(shape(), None)
    found = reasons(spec, plan.resources(spec, models, GpuRoom(32 * GB)), GpuRoom(32 * GB))
    assert found == (
        "micro_batch_tokens 19456 (the longest group), "
        "gradient_checkpointing true (the activations do not fit without it), compile_blocks false (spec); "
        "32.0 GB of GPU memory for the trainer"
    )
    assert reasons(spec, plan.resources(spec, models, None), None) == (
        "micro_batch_tokens 4096 (default on a CPU), gradient_checkpointing false (default on a CPU), "
        "compile_blocks false (spec)"
    )
