"""Students of Qwen3's shapes through a whole run: trained by all terms, sampled, saved, reloaded and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from tests.conftest import MODELS
from tests.uniapl.training.test_train_command import reports, rest, run_file, tensors
from tests.uniapl.warm_trainer import train
from uniapl.chat.template import PLAIN_TEMPLATE
from uniapl.model.policy import load_policy
from uniapl.run.config import ModelSource
from uniapl.run.reports import ErrorReport, MetricReport

pytestmark = pytest.mark.integration

Kind = Literal["base", "chat"]
CHAT = """
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == "assistant" and '</think>' in content %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
"""As Qwen3's template treats thinking: earlier blocks are dropped, and an empty block forbids a new one."""


def write_student(folder: Path, kind: Kind) -> None:
    """Qwen3 in small: normalized queries and keys, heads wider than their part of the hidden size, tied embeddings, no
    token before a text; a base student without a template, which ends with another token."""
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "tiny-random-llama")
    tokenizer.bos_token = None
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.eos_token = "<|im_end|>" if kind == "chat" else "<|endoftext|>"
    tokenizer.chat_template = CHAT if kind == "chat" else None
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=40960,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=ends if kind == "chat" else ends[1:], do_sample=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(params=["base", "chat"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["weights", "adapters"])
def test_a_run_with_all_terms_is_saved_reloaded_and_resumed(
    tmp_path: Path, kind: Kind, lora: dict[str, Any] | None
) -> None:
    student = tmp_path / "student"
    write_student(student, kind)
    changes = {
        "student": str(student),
        "lora": lora,
        "schedule": {"steps": 4, "prompts_per_step": 2, "checkpoint_every": 2, "term_norms_every": 1},
        "data": {"chat_template": "plain"} if kind == "base" else {},
        "evaluation": None,
        "optimizer": {"learning_rate": 1e-2},
    }
    folder, resumed = tmp_path / "run", tmp_path / "resumed"
    status, errors = train(run_file(folder, **changes))
    assert status == 0, errors
    status, errors = train(run_file(resumed, resume_from=str(folder / "checkpoints" / "step-00000002"), **changes))
    assert status == 0, errors
    assert tensors(resumed, 4) == tensors(folder, 4)
    assert rest(resumed, 4) == rest(folder, 4)
    check_metrics(folder)
    check_export(folder / "checkpoints" / "step-00000004", student, kind)


def check_metrics(folder: Path) -> None:
    """Every term contributes a gradient, and the sampler agrees with the trainer."""
    found = reports(folder)
    assert not [report for report in found if isinstance(report, ErrorReport)]
    values: dict[str, list[float]] = {}
    for report in found:
        if isinstance(report, MetricReport):
            for name, value in report.values.items():
                values.setdefault(name, []).append(value)
    for term in ("sft", "grpo", "adv"):
        assert max(values[f"uniapl/grad_norm_{term}"]) > 0, term
    assert max(values["sampling/sampling_logp_difference/mean"]) < 1e-4  # sampled by the weights that are trained


def check_export(checkpoint: Path, student: Path, kind: Kind) -> None:
    """A checkpoint is a model that transformers loads, with other weights, the tokenizer and the template."""
    loaded = load_policy(ModelSource(path=str(checkpoint)), torch.device("cpu"))
    before = Qwen3ForCausalLM.from_pretrained(student)
    assert isinstance(loaded.model, Qwen3ForCausalLM)
    assert json.loads((checkpoint / "config.json").read_text())["head_dim"] == 16
    assert loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(loaded.model.state_dict()[name], before.state_dict()[name])
    assert loaded.tokenizer.chat_template == (CHAT if kind == "chat" else PLAIN_TEMPLATE)
    assert loaded.tokenizer.eos_token == ("<|im_end|>" if kind == "chat" else "<|endoftext|>")
    prompt = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi."}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    answer = loaded.model.generate(prompt, max_new_tokens=4, do_sample=False)
    assert answer.shape[1] > prompt.shape[1]


def test_weights_are_aligned_whatever_their_file_is(tmp_path: Path, kind: Kind) -> None:
    write_student(tmp_path, kind)
    mapped = Qwen3ForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert any(weight.data_ptr() % 64 for weight in mapped.parameters())  # as the file has them
    loaded = load_policy(ModelSource(path=str(tmp_path)), torch.device("cpu"))
    assert not any(weight.data_ptr() % 64 for weight in loaded.model.parameters())
    assert torch.equal(loaded.model.lm_head.weight, mapped.lm_head.weight)
