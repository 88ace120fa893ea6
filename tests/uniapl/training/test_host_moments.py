"""AdamW's moments in host memory while a sampler uses the GPU: no value changes, and they are back in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.uniapl.conftest import Listening
from tests.uniapl.model.test_policy import rollouts_and_demonstrations, spec
from tests.uniapl.training.test_stopped import attempt
from uniapl.model.policy import Policy, load_policy
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.run import manifest
from uniapl.run.config import ModelSource, RunConfig
from uniapl.training import checkpoint, setup
from uniapl.training.host_moments import HostMoments
from uniapl.training.learner import Learner
from uniapl.training.optimizer import moments as moments_of

pytestmark = pytest.mark.integration


def moments(learner: Learner) -> dict[int, torch.Tensor]:
    """The moments by their place in memory."""
    found = [moment for state in learner.optimizer.state.values() for moment in moments_of(state).values()]
    return {moment.data_ptr(): moment for moment in found}


def trained(policy: Policy, *, offload: bool, updates: range = range(3)) -> Learner:
    learner = Learner(policy, spec(64), offload=offload)
    for step in updates:
        learner.free_for_sampling()
        learner.update(rollouts_and_demonstrations(), step, measure_terms=step == 0)
    return learner


def second(policy: Policy) -> Policy:
    """A policy with the same weights."""
    again = load_policy(ModelSource(path=str(policy.model.name_or_path)), torch.device("cpu"))
    again.model.load_state_dict(policy.model.state_dict())
    return again


def test_updates_are_bit_identical(policy: Policy) -> None:
    other = second(policy)
    kept, moved = trained(policy, offload=False), trained(other, offload=True)
    assert all(torch.equal(a, b) for a, b in zip(policy.model.parameters(), other.model.parameters(), strict=True))
    for a, b in zip(moments(kept).values(), moments(moved).values(), strict=True):
        assert torch.equal(a, b)


def test_moments_are_away_while_sampling_and_back_for_the_optimizer(policy: Policy) -> None:
    learner = trained(policy, offload=True)
    on_device = moments(learner)
    learner.free_for_sampling()
    in_host = moments(learner)
    assert not on_device.keys() & in_host.keys()
    learner.free_for_sampling()  # an evaluation precedes the step
    assert moments(learner).keys() == in_host.keys()
    used: list[set[int]] = []
    learner.optimizer.register_step_pre_hook(lambda *_: used.append(set(moments(learner))))
    learner.update(rollouts_and_demonstrations(), 3, measure_terms=False)
    assert len(used[0]) == len(in_host)
    assert not used[0] & in_host.keys()
    learner.free_for_sampling()
    assert moments(learner).keys() == in_host.keys()  # the same memory


def test_checkpoints_are_written_and_loaded_while_moments_are_in_host_memory(policy: Policy, tmp_path: Path) -> None:
    learner = trained(policy, offload=True)
    learner.free_for_sampling()
    saved = checkpoint.save(tmp_path, policy, learner.optimizer, spec(64), 3, {})
    resumed = load_policy(ModelSource(path=str(saved.path)), torch.device("cpu"))
    other = Learner(resumed, spec(64), offload=True)
    other.free_for_sampling()
    checkpoint.load_optimizer(saved.path, resumed, other.optimizer)
    for each in (learner, other):
        each.update(rollouts_and_demonstrations(), 3, measure_terms=False)
    assert all(torch.equal(a, b) for a, b in zip(policy.model.parameters(), resumed.model.parameters(), strict=True))


def test_moments_leave_before_the_sampler_wakes_and_return_after_the_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listening: Listening
) -> None:
    order: list[str] = []

    def record(owner: Any, name: str) -> None:
        call = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, **o: (order.append(name), call(*a, **o))[1])

    for name in ("sync", "sample", "release"):
        record(TransformersGenerator, name)
    for name in ("offload", "restore"):
        record(HostMoments, name)
    record(Learner, "_gradient")
    monkeypatch.setattr(setup, "_shares_gpu", lambda *_: True)
    assert attempt(tmp_path, listening(), evaluation=None, schedule={"steps": 2, "prompts_per_step": 2})
    assert order == ["offload", "sync", "sample", "release", "_gradient", "restore"] * 2


def test_moments_of_a_checkpoint_leave_before_the_sampling_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listening: Listening
) -> None:
    monkeypatch.setattr(setup, "_shares_gpu", lambda *_: True)
    fields: dict[str, Any] = {"lambda_adv": 0, "evaluation": None, "schedule": {"steps": 1, "prompts_per_step": 2}}
    assert attempt(tmp_path / "first", listening(), **fields)
    order: list[str] = []

    def record(owner: Any, name: str) -> None:
        call = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, **o: (order.append(name), call(*a, **o))[1])

    record(checkpoint, "load_optimizer")
    record(HostMoments, "offload")
    record(setup, "_generator")  # writes the weights for which the server waits
    fields["schedule"]["steps"] = 2
    resumed = manifest.folder_of(tmp_path / "first" / checkpoint.FOLDER, 1)
    assert attempt(tmp_path / "second", listening(), resume_from=resumed, **fields)
    assert order == ["load_optimizer", "offload", "_generator", "offload"]


@pytest.mark.parametrize(
    ("shared", "device", "expected"), [(True, "cuda", True), (False, "cuda", False), (True, "cpu", False)]
)
def test_only_a_shared_gpu_is_freed(policy: Policy, tmp_path: Path, shared: bool, device: str, expected: bool) -> None:
    run = RunConfig(spec=spec(64), run_dir=str(tmp_path), shared_card=shared)
    placed = Policy(policy.model, policy.tokenizer, policy.layout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Policy, "device", torch.device(device))
        assert setup._shares_gpu(run, placed) is expected
