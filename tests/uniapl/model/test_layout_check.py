"""The check whether a student supports shared prompts, and the fallback layouts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from benchmarks.cuda_on_cpu import emulate_cuda
from tests.conftest import MODELS
from tests.uniapl.packed import one_pack
from uniapl.batching.batch import Sequence
from uniapl.batching.packing import Layout
from uniapl.errors import ModelError
from uniapl.model import layout_check
from uniapl.model import logprobs as forward
from uniapl.model.attention import block_mask
from uniapl.model.layout_check import batch_dependence, disagreement, with_layout
from uniapl.model.logprobs import completion_logprobs
from uniapl.model.lora import with_lora
from uniapl.model.policy import Policy, load_policy
from uniapl.run.config import ModelSource
from uniapl.spec.training import Lora

pytestmark = pytest.mark.integration

SIZES = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": None}
LLAMA_LIKE = {**SIZES, "intermediate_size": 24, "num_key_value_heads": 1, "head_dim": 8}


def student(model: Any) -> Policy:
    tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=0)
    return Policy(model.eval(), tokenizer)


STUDENTS = {
    "qwen3": (lambda: Qwen3ForCausalLM(Qwen3Config(**LLAMA_LIKE)), "trees", None),
    "gpt2": (lambda: GPT2LMHeadModel(GPT2Config(**SIZES)), "trees", None),
    "mistral": (
        lambda: MistralForCausalLM(MistralConfig(**LLAMA_LIKE, sliding_window=4)),
        "rows",
        "sliding window of 4 tokens",
    ),
    "layer types": (
        lambda: Qwen3ForCausalLM(
            Qwen3Config(**LLAMA_LIKE, use_sliding_window=True, sliding_window=4, max_window_layers=1)
        ),
        "rows",
        "layers other than full attention: sliding_attention",
    ),
    "alibi": (lambda: BloomForCausalLM(BloomConfig(**SIZES)), "rows", ""),
    "softcap": (lambda: Gemma2ForCausalLM(Gemma2Config(**LLAMA_LIKE)), "plain", "soft-caps its logits"),
    "scaled logits": (lambda: CohereForCausalLM(CohereConfig(**LLAMA_LIKE, logit_scale=0.3)), "plain", "differ by"),
    "opt": (lambda: OPTForCausalLM(OPTConfig(**SIZES, ffn_dim=24, word_embed_proj_dim=16)), "trees", None),
}


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_gets_the_layout_it_supports_and_keeps_its_log_probabilities(name: str) -> None:
    torch.manual_seed(0)
    make, kind, reason = STUDENTS[name]
    policy, found = with_layout(student(make()))
    assert (policy.layout.kind, found is None) == (kind, reason is None), found
    assert (reason or "") in (found or "")
    prompt = [5, 9, 40, 31, 7, 8]
    group = [Sequence(prompt, [7, 8, 2]), Sequence(prompt, [11] * 5), Sequence([3, 1] * 3, [4, 5])]
    for sequence in group:  # one by one, as transformers would
        ids = torch.tensor([sequence.prompt_ids + sequence.completion_ids])
        with torch.no_grad():
            expected = torch.log_softmax(policy.model(ids).logits[0, len(prompt) - 1 : -1], dim=-1)
        packed = one_pack(group, policy.layout.kind)
        logprobs, _ = completion_logprobs(policy.model, packed, temperature=1.0)
        row = packed.batch.completion_ids[:, 0].tolist().index(sequence.completion_ids[0])
        n = len(sequence.completion_ids)
        wanted = expected.gather(-1, torch.tensor(sequence.completion_ids)[:, None]).squeeze(1)
        assert_close(logprobs[row, :n], wanted, atol=1e-5, rtol=1e-5)


def test_the_bundled_student_shares_prompts_with_adapters_too(policy: Policy) -> None:
    for candidate in (policy, with_lora(policy, Lora(rank=4), seed=0)):
        chosen, reason = with_layout(candidate)
        assert (chosen.layout.kind, reason) == ("trees", None)


def test_the_check_changes_no_weights_gradients_or_random_numbers(policy: Policy) -> None:
    before = {name: p.clone() for name, p in policy.model.named_parameters()}
    state = torch.random.get_rng_state()
    with_layout(policy)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(p, before[name]) for name, p in policy.model.named_parameters())
    assert all(p.grad is None for p in policy.model.parameters())


def test_a_mask_that_the_model_ignores_is_detected(policy: Policy, monkeypatch: Any) -> None:
    monkeypatch.setattr(forward, "tree_mask", lambda packed: None)  # every branch attends to those before
    chosen, reason = with_layout(policy)
    assert chosen.layout.kind == "rows"
    assert "log-probabilities differ by" in (reason or "")


def test_the_check_multiplies_in_full_float32_and_restores_the_setting(policy: Policy, monkeypatch: Any) -> None:
    """Images of NVIDIA's set TORCH_ALLOW_TF32_CUBLAS_OVERRIDE, with which differences of 1e-3 are usual."""
    right, used = layout_check.completion_logprobs, set()

    def recorded(*args: Any, **options: Any) -> Any:
        used.add((torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.fp32_precision))
        return right(*args, **options)

    monkeypatch.setattr(layout_check, "completion_logprobs", recorded)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with_layout(policy)
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        monkeypatch.setattr(forward, "tree_mask", None)  # fails
        assert disagreement(policy, Layout("trees"))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert used == {("highest", "ieee")}


