"""An exported checkpoint equals the student: merged adapters, weight names, config."""

from __future__ import annotations

import json
import warnings
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora.layer import ParamWrapper
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM

from tests.uniapl.model.test_policy import rollouts_and_demonstrations, spec
from tests.uniapl.packed import one_pack
from tests.uniapl.students import KINDS, let_adapters_act, load_student, quantize_experts, save_student
from uniapl.batching.batch import Sequence
from uniapl.errors import CheckpointError, ModelError, SpecError
from uniapl.model.logprobs import completion_logprobs
from uniapl.model.lora import load_adapter, save_merged, with_lora
from uniapl.model.merge import Merged
from uniapl.model.policy import Policy, Reference
from uniapl.rollout.weight_transfer import write_weights
from uniapl.spec.training import Lora
from uniapl.training import checkpoint
from uniapl.training.learner import Learner

pytestmark = pytest.mark.integration

IDS = torch.tensor([[3, 400, 5, 6, 77, 8, 9, 10, 11, 12]])
MIXTURES = ("qwen3_moe", "qwen2_moe", "mixtral", "deepseek_v3", "gpt_oss")
Student = Callable[[str], Path]
TRAINABLE = sorted(KINDS.keys() - {"laguna"})


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a student with the given architecture."""
    return cache(lambda kind: save_student(kind, tmp_path_factory.mktemp(kind)))


@torch.no_grad()
def logits(model: Any) -> Tensor:
    return model.eval()(input_ids=IDS).logits


def adapted(folder: Path, **options: Any) -> Policy:
    """The student in this folder with non-zero adapters."""
    policy = with_lora(load_student(folder), Lora(rank=4, **options), seed=0)
    let_adapters_act(policy)
    return policy


def reloaded(folder: Path) -> tuple[Any, dict[str, Any]]:
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    return model, info


@pytest.mark.parametrize("kind", TRAINABLE)
def test_merged_weights_are_the_adapted_student(kind: str, student: Student, tmp_path: Path) -> None:
    policy = adapted(student(kind))
    save_merged(policy.model, tmp_path / "merged")
    expected, (merged, info) = logits(policy.model), reloaded(tmp_path / "merged")
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    torch.testing.assert_close(logits(merged), expected, atol=1e-5, rtol=0)
    assert (
        load_file(tmp_path / "merged/model.safetensors").keys() == load_file(student(kind) / "model.safetensors").keys()
    )
    base = AutoModelForCausalLM.from_pretrained(student(kind))
    assert (logits(base) - expected).abs().max() > 0.01  # the adapters do act
    with warnings.catch_warnings(action="ignore"):  # peft's, of rank patterns and of Conv1D
        beside = PeftModel.from_pretrained(base, str(tmp_path / "merged" / "adapter"))
    torch.testing.assert_close(logits(beside), expected, atol=1e-5, rtol=0)


def test_experts_and_routers_are_adapted_where_their_names_are_known(student: Student) -> None:
    policy = adapted(student("qwen3_moe"))
    wrapped = sorted(m.parameter_name for m in policy.model.modules() if isinstance(m, ParamWrapper))
    assert wrapped == 2 * ["down_proj"] + 2 * ["gate_up_proj"] + 2 * ["weight"]


@pytest.mark.parametrize("lora", [False, True])
def test_experts_that_were_quantized_are_saved_as_plain_ones(lora: bool, tmp_path: Path) -> None:
    folder = quantize_experts(save_student("gpt_oss", tmp_path / "student"))
    policy = adapted(folder) if lora else load_student(folder)
    optimizer = Learner(policy, spec(64)).optimizer
    saved = checkpoint.save(tmp_path / "checkpoints", policy, optimizer, spec(64), 1, {})
    merged, info = reloaded(saved.path)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    torch.testing.assert_close(logits(merged), logits(policy.model), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", MIXTURES)
def test_the_reference_has_no_adapters_at_experts_either(kind: str, student: Student) -> None:
    packed = one_pack([Sequence([3, 4], [5, 6, 7], demonstration=True)], "plain")
    policy = load_student(student(kind))
    before, _ = completion_logprobs(policy.model, packed, temperature=0.7)
    policy = with_lora(policy, Lora(rank=4), seed=0)
    let_adapters_act(policy)
    assert torch.equal(Reference(policy.model, adapted=True).logprobs(packed, temperature=0.7), before)
    assert not torch.allclose(completion_logprobs(policy.model, packed, temperature=0.7)[0], before)


def test_adapters_of_experts_are_resumed_bit_for_bit(student: Student, tmp_path: Path) -> None:
    policy = with_lora(load_student(student("qwen3_moe")), Lora(rank=4), seed=0)
    first = Learner(policy, spec(64))
    first.update(rollouts_and_demonstrations(), 0, measure_terms=False)
    saved = checkpoint.save(tmp_path / "checkpoints", policy, first.optimizer, spec(64), 1, {})
    again = with_lora(load_student(student("qwen3_moe")), Lora(rank=4), seed=1)
    load_adapter(again.model, saved.path)
    second = Learner(again, spec(64))
    checkpoint.load_optimizer(saved.path, again, second.optimizer)
    for learner in (first, second):
        learner.update(rollouts_and_demonstrations(), 1, measure_terms=False)
    pairs = zip(policy.model.named_parameters(), again.model.named_parameters(), strict=True)
    assert all(torch.equal(a, b) for (_, a), (_, b) in pairs)
    saved_config = json.loads((saved.path / "adapter" / "adapter_config.json").read_text())
    assert saved_config["target_parameters"] == sorted(saved_config["target_parameters"])


def test_an_adapter_of_other_layers_is_not_resumed(student: Student, tmp_path: Path) -> None:
    save_merged(adapted(student("qwen3_moe"), target_modules=["q_proj"]).model, tmp_path / "merged")
    with pytest.raises(CheckpointError, match="its layers differ from this job's"):
        load_adapter(adapted(student("qwen3_moe")).model, tmp_path / "merged")


@pytest.mark.parametrize("targets", [["lm_head"], ["embed_tokens"], ["q_proj", "lm_head", "embed_tokens"], ["q_proj"]])
def test_tied_weights_that_differ_are_not_declared_tied(policy: Policy, targets: list[str], tmp_path: Path) -> None:
    policy = with_lora(policy, Lora(rank=4, target_modules=targets), seed=0)
    let_adapters_act(policy)
    save_merged(policy.model, tmp_path)
    merged, _ = reloaded(tmp_path)
    torch.testing.assert_close(logits(merged), logits(policy.model), atol=1e-5, rtol=0)
    differ = targets != ["q_proj"]
    assert json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"] is not differ
    assert ("lm_head.weight" in load_file(tmp_path / "model.safetensors")) is differ
    assert policy.model.config.tie_word_embeddings  # the student itself is as it was


def test_a_head_that_is_not_the_embeddings_is_saved_although_the_config_ties_them(tmp_path: Path) -> None:
    folder = save_student("qwen3", tmp_path / "student")
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    policy = load_student(folder)
    saved = checkpoint.save(tmp_path / "c", policy, Learner(policy, spec(64)).optimizer, spec(64), 1, {})
    assert json.loads((saved.path / "config.json").read_text())["tie_word_embeddings"] is False
    assert torch.equal(logits(reloaded(saved.path)[0]), logits(AutoModelForCausalLM.from_pretrained(folder)))


def foreign(model: Any) -> None:
    model.get_decoder().layers[0].extra = torch.nn.Linear(2, 2)


def missing(model: Any) -> None:
    del model.get_decoder().layers[-1]


def misshapen(model: Any) -> None:
    model.get_decoder().norm.weight = torch.nn.Parameter(torch.ones(7))


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (foreign, r"2 unexpected \(model.layers.0.extra.bias\)"),
        (missing, r"\d+ missing \(model.layers.1."),
        (misshapen, r"1 of another shape \(model.norm.weight\)"),
    ],
)
def test_weights_of_another_student_are_never_published(
    spoil: Any, message: str, lora: bool, student: Student, tmp_path: Path
) -> None:
    policy = load_student(student("mixtral"))
    if lora:
        policy = with_lora(policy, Lora(rank=4), seed=0)
    optimizer = Learner(policy, spec(64)).optimizer
    checkpoint.save(tmp_path / "checkpoints", policy, optimizer, spec(64), 1, {})
    spoil(policy.model.get_base_model() if lora else policy.model)
    with pytest.raises(ModelError, match=message):
        checkpoint.save(tmp_path / "checkpoints", policy, optimizer, spec(64), 2, {})
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "laguna",
            "LagunaForCausalLM cannot be trained with `lora`: peft saves .*shared_experts.*, but cannot load it",
        ),
    ],
)
def test_a_student_that_adapters_do_not_fit_is_refused_before_training(
    kind: str, message: str, student: Student
) -> None:
    policy = load_student(student(kind))
    with pytest.raises(SpecError, match=message) as refused:
        with_lora(policy, Lora(rank=4), seed=0)
    assert refused.value.param == "lora.target_modules"
    adapted(student(kind), target_modules=["q_proj", "v_proj"])  # as the hint has it


def test_a_layer_whose_weight_is_read_without_its_adapter_is_refused(policy: Policy) -> None:
    mlp = policy.model.get_decoder().layers[1].mlp
    mlp.forward = lambda x: linear(mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x), mlp.down_proj.weight)
    with pytest.raises(SpecError, match=r"the weight of model.layers.1.mlp.down_proj directly, without its adapter"):
        with_lora(policy, Lora(rank=4), seed=0)


def test_a_layer_that_is_not_merged_as_it_acts_is_refused(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Merged, "tensor", lambda self: self.like)
    with pytest.raises(SpecError, match=r"the outputs of .* with merged weights differ by"):
        with_lora(policy, Lora(rank=4), seed=0)


def test_merged_weights_are_in_memory_one_layer_at_a_time(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = with_lora(policy, Lora(rank=4), seed=0)
    plain, made, most = Merged.tensor, list[weakref.ref[Tensor]](), 0

    def counted(self: Merged) -> Tensor:
        nonlocal most
        value = plain(self)
        if self.adapters:
            made.append(weakref.ref(value))
            most = max(most, sum(ref() is not None for ref in made))
        return value

    monkeypatch.setattr(Merged, "tensor", counted)
    save_merged(policy.model, tmp_path)
    assert len(made) == 14
    assert most == 7


def test_a_sampler_gets_experts_under_the_names_of_the_students_checkpoints(student: Student, tmp_path: Path) -> None:
    write_weights(load_student(student("qwen3_moe")), tmp_path / "w", torch.float32)
    handed, expected = (load_file(path / "model.safetensors") for path in (tmp_path / "w", student("qwen3_moe")))
    assert handed.keys() == expected.keys()
    assert all(torch.equal(value, handed[name]) for name, value in expected.items())
