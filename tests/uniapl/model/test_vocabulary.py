"""Students with more embeddings than their tokenizer has tokens, and with several end tokens."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tests.conftest import MODELS
from uniapl.data.encoding import encode_row
from uniapl.model.policy import Policy
from uniapl.rollout.generator import Completion
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.spec.dataset import DatasetRow

pytestmark = pytest.mark.integration

FURTHER = 1024
"""Embeddings beyond the tokenizer, as padding of the vocabulary to a multiple gives."""
END = "<jupyter_start>"


@pytest.fixture
def student() -> Policy:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "tiny-random-llama")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    config = LlamaConfig(vocab_size=len(tokenizer) + FURTHER, tie_word_embeddings=True, **sizes, **ids)
    return Policy(LlamaForCausalLM(config).eval(), tokenizer)


def favour(student: Policy, tokens: slice | int) -> None:
    with torch.no_grad():
        student.model.get_input_embeddings().weight[tokens] *= 60


def sampled(student: Policy) -> list[Completion]:
    generator = TransformersGenerator(student, temperature=1.0, max_new_tokens=32, batch_size=8)
    return [completion for group in generator.sample([[1, 5, 6], [1, 7]], group_size=8, seed=1) for completion in group]


def test_tokens_beyond_the_tokenizer_are_sampled_and_decoded(student: Policy) -> None:
    known = len(student.tokenizer)
    favour(student, slice(known, None))
    completions = sampled(student)
    assert any(token >= known for completion in completions for token in completion.ids)
    for completion in completions:
        assert isinstance(student.text(completion.ids), str)
        assert all(math.isfinite(logprob) for logprob in completion.logprobs)


def test_any_declared_end_token_ends_a_completion_and_the_templates_ends_a_reference(student: Policy) -> None:
    end = student.tokenizer.convert_tokens_to_ids(END)
    student.model.generation_config.eos_token_id = [2, 0, end]
    student.tokenizer.chat_template = (
        "{% for m in messages %}{{ '[' + m['role'] + ']\\n' + m['content'] + '" + END + "\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[assistant]\\n' }}{% endif %}"
    )
    favour(student, end)
    ended = [completion for completion in sampled(student) if end in completion.ids]
    assert ended
    assert all(completion.ids.index(end) == len(completion.ids) - 1 for completion in ended)
    assert not any(completion.truncated for completion in ended)
    row = DatasetRow.model_validate({"messages": [{"role": "user", "content": "Hi"}], "reference": "Yes"})
    encoded = encode_row(row, 0, student, student.end_of_turn)
    assert encoded.reference_ids is not None
    assert (encoded.reference_ids[-1], encoded.reference_ids.count(end)) == (end, 1)
