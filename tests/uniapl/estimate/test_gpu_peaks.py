"""Peaks of a GPU run (head, sampling, KL reference, learned discriminator), counted on a CPU, against the estimate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from benchmarks.cuda_on_cpu import emulate_cuda
from tests.conftest import MODELS
from tests.uniapl.held import peak
from uniapl.batching.batch import Sequence
from uniapl.batching.packed import pack
from uniapl.batching.packing import Layout
from uniapl.discriminators import learned
from uniapl.discriminators.base import Comparison
from uniapl.discriminators.learned import LearnedDiscriminator
from uniapl.estimate import discriminator_memory, memory
from uniapl.estimate.discriminator_memory import learning
from uniapl.estimate.model_shape import ModelShape, from_config, read_shape
from uniapl.estimate.resources import ChosenResources
from uniapl.estimate.workload import Entry, RowLengths, Sample, step_of
from uniapl.model.logprobs import completion_logprobs, precision
from uniapl.model.lora import with_lora
from uniapl.model.policy import load_policy, load_reference
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec
from uniapl.spec.training import Lora

pytestmark = pytest.mark.integration
CPU = torch.device("cpu")
TINY = ModelSource(path=str(MODELS / "tiny-random-llama"))
PLAIN = ChosenResources(micro_batch_tokens=4096, gradient_checkpointing=False, compile_blocks=False)
PROMPT, ANSWER = 100, 28


@pytest.fixture(autouse=True)
def gpu() -> Iterator[None]:
    with emulate_cuda():
        yield


def estimated(shape: ModelShape, judge: ModelShape | None = None, **fields: Any) -> tuple[dict[str, float], float]:
    """Parts and peak at the lowest level, whose allocator keeps nothing, without the runtime."""
    base: dict[str, Any] = {
        "student": "s", "dataset_mix": [{"dataset": "d"}], "lambda_adv": 0,
        "data": {"max_prompt_tokens": PROMPT}, "schedule": {"prompts_per_step": 1, "steps": 2, "term_norms_every": 0},
        "rollout": {"max_new_tokens": ANSWER, "backend": {"type": "transformers"}},
    }  # fmt: skip
    spec = JobSpec.model_validate({**base, **fields})
    entries = [Entry("both", 1, Sample([RowLengths(PROMPT, ANSWER)], looked_at=1, share=1.0))]
    parts, total = memory.peak(spec, PLAIN, shape, judge, step_of(spec, entries, "low"), "low", "gpu")
    return parts, total - parts["runtime"]


def test_the_head_of_a_large_vocabulary_is_cast_and_its_gradient_is_summed_beside_the_gradients() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40_000, hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4,
        tie_word_embeddings=True,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config).eval()
    sequences = [Sequence([5 + i] * PROMPT, [7] * ANSWER) for i in range(2)]
    packs = [next(iter(pack([one], 128, 0, CPU, Layout("rows")))) for one in sequences]

    def update() -> None:
        for packed in packs:
            with precision(CPU):
                logprobs = completion_logprobs(model, packed, temperature=1.0)[0]
            logprobs.sum().backward()

    shape = from_config(config.to_dict())
    micro = ChosenResources(micro_batch_tokens=128, gradient_checkpointing=False, compile_blocks=False)
    spec = JobSpec.model_validate(
        {"student": "s", "dataset_mix": [{"dataset": "d"}], "alpha": 1, "lambda_adv": 0,
         "schedule": {"prompts_per_step": 2, "steps": 1, "term_norms_every": 0}}
    )  # fmt: skip
    entries = [Entry("both", 1, Sample([RowLengths(PROMPT, ANSWER)], looked_at=1, share=1.0))]
    parts, total = memory.peak(spec, micro, shape, None, step_of(spec, entries, "low"), "low", "gpu")
    # the largest moment is the backward of the second pack, where the sum of the first exists
    assert total - parts["runtime"] - parts["weights"] == pytest.approx(peak(update), rel=0.1)


def test_sampling_keeps_the_weights_in_bfloat16() -> None:
    policy = load_policy(TINY, CPU)
    generator = TransformersGenerator(policy, temperature=1.0, max_new_tokens=ANSWER, batch_size=8)
    found = peak(lambda: generator.sample([[5] * PROMPT], group_size=8, seed=0))
    parts, _ = estimated(read_shape(TINY), alpha=0, grpo={"group_size": 8})
    assert parts["rollouts"] == pytest.approx(found, rel=0.25)


def test_a_reference_takes_two_bytes_per_weight_of_a_linear_layer() -> None:
    reference = load_reference(TINY, CPU).model
    stored = {p.data_ptr(): p.numel() * p.element_size() for p in reference.parameters()}
    parts, _ = estimated(read_shape(TINY), grpo={"kl_coef": 0.1})
    assert memory.frozen(read_shape(TINY), "gpu") == pytest.approx(sum(stored.values()), rel=1e-3)
    assert parts["reference"] == 4 * read_shape(TINY).parameters  # while it is loaded


def test_a_student_with_adapters_takes_two_bytes_per_weight_of_a_linear_layer() -> None:
    student = with_lora(load_policy(TINY, CPU), Lora(rank=4), seed=0).model
    stored = {p.data_ptr(): p.numel() * p.element_size() for p in student.parameters()}
    spec = JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], "lora": {"rank": 4}})
    weights = memory._resident(spec, read_shape(TINY), None, "low", "gpu")["weights"]
    assert weights == pytest.approx(sum(stored.values()), rel=1e-3)


def deep(folder: Path) -> ModelSource:
    """The tiny student with random weights in eight layers, so that activations outweigh the rest."""
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        config = LlamaConfig.from_pretrained(TINY.path, num_hidden_layers=8)
        LlamaForCausalLM(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(TINY.path).save_pretrained(folder)
    return ModelSource(path=str(folder))


def test_a_learned_discriminators_update_is_bounded(tmp_path: Path) -> None:
    judged = LearnedDiscriminator(
        deep(tmp_path),
        options=JobSpec.model_validate(
            {"student": "s", "dataset_mix": [{"dataset": "d"}], "discriminator": {"type": "learned", "batch_size": 16}}
        ).discriminator,  # type: ignore[arg-type]
        seed=0,
        device=CPU,
    )
    shape, words = read_shape(deep(tmp_path)), "a b c d e f g h " * 40
    comparisons = [Comparison(f"{i} {words}", f"{i} yes", f"{i} no") for i in range(16)]
    judged.learn(comparisons)  # from here on the moments exist
    longest = max(len(judged._tokens(c.prompt, c.output)) for c in comparisons)
    found = peak(lambda: judged.learn(comparisons))
    assert discriminator_memory.BACKWARD_TOKENS == learned.BACKWARD_TOKENS
    assert found == pytest.approx(learning(shape, 16, longest, "gpu"), rel=0.2)
    assert learning(shape, 256, longest, "gpu") < 1.6 * learning(shape, 16, longest, "gpu")
