"""AdamW's moments in 8 bits: their size, the same course as with float32, exact resumption, LoRA, offloading."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import MODELS
from tests.uniapl.conftest import Listening
from tests.uniapl.model.test_policy import rollouts_and_demonstrations, spec
from tests.uniapl.training.test_host_moments import second
from tests.uniapl.training.test_stopped import attempt
from tests.uniapl.training.test_train_command import DATA
from tests.uniapl.warm_trainer import train
from uniapl.__main__ import _exit_status
from uniapl.errors import CheckpointError, LibraryMissingError
from uniapl.estimate.model_shape import read_shape
from uniapl.estimate.moments import moment_bytes
from uniapl.model.lora import load_adapter, with_lora
from uniapl.model.policy import Policy, load_policy
from uniapl.run.config import ModelSource
from uniapl.run.exit_status import ExitStatus
from uniapl.run.manifest import SavedCheckpoint
from uniapl.spec.job import JobSpec
from uniapl.spec.training import Lora, Optimizer
from uniapl.training import checkpoint
from uniapl.training.learner import Learner
from uniapl.training.optimizer import moments

pytestmark = pytest.mark.integration
RATE = 3e-3


def with_moments(kind: str, **fields: Any) -> JobSpec:
    optimizer = Optimizer.model_validate({"learning_rate": RATE, "moments": kind})
    return spec(64).model_copy(update={"optimizer": optimizer, **fields})


def updated(policy: Policy, given: JobSpec, updates: range = range(2), *, offload: bool = False) -> Learner:
    learner = Learner(policy, given, offload=offload)
    for step in updates:
        learner.free_for_sampling()
        learner.update(rollouts_and_demonstrations(), step, measure_terms=False)
    return learner


def bytes_of(learner: Learner) -> tuple[int, int]:
    """Bytes of the moments, and number of trained parameters."""
    states = learner.optimizer.state
    return sum(m.nbytes for state in states.values() for m in moments(state).values()), sum(p.numel() for p in states)


def test_a_large_parameter_takes_two_bytes_and_a_share_of_its_scales(policy: Policy) -> None:
    of_float, parameters = bytes_of(updated(second(policy), with_moments("float32")))
    assert of_float == 8 * parameters
    learner = updated(policy, with_moments("8bit"))
    small = sum(p.numel() for p in learner.optimizer.state if p.numel() < 4096)
    measured, same = bytes_of(learner)
    assert same == parameters
    assert measured == pytest.approx((2 + 8 / 256) * (parameters - small) + 8 * small, rel=1e-3)
    assert measured < 0.3 * of_float


@pytest.mark.parametrize("lora", [None, Lora(rank=16), Lora(rank=64)])
def test_the_estimate_counts_what_the_optimizer_keeps(policy: Policy, lora: Lora | None) -> None:
    given = with_moments("8bit", lora=lora)
    shape = read_shape(ModelSource(path=str(policy.model.name_or_path)))
    trained = policy if lora is None else with_lora(policy, lora, seed=0)
    measured, parameters = bytes_of(updated(trained, given, range(1)))
    assert parameters == shape.trained(lora)
    assert moment_bytes(given, shape) == pytest.approx(measured, rel=0.02)


def test_the_loss_falls_as_with_float32(policy: Policy) -> None:
    def losses(kind: str, policy: Policy) -> list[float]:
        learner = Learner(policy, with_moments(kind))
        return [learner.update(rollouts_and_demonstrations(), step, measure_terms=False)["loss"] for step in range(8)]

    exact, eight_bit = losses("float32", second(policy)), losses("8bit", policy)
    assert exact != eight_bit
    fallen = exact[0] - exact[-1]
    assert fallen > 0
    assert max(abs(a - b) for a, b in zip(exact, eight_bit, strict=True)) < 0.05 * fallen


@pytest.mark.parametrize("lora", [None, Lora(rank=64)])
def test_a_resumed_learner_is_bit_identical(policy: Policy, tmp_path: Path, lora: Lora | None) -> None:
    given = with_moments("8bit", lora=lora)
    base = second(policy)
    if lora is not None:
        policy, base = with_lora(policy, lora, seed=0), with_lora(base, lora, seed=0)
    learner = updated(policy, given)
    saved = checkpoint.save(tmp_path, policy, learner.optimizer, given, 2, {})
    kept = {str(value.dtype) for value in load_file(saved.path / "optimizer.safetensors").values()}
    assert kept == {"torch.uint8", "torch.float32"}
    if lora is None:
        resumed = load_policy(ModelSource(path=str(saved.path)), torch.device("cpu"))
    else:
        load_adapter(base.model, saved.path)
        resumed = base
    other = Learner(resumed, given)
    checkpoint.load_optimizer(saved.path, resumed, other.optimizer)
    for each in (learner, other):
        each.update(rollouts_and_demonstrations(), 2, measure_terms=False)
    for a, b in zip(policy.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_offloading_changes_no_bit(policy: Policy) -> None:
    other = second(policy)
    kept = updated(policy, with_moments("8bit"), range(3))
    moved = updated(other, with_moments("8bit"), range(3), offload=True)
    assert all(torch.equal(a, b) for a, b in zip(policy.model.parameters(), other.model.parameters(), strict=True))
    places = {m.data_ptr() for state in moved.optimizer.state.values() for m in moments(state).values()}
    moved.free_for_sampling()
    for a, b in zip(kept.optimizer.state.values(), moved.optimizer.state.values(), strict=True):
        assert all(torch.equal(moment, moments(b)[name]) for name, moment in moments(a).items())
        assert not places & {moment.data_ptr() for moment in moments(b).values()}


@pytest.mark.parametrize(("saved_as", "used"), [("8bit", "float32"), ("float32", "8bit")])
def test_moments_of_another_type_are_refused(policy: Policy, tmp_path: Path, saved_as: str, used: str) -> None:
    learner = updated(policy, with_moments(saved_as), range(1))
    saved: SavedCheckpoint = checkpoint.save(tmp_path, policy, learner.optimizer, with_moments(saved_as), 1, {})
    with pytest.raises(CheckpointError, match=f"its moments are {saved_as}, and optimizer.moments is '{used}'"):
        checkpoint.load_optimizer(saved.path, policy, Learner(policy, with_moments(used)).optimizer)


def test_a_missing_library_is_named_with_the_command_before_a_model_is_loaded(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listening: Listening
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(LibraryMissingError, match=r"optimizer\.moments '8bit' needs bitsandbytes") as caught:
        Learner(policy, with_moments("8bit"))
    assert "pip install" in (caught.value.hint or "")
    assert _exit_status(caught.value) == ExitStatus.USER_ERROR
    assert Learner(policy, with_moments("float32"))
    with pytest.raises(LibraryMissingError):  # before a model is loaded
        attempt(tmp_path, listening(), optimizer={"moments": "8bit"}, student="no/such/model")


def run_file(folder: Path, **fields: Any) -> Path:
    folder.mkdir()
    given = {
        "student": str(MODELS / "tiny-random-llama"),
        "dataset_mix": [{"dataset": str(DATA / "chance.jsonl"), "role": "sft"}],
        "alpha": 1,
        "lambda_adv": 0,
        "optimizer": {"learning_rate": 1e-3, "moments": "8bit"},
        "schedule": {"steps": 2, "prompts_per_step": 2, "checkpoint_every": 1},
    }
    path = folder / "run.json"
    path.write_text(json.dumps({"spec": given, "run_dir": str(folder / "run"), **fields}))
    return path


def test_a_run_ends_with_the_bytes_of_one_that_was_resumed(tmp_path: Path) -> None:
    status, errors = train(run_file(tmp_path / "whole"))
    assert status == ExitStatus.DONE, errors
    first = tmp_path / "whole" / "run" / "checkpoints" / "step-00000001"
    status, errors = train(run_file(tmp_path / "resumed", resume_from=str(first)))
    assert status == ExitStatus.DONE, errors
    for name in ("model.safetensors", "optimizer.safetensors"):
        last = Path("run", "checkpoints", "step-00000002", name)
        assert (tmp_path / "whole" / last).read_bytes() == (tmp_path / "resumed" / last).read_bytes()
