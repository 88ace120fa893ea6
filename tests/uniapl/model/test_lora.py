"""Adapters: trained parameters, the reference policy, merged and loaded checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.uniapl.packed import one_pack
from uniapl.batching.batch import Sequence
from uniapl.errors import SpecError
from uniapl.model.logprobs import completion_logprobs
from uniapl.model.lora import save_merged, with_lora
from uniapl.model.policy import Policy, Reference, load_policy
from uniapl.run.config import ModelSource
from uniapl.spec.training import Lora

pytestmark = pytest.mark.integration


def test_adapters_change_nothing_at_first_and_only_they_are_trained(policy: Policy) -> None:
    packed = one_pack([Sequence([3, 4], [5, 6, 7], demonstration=True)])
    before, _ = completion_logprobs(policy.model, packed, temperature=1.0)
    adapted = with_lora(policy, Lora(rank=4), seed=0)
    after, _ = completion_logprobs(adapted.model, packed, temperature=1.0)
    assert torch.equal(before, after)
    trained = [name for name, p in adapted.model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)


def test_a_layer_that_the_student_lacks_is_named(policy: Policy) -> None:
    with pytest.raises(SpecError, match="no layers named \\['w_pack'\\]"):
        with_lora(policy, Lora(target_modules=["w_pack"]), seed=0)


def test_the_reference_is_the_student_without_its_adapters(policy: Policy) -> None:
    packed = one_pack([Sequence([3, 4], [5, 6, 7], demonstration=True)])
    before, _ = completion_logprobs(policy.model, packed, temperature=0.7)
    adapted = with_lora(policy, Lora(rank=4), seed=0)
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    assert torch.equal(Reference(adapted.model, adapted=True).logprobs(packed, temperature=0.7), before)
    assert not torch.allclose(completion_logprobs(adapted.model, packed, temperature=0.7)[0], before)


def test_the_merged_export_has_the_adapted_students_log_probabilities(policy: Policy, tmp_path: Path) -> None:
    adapted = with_lora(policy, Lora(rank=4), seed=0)
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    save_merged(adapted.model, tmp_path)
    policy.tokenizer.save_pretrained(tmp_path)
    packed = one_pack([Sequence([3, 4], [5, 6, 7], demonstration=True)])
    expected, _ = completion_logprobs(adapted.model, packed, temperature=1.0)
    merged = load_policy(ModelSource(path=str(tmp_path)), torch.device("cpu"))
    torch.testing.assert_close(completion_logprobs(merged.model, packed, temperature=1.0)[0], expected)
    assert (tmp_path / "adapter" / "adapter_config.json").exists()