def test_a_gradient_that_differs_is_detected(policy: Policy, monkeypatch: Any) -> None:
    right = layout_check.completion_logprobs

    def scaled(model: Any, packed: Any, *, temperature: Any) -> Any:
        logprobs, entropy = right(model, packed, temperature=temperature)
        return (logprobs * 2 - logprobs.detach() if packed.layout.kind == "trees" else logprobs), entropy

    monkeypatch.setattr(layout_check, "completion_logprobs", scaled)
    assert "gradients differ by 1 of" in (disagreement(policy, Layout("trees")) or "")
    assert disagreement(policy, Layout("rows")) is None


def test_a_head_that_is_more_than_a_matrix_computes_its_own_logits(policy: Policy, monkeypatch: Any) -> None:
    class Scaled(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    plain = policy.model.get_output_embeddings()
    scaled = Scaled(plain.in_features, plain.out_features, bias=False)
    scaled.weight = plain.weight
    monkeypatch.setattr(policy.model, "lm_head", scaled)
    found, why = with_layout(policy)
    assert found.layout == Layout("plain")
    assert why == "TypeError: the output head is a Scaled, not a linear layer"


def test_what_a_model_raises_for_the_mask_is_the_reason(policy: Policy, monkeypatch: Any) -> None:
    def refuse(packed: Any) -> None:
        raise NotImplementedError("no such masks here\nand more")

    monkeypatch.setattr(forward, "tree_mask", refuse)
    chosen, reason = with_layout(policy)
    assert (chosen.layout.kind, reason) == ("rows", "NotImplementedError: no such masks here")


@pytest.mark.parametrize(
    ("rotary", "found"),
    [
        ({"rope_type": "default"}, None),
        ({"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32}, None),
        ({"rope_type": "dynamic", "factor": 2.0}, "dynamic rotary positions depend"),
        (
            {
                "rope_type": "longrope",
                "short_factor": [1.0] * 4,
                "long_factor": [2.0] * 4,
                "original_max_position_embeddings": 32,
            },
            "longrope rotary positions depend",
        ),
    ],
)
def test_rotary_positions_that_depend_on_the_batch_are_reported(rotary: dict[str, Any], found: str | None) -> None:
    pretrained = 32 if rotary["rope_type"] == "dynamic" else 64  # the others have a field for it
    config = Qwen3Config(
        **LLAMA_LIKE, max_position_embeddings=pretrained, rope_parameters={"rope_theta": 1e4, **rotary}
    )
    policy = student(Qwen3ForCausalLM(config))
    short, long = torch.arange(30)[None], torch.arange(40)[None]
    alone = policy.model(short).logits
    batch = torch.cat([torch.cat([short, torch.zeros(1, 10, dtype=torch.long)], dim=1), long])
    with torch.no_grad():
        beside = policy.model(batch).logits[:1, :30]
    assert torch.allclose(alone, beside, atol=1e-5) == (found is None)
    assert batch_dependence(policy, 32) is None
    assert (found or "") in (batch_dependence(policy, 33) or "")
    assert (batch_dependence(policy, 33) is None) == (found is None)


def test_a_student_whose_plain_forward_fails_is_refused(policy: Policy, monkeypatch: Any) -> None:
    def forward(input_ids: Any, attention_mask: Any) -> None: ...

    monkeypatch.setattr(policy.model, "forward", forward)
    with pytest.raises(ModelError, match=r"cannot be trained: TypeError: .*logits_to_keep") as refused:
        with_layout(policy)
    assert refused.value.param == "student"


def test_out_of_memory_is_not_a_reason_against_a_layout(policy: Policy, monkeypatch: Any) -> None:
    def full(packed: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(forward, "tree_mask", full)
    with pytest.raises(torch.OutOfMemoryError):
        with_layout(policy)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own compiler uses what it deprecates
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # and reads gradients
def test_flex_attention_gives_the_log_probabilities_of_tree_attention(policy: Policy) -> None:
    prompt = [5, 9, 400]
    group = [Sequence(prompt, [7, 8, 9]), Sequence(prompt, [11]), Sequence([3], [4, 5], demonstration=True)]
    packed = one_pack(group, "blocks")
    with torch.no_grad():
        expected, _ = completion_logprobs(policy.model, replace(packed, layout=Layout("trees")), temperature=0.8)
        plain, _ = completion_logprobs(policy.model, one_pack(group, "plain"), temperature=0.8)
    with emulate_cuda() as compiled:
        student = load_policy(ModelSource(path=str(MODELS / "tiny-random-llama")), torch.device("cpu"))
        found, _ = completion_logprobs(student.model, packed, temperature=0.8)
    assert compiled.flex_variants == 1
    assert block_mask(packed).shape == (1, 1, 128, 128)
    assert_close(found.detach(), expected, atol=1e-5, rtol=1e-5)
    assert_close(found.detach().sum(), plain.sum(), atol=1e-4, rtol=1e-5)
