"""Checkpoints: complete or refused, and the exact state restored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.uniapl.model.test_policy import rollouts_and_demonstrations, spec
from uniapl.errors import CheckpointError
from uniapl.model import export
from uniapl.model.cpu import linear
from uniapl.model.cpu.norm_mlp import use_memory_efficient_norm_and_mlp
from uniapl.model.lora import with_lora
from uniapl.model.merge import merged
from uniapl.model.policy import Policy, load_policy
from uniapl.run import manifest
from uniapl.run.config import ModelSource
from uniapl.run.manifest import SavedCheckpoint
from uniapl.run.reporter import Reporter
from uniapl.run.reports import REPORT
from uniapl.spec.job import JobSpec
from uniapl.spec.training import Lora, Schedule
from uniapl.training import checkpoint
from uniapl.training.learner import Learner

pytestmark = pytest.mark.integration


@pytest.fixture
def saved(policy: Policy, tmp_path: Path) -> SavedCheckpoint:
    learner = Learner(policy, spec(64))
    learner.update(rollouts_and_demonstrations(), 0, measure_terms=False)
    return checkpoint.save(tmp_path, policy, learner.optimizer, spec(64), 1, {})


def test_a_resumed_learner_is_bit_identical(policy: Policy, saved: SavedCheckpoint) -> None:
    assert manifest.verify(saved.path) == 1
    resumed = load_policy(ModelSource(path=str(saved.path)), torch.device("cpu"))
    second = Learner(resumed, spec(64))
    checkpoint.load_optimizer(saved.path, resumed, second.optimizer)
    first = Learner(policy, spec(64))
    checkpoint.load_optimizer(saved.path, policy, first.optimizer)
    for learner in (first, second):
        learner.update(rollouts_and_demonstrations(), 1, measure_terms=False)
    for (name, a), (_, b) in zip(policy.model.named_parameters(), resumed.model.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_transformers_loads_a_checkpoint_which_includes_the_spec(
    saved: SavedCheckpoint, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(saved.path)
    tokenizer = AutoTokenizer.from_pretrained(saved.path)
    assert tokenizer.chat_template == policy.tokenizer.chat_template
    trained = policy.model.state_dict()
    assert model.state_dict().keys() == trained.keys()
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        ids = torch.tensor([[5, 6, 7]])
        assert_close(model(ids).logits, policy.model.eval()(ids).logits)
        monkeypatch.setattr(linear, "CHOSEN", False)  # by the same library and functions, to the last bit
        use_memory_efficient_norm_and_mlp(model)
        assert torch.equal(model(ids).logits, policy.model(ids).logits)
    assert JobSpec.model_validate_json((saved.path / "spec.json").read_text()) == spec(64)
    assert not [f for f in saved.path.iterdir() if f.suffix in (".bin", ".pt", ".pkl", ".pth")]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "config.json"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "remove"])
def test_a_torn_or_altered_checkpoint_is_refused(saved: SavedCheckpoint, name: str, harm: str) -> None:
    path = saved.path / name
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif harm == "truncate":
        path.write_bytes(data[:-1])
    else:
        path.unlink()
    with pytest.raises(CheckpointError):
        manifest.verify(saved.path)


def test_the_manifest_has_versions_and_the_origin_of_draws_and_learning_rate(saved: SavedCheckpoint) -> None:
    about = json.loads((saved.path / "manifest.json").read_text())
    assert set(about["versions"]) == {"uniapl", "torch", "transformers", "python"}
    assert all(about["versions"].values())
    assert about["world_size"] == len(about["rng"]) == 1
    assert about["rng"][0] == {"rank": 0, "derived_from": {"seed": spec(64).seed, "step": 1}}
    assert about["scheduler"]["derived_from"]["step"] == 1
    assert about["scheduler"]["derived_from"]["learning_rate"] == spec(64).optimizer.learning_rate


def test_retention_keeps_the_newest(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        (tmp_path / f"step-{step:08d}").mkdir()
    assert checkpoint.prune(tmp_path, keep=2) == [5, 10]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000015", "step-00000020"]


def test_a_tokenizer_with_several_chat_templates_is_saved_whole(policy: Policy, tmp_path: Path) -> None:
    template = policy.tokenizer.chat_template
    policy.tokenizer.chat_template = {"default": template, "tool_use": "{{ messages }}"}
    learner = Learner(policy, spec(64))
    learner.update(rollouts_and_demonstrations(), 0, measure_terms=False)
    saved = checkpoint.save(tmp_path, policy, learner.optimizer, spec(64), 1, {})
    assert manifest.verify(saved.path) == 1
    nested = next(saved.path.rglob("tool_use.jinja"))
    nested.write_text("altered")
    with pytest.raises(CheckpointError, match=r"additional_chat_templates/tool_use\.jinja"):
        manifest.verify(saved.path)


def test_missing_moments_are_an_error(policy: Policy, saved: SavedCheckpoint) -> None:
    save_file({"other.step": torch.zeros(1)}, saved.path / "optimizer.safetensors")
    with pytest.raises(CheckpointError, match="has no"):
        checkpoint.load_optimizer(saved.path, policy, Learner(policy, spec(64)).optimizer)


def test_a_step_without_anything_to_learn_from_changes_nothing_and_can_be_resumed(
    policy: Policy, tmp_path: Path
) -> None:
    learner = Learner(policy, spec(64))
    before = {name: p.clone() for name, p in policy.model.named_parameters()}
    for measure in (True, False):
        assert learner.update([], 0, measure_terms=measure)["loss"] == 0
    assert all(torch.equal(p, before[name]) for name, p in policy.model.named_parameters())
    saved = checkpoint.save(tmp_path, policy, learner.optimizer, spec(64), 1, {})
    checkpoint.load_optimizer(saved.path, policy, Learner(policy, spec(64)).optimizer)


def test_a_torn_last_report_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    with Reporter(path) as reporter:
        reporter.phase("training")
    with path.open("a") as file:
        file.write('{"seq": 2, "ki')  # killed while writing
    with Reporter(path) as reporter:
        reporter.phase("saving")
    found = [REPORT.validate_json(line) for line in path.read_text().splitlines()]
    assert [(r.seq, r.kind) for r in found] == [(1, "phase"), (2, "phase")]


def in_half(policy: Policy, folder: Path, **fields: Any) -> tuple[Policy, Learner, SavedCheckpoint]:
    """A bfloat16 student after one update, and its checkpoint in its own type."""
    export.save(policy.model, merged(policy.model), folder / "student", torch.bfloat16)
    policy.tokenizer.save_pretrained(folder / "student")
    student = load_policy(ModelSource(path=str(folder / "student")), torch.device("cpu"))
    given = spec(64).model_copy(update={"schedule": Schedule(checkpoint_dtype="student"), **fields})
    if given.lora is not None:
        student = with_lora(student, given.lora, seed=0)
    learner = Learner(student, given)
    learner.update(rollouts_and_demonstrations(), 0, measure_terms=False)
    return student, learner, checkpoint.save(folder, student, learner.optimizer, given, 1, {})


def test_a_checkpoint_in_the_students_type_resumes_exactly(policy: Policy, tmp_path: Path) -> None:
    student, learner, saved = in_half(policy, tmp_path)
    assert {str(value.dtype) for value in load_file(saved.path / "model.safetensors").values()} == {"torch.bfloat16"}
    assert AutoModelForCausalLM.from_pretrained(saved.path).dtype == torch.bfloat16
    resumed = load_policy(ModelSource(path=str(saved.path)), torch.device("cpu"))
    weights = dict(student.model.named_parameters())
    assert any(not torch.equal(p, weights[name]) for name, p in resumed.model.named_parameters())  # rounded
    checkpoint.load_master(saved.path, resumed)
    assert resumed.stored_dtype == torch.bfloat16
    second = Learner(resumed, spec(64))
    checkpoint.load_optimizer(saved.path, resumed, second.optimizer)
    for each in (learner, second):
        each.update(rollouts_and_demonstrations(), 1, measure_terms=False)
    for name, parameter in resumed.model.named_parameters():
        assert torch.equal(parameter, weights[name]), name


def test_adapters_stay_exact_beside_a_merged_model_in_the_students_type(policy: Policy, tmp_path: Path) -> None:
    _, _, saved = in_half(policy, tmp_path, lora=Lora(rank=2))
    assert {str(value.dtype) for value in load_file(saved.path / "model.safetensors").values()} == {"torch.bfloat16"}
    adapter = load_file(saved.path / "adapter" / "adapter_model.safetensors")
    assert {str(value.dtype) for value in adapter.values()} == {"torch.float32"}
    assert not (saved.path / checkpoint.MASTER).exists()


def test_a_checkpoint_without_its_float32_weights_is_refused(policy: Policy, tmp_path: Path) -> None:
    student, _, saved = in_half(policy, tmp_path)
    save_file({"other": torch.zeros(1)}, saved.path / checkpoint.MASTER)
    with pytest.raises(CheckpointError, match=r"master.safetensors has no 'model"):
        checkpoint.load_master(saved.path, student)
