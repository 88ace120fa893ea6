"""Placement of trainer and servers on GPUs, shares of servers, and jobs that do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from uniapl.estimate.memory import RUNTIME
from uniapl.estimate.model_shape import ModelShape, ShapeUnknown
from uniapl.estimate.placement import place
from uniapl.estimate.servers import ASLEEP, BATCHED_TOKENS, Server, sequences_that_fit, servers_of
from uniapl.estimate.verdict import best, device_of, judge, misfit_of
from uniapl.run.config import ModelSource
from uniapl.spec.backend import ServerRole, VllmSampler
from uniapl.spec.estimate import Bytes, Gpu, Hardware
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.unit

GB = 10**9
SHAPE = ModelShape(
    parameters=10_000, vocab=50, hidden=8, layers=3, intermediate=16, queries=8, keys=4, positions=4096, stored_bytes=0
)
VLLM = {"type": "vllm"}


def box(*gpus: Gpu, slots: int = 1) -> Hardware:
    return Hardware(cpus=2, memory_bytes=8 * GB, gpus=list(gpus), slots=slots)


def card(gigabytes: int, *processes: Any) -> Gpu:
    return Gpu(name="G", memory_bytes=gigabytes * GB, **({"processes": list(processes)} if processes else {}))


def size(low: float, high: float | None = None) -> Bytes:
    high = low if high is None else high
    return Bytes(low=round(low * GB), expected=round(high * GB), high=round(high * GB))


def needs(low: float, high: float, fraction: float | None = None) -> Server:
    return Server(size(low, high), fraction)


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], **fields})


def served(spec: JobSpec) -> dict[ServerRole, Server]:
    return servers_of(spec, lambda name: ModelSource(path=name), lambda source: SHAPE)


def test_on_one_card_each_server_gets_all_that_it_can_use() -> None:
    (found,) = place(box(card(80)), size(10, 20), {"discriminator": needs(4, 8), "rollout": needs(6, 32)})
    assert found.shares == {"discriminator": 0.1, "rollout": 0.4}
    assert found.total == Bytes(low=20 * GB, expected=60 * GB, high=60 * GB)
    assert judge(box(card(80)), [found]) == (
        "fits",
        "60.0 GB expected, 20.0 GB to 60.0 GB (while sampling: trainer 20.0 GB, discriminator 8.0 GB, rollout 32.0 GB)"
        "; the largest worker's GPU has 80.0 GB",
    )


def test_where_that_is_too_much_they_divide_what_the_trainer_leaves() -> None:
    # 40 - 20 - (4 + 6) = 10 are left; of 4 + 26 more that they could use, a third each
    (found,) = place(box(card(40)), size(10, 20), {"discriminator": needs(4, 8), "rollout": needs(6, 32)})
    assert found.shares == {"discriminator": pytest.approx(0.134), "rollout": pytest.approx(0.366)}
    (found,) = place(box(card(20)), size(10, 30), {"rollout": needs(6, 32)})  # nothing is left: the least
    assert found.shares == {"rollout": 0.3}
    assert judge(box(card(20)), [found])[0] == "tight"


def test_trainer_and_sampler_use_one_card_in_turns() -> None:
    (found,) = place(box(card(80)), size(40, 60), {"rollout": needs(30, 90)}, resting=size(5, 10))
    assert found.shares == {"rollout": 0.875}  # what the resting trainer leaves
    assert found.total == Bytes(low=40 * GB + ASLEEP.low, expected=80 * GB, high=80 * GB)
    assert found.taken == {"trainer": size(40, 60), "rollout": size(30, 70)}
    assert judge(box(card(80)), [found])[0] == "fits"
    too_large = place(box(card(40)), size(40, 60), {"rollout": needs(30, 90)}, resting=size(5, 10))
    assert misfit_of(too_large) == (
        "resources",
        "the job needs at least 40.5 GB (during an update: trainer 40.0 GB, rollout 0.5 GB); the largest worker's GPU "
        "has 40.0 GB",
    )


def test_a_discriminator_server_beside_them_fits_into_both_phases() -> None:
    servers = {"discriminator": needs(4, 20), "rollout": needs(6, 90)}
    (found,) = place(box(card(80)), size(40, 65), servers, resting=size(5, 10))
    assert found.shares == {"discriminator": 0.15, "rollout": 0.725}  # 80 - 65 - 3 are left in an update
    assert found.phases["during an update"] == {
        "trainer": size(40, 65),
        "discriminator": size(4, 12),
        "rollout": ASLEEP,
    }
    servers = {"discriminator": needs(4, 20), "rollout": needs(62, 90)}
    (found,) = place(box(card(80)), size(12, 12), servers, resting=size(5, 10))
    assert found.shares["discriminator"] < 0.1  # 80 - 10 - 62 are left while the other server samples
    assert found.total.high <= 80.1 * GB


def test_each_process_is_placed_on_its_configured_gpu() -> None:
    hardware = box(card(80, "trainer"), card(24, "discriminator"), card(40, "rollout"), card(16, "rollout"))
    found = place(hardware, size(10, 60), {"discriminator": needs(4, 12), "rollout": needs(6, 30)})
    assert [list(used.taken) for used in found] == [["trainer"], ["discriminator"], ["rollout"]]
    assert [used.shares for used in found] == [{}, {"discriminator": 0.5}, {"rollout": 0.75}]
    assert judge(hardware, found)[0] == "fits"


def test_without_settings_all_processes_share_the_first_gpu() -> None:
    found = place(box(card(16), card(80), card(80)), size(10), {"rollout": needs(6, 8)})
    assert [(used.memory, list(used.taken)) for used in found] == [(80 * GB, ["trainer", "rollout"])]


def test_a_trainer_without_a_gpu_uses_the_machines_memory() -> None:
    hardware = box(card(24, "discriminator", "rollout"))  # UNIAPL_TRAINER_DEVICES=-1
    assert device_of(hardware) == "cpu"
    found = place(hardware, size(1, 2), {"rollout": needs(6, 12)})
    assert [(used.device, used.memory, list(used.taken)) for used in found] == [
        ("cpu", 8 * GB, ["trainer"]),
        ("gpu", 24 * GB, ["rollout"]),
    ]
    assert found[1].shares == {"rollout": 0.5}
    assert misfit_of(place(hardware, size(9), {})) is not None


def test_a_share_that_the_spec_gives_is_taken_as_it_is() -> None:
    servers = {"discriminator": needs(4, 8, 0.25), "rollout": needs(6, 60)}
    (found,) = place(box(card(80)), size(10, 20), servers)
    assert found.shares == {"discriminator": 0.25, "rollout": 0.5}
    assert found.taken["discriminator"] == size(20)
    assert found.taken["rollout"] == size(6, 40)


def test_a_share_that_is_too_small_to_start_with_is_refused_with_the_numbers() -> None:
    found = place(box(card(80)), size(10), {"rollout": needs(6, 60, 0.05)})
    assert misfit_of(found) == (
        "rollout.backend.gpu_memory_fraction",
        "the rollout server needs at least 6.0 GB; its gpu_memory_fraction gives it 0.05 of 80.0 GB",
    )
    assert judge(box(card(80)), found)[0] == "does_not_fit"
    other = box(card(20, "trainer"), card(130, "rollout"))  # has less room, but 0.05 of 130 is enough
    able = place(other, size(10), {"rollout": needs(6, 60, 0.05)})
    assert best([(box(card(80)), found), (other, able)]) == (other, able)


def test_processes_that_exceed_one_gpu_are_refused_with_the_memory_of_each() -> None:
    servers = {"discriminator": needs(4, 8), "rollout": needs(8, 60)}
    together = place(box(card(20)), size(10, 12), servers)
    assert misfit_of(together) == (
        "resources",
        "the job needs at least 22.0 GB (while sampling: trainer 10.0 GB, discriminator 4.0 GB, rollout 8.0 GB); the "
        "largest worker's GPU has 20.0 GB",
    )
    apart = box(card(20, "trainer", "discriminator"), card(20, "rollout"))
    assert misfit_of(place(apart, size(10, 12), servers)) is None
    chosen, used = best([(box(card(20)), together), (apart, place(apart, size(10, 12), servers))])
    assert (chosen, judge(chosen, used)[0]) == (apart, "fits")


def test_one_card_that_overflows_is_seen_beside_another_that_is_fuller_as_expected() -> None:
    hardware = box(card(20, "trainer"), card(10, "discriminator"))
    found = place(hardware, size(1, 60), {"discriminator": needs(11, 12)})
    assert misfit_of(found) is not None


def test_a_server_of_unknown_size_gets_three_tenths_and_a_machine_without_gpu_divides_nothing() -> None:
    (found,) = place(box(card(80)), size(10), {"rollout": Server(None, None)})
    assert (found.shares, found.taken["rollout"]) == ({"rollout": 0.3}, size(24))
    (found,) = place(box(), size(1), {"rollout": needs(6, 60)})
    assert (found.memory, list(found.taken), found.shares) == (8 * GB, ["trainer"], {})


def test_a_sampler_needs_one_longest_text_and_can_use_all_answers_at_once() -> None:
    backend = {**VLLM, "concurrency": 5, "dtype": "float32"}
    fields: dict[str, Any] = {"grpo": {"group_size": 4}, "data": {"max_prompt_tokens": 500}, "lambda_adv": 0}
    spec = job(rollout={"backend": backend, "max_new_tokens": 1500}, **fields)
    need = served(spec)["rollout"].need
    assert need is not None
    # 10,000 parameters and a head of its own, 50 x 8; 64 of a token in a forward pass; 2 x 4 x 3 keys and values
    weights, working, token = 10_400, BATCHED_TOKENS * (2 * 16 + 4 * 8), 24
    logits = 20 * 50 * 8
    assert need.low == RUNTIME["gpu"]["low"] + 4 * (weights + working + 2001 * token) + logits
    assert need.high == RUNTIME["gpu"]["high"] + 4 * (weights + working + 20 * 2000 * token) + logits
    adapters = served(job(rollout={"backend": backend, "max_new_tokens": 1500}, lora={"rank": 8}, **fields))["rollout"]
    assert adapters.need is not None
    assert need.low - adapters.need.low == 4 * 400
    halved = served(job(rollout={"backend": {**backend, "dtype": "auto"}, "max_new_tokens": 1500}, **fields))["rollout"]
    assert halved.need is not None
    assert halved.need.low - logits - RUNTIME["gpu"]["low"] == (need.low - logits - RUNTIME["gpu"]["low"]) / 2


def test_a_sampler_runs_as_many_completions_as_its_share_holds() -> None:
    spec = job(
        rollout={"backend": {**VLLM, "dtype": "float32"}, "max_new_tokens": 1500}, data={"max_prompt_tokens": 500}
    )
    sampler = spec.servers["rollout"]
    assert isinstance(sampler, VllmSampler)
    need = served(spec)["rollout"].need
    assert need is not None
    one = 4 * 24 * 2000
    at_once = [sequences_that_fit(spec, SHAPE, sampler, need.high + n * one) for n in (1, 0, -1, -2.5, -10_000)]
    assert at_once == [512, 512, 511, 509, 1]


def test_a_discriminators_server_does_not_depend_on_the_lengths_of_a_job() -> None:
    judge_ = {"type": "polar", "model": "p", "backend": {**VLLM, "max_model_tokens": 1000}}
    need = served(job(discriminator=judge_))["discriminator"].need
    assert need is not None
    assert need.high - RUNTIME["gpu"]["high"] - (need.low - RUNTIME["gpu"]["low"]) == 2 * BATCHED_TOKENS * 24
    assert served(job(discriminator=judge_, rollout={"max_new_tokens": 9}))["discriminator"].need == need
    shorter = {**judge_, "backend": {**VLLM, "max_model_tokens": 500}}
    less = served(job(discriminator=shorter))["discriminator"].need
    assert less is not None
    assert need.low - less.low == 2 * 500 * 24


def test_only_managed_servers_are_counted_and_an_unknown_model_is_unknown() -> None:
    elsewhere = {"type": "embedding", "backend": {"type": "server", "url": "http://host"}}
    assert served(job(discriminator=elsewhere)) == {}
    assert served(job(discriminator={"type": "embedding", "backend": VLLM}, lambda_adv=0)) == {}

    def unknown(source: ModelSource) -> ModelShape:
        raise ShapeUnknown("it is not here")

    spec = job(rollout={"backend": {**VLLM, "gpu_memory_fraction": 0.4}})
    assert servers_of(spec, lambda name: ModelSource(path=name), unknown) == {"rollout": Server(None, 0.4)}
