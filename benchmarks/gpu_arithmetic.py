"""Expected time and memory of a step on GPUs, by arithmetic from data sheets: the tables of docs/gpu.md.

`python -m benchmarks.gpu_arithmetic` prints them; `--write docs/gpu.md` replaces them in the document. Nothing here is
measured: rates are shares of the published peaks, which GPUs of each kind usually reach.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniapl.estimate import decoding, plan
from uniapl.estimate.activations import per_token
from uniapl.estimate.model_shape import ModelShape, from_config
from uniapl.estimate.resources import GpuRoom
from uniapl.spec.job import JobSpec

PROMPTS, GROUP, PROMPT, ANSWER = 64, 8, 1024, 2048
"""A step: prompts, completions of each beside one demonstration, tokens of a prompt and of an answer."""
TRAINED = PROMPTS * (PROMPT + (GROUP + 1) * ANSWER)
"""Tokens of an update; each prompt counts once."""
GEMM, ATTENTION, BANDWIDTH = 0.6, 0.3, 0.75
"""Shares of the peak that matrix products, FlexAttention and memory reach. Assumed."""
TRAFFIC = 4
"""Times that an activation crosses the memory bus in an update with compiled blocks. Assumed."""
HOST_BANDWIDTH = 25e9
"""Bytes per second between GPU and host. PCIe 4, pinned memory."""


@dataclass(frozen=True)
class Gpu:
    """A data sheet."""

    name: str
    memory: float
    """Bytes."""
    bandwidth: float
    """Bytes per second."""
    peak: float
    """Dense bfloat16 operations per second, accumulated in float32."""


GPUS = (
    Gpu("RTX 4090", 25.3e9, 1.008e12, 165e12),
    Gpu("A100-80", 85.0e9, 2.039e12, 312e12),
    Gpu("H100-80", 85.0e9, 3.35e12, 989e12),
    Gpu("H200", 150.75e9, 4.8e12, 989e12),
)


def qwen3(hidden: int, layers: int, intermediate: int, heads: int, *, tied: bool = True) -> ModelShape:
    """The shape of a Qwen3."""
    return from_config(
        {
            "model_type": "qwen3", "vocab_size": 151936, "hidden_size": hidden, "num_hidden_layers": layers,
            "intermediate_size": intermediate, "num_attention_heads": heads, "num_key_value_heads": 8,
            "head_dim": 128, "max_position_embeddings": 40960, "tie_word_embeddings": tied,
        }
    )  # fmt: skip


MODELS = {
    "Qwen3-0.6B": qwen3(1024, 28, 3072, 16),
    "Qwen3-1.7B": qwen3(2048, 28, 6144, 16),
    "Qwen3-4B": qwen3(2560, 36, 9728, 32),
    "Qwen3-8B": qwen3(4096, 36, 12288, 32, tied=False),
}
TIMED = list(MODELS)[:3]
TARGETS = {"Qwen3-0.6B": (110, 0.25), "Qwen3-4B": (230, 0.33)}
"""On one H200: most seconds of a step, and least share of the peak in an update."""


def spec(lora: bool) -> JobSpec:
    """The job of the tables: a vLLM server samples; no discriminator in the trainer's process."""
    fields: dict[str, Any] = {
        "student": "s", "dataset_mix": [{"dataset": "d"}], "lambda_adv": 0,
        "data": {"max_prompt_tokens": PROMPT, "max_reference_tokens": ANSWER},
        "rollout": {"max_new_tokens": ANSWER, "backend": {"type": "vllm"}}, "grpo": {"group_size": GROUP},
        "schedule": {"prompts_per_step": PROMPTS}, "lora": {"rank": 16} if lora else None,
    }  # fmt: skip
    return JobSpec.model_validate(fields)


def useful(shape: ModelShape) -> float:
    """Operations of an update without recomputation."""
    answers = PROMPTS * (GROUP + 1) * ANSWER
    linear = 6 * (shape.inside * TRAINED + shape.vocab * shape.hidden * answers)
    return linear + 3 * _attention(shape)


def _attention(shape: ModelShape) -> float:
    """Operations of a forward of attention, with causal masks."""
    pairs = PROMPTS * (PROMPT**2 / 2 + (GROUP + 1) * ANSWER * (PROMPT + ANSWER / 2))
    return 4 * shape.queries * shape.layers * pairs


def update_s(shape: ModelShape, gpu: Gpu) -> float | None:
    """Seconds of an update; `None` where the GPU does not hold it."""
    found = _memory(shape, gpu, lora=False)
    if found is None:
        return None
    again = 4 / 3 if found.recomputed else 1  # a forward more
    products = again * (useful(shape) - 3 * _attention(shape)) / (GEMM * gpu.peak)
    attention = (3.5 + found.recomputed) * _attention(shape) / (ATTENTION * gpu.peak)
    traffic = TRAFFIC * again * per_token(shape, device="gpu") * TRAINED / (BANDWIDTH * gpu.bandwidth)
    return products + attention + traffic


def sampling_s(shape: ModelShape, gpu: Gpu) -> float | None:
    """Seconds of sampling by vLLM while the trainer keeps its weights only on the GPU."""
    return decoding.sampling_s(
        shape, gpu.memory, BANDWIDTH * gpu.bandwidth, sequences=PROMPTS * GROUP, prompt=PROMPT, answer=ANSWER
    )


def step_s(shape: ModelShape, gpu: Gpu) -> tuple[float, float, float] | None:
    """Seconds of sampling, of the update, and of moving weights and moments; `None` where it does not fit."""
    sampled, updated = sampling_s(shape, gpu), update_s(shape, gpu)
    if sampled is None or updated is None:
        return None
    return sampled, updated, 1 + 2 * 8 * shape.parameters / HOST_BANDWIDTH


def mfu(shape: ModelShape, gpu: Gpu, update: float) -> float:
    """Share of the peak in an update that takes `update` seconds."""
    return useful(shape) / update / gpu.peak


@dataclass(frozen=True)
class _Memory:
    size: float
    """Bytes as expected."""
    tokens: int
    recomputed: bool
    tight: bool


def _memory(shape: ModelShape, gpu: Gpu, *, lora: bool) -> _Memory | None:
    """The trainer's memory, alone on a GPU; `None` where it does not fit at its lowest."""
    job, models, room = spec(lora), plan.Models(shape, None), GpuRoom(gpu.memory)
    chosen = plan.resources(job, models, room)
    need = plan.memory(job, models, plan.longest(job), "gpu", room).total
    if need.low > gpu.memory:
        return None
    return _Memory(need.expected, chosen.micro_batch_tokens, chosen.gradient_checkpointing, need.high > gpu.memory)


def time_table() -> str:
    """Seconds a step of the models by GPU."""

    def cell(name: str, gpu: Gpu) -> str:
        found = step_s(MODELS[name], gpu)
        if found is None:
            return "does not fit"
        share = 100 * mfu(MODELS[name], gpu, found[1])
        return f"{sum(found):.0f} ({'/'.join(f'{part:.0f}' for part in found)}; {share:.0f} %)"

    return _table("s/step", TIMED, cell)


def target_table() -> str:
    """The targets on one H200 against the arithmetic."""
    lines = ["| target on one H200 | by arithmetic | measured |", "|---|---|---|"]
    for name, (seconds, share) in TARGETS.items():
        found = step_s(MODELS[name], GPUS[-1])
        if found is None:
            continue
        reached = f"{sum(found):.0f} s, {100 * mfu(MODELS[name], GPUS[-1], found[1]):.0f} %"
        target = f"{name}: at most {seconds} s a step, update at {100 * share:.0f} % of the peak"
        lines.append(f"| {target} | {reached} | not measured |")
    moved = f"{2 * MODELS['Qwen3-4B'].parameters / 1e9:.0f} GB within the GPU, 1 s assumed"
    return "\n".join([*lines, f"| Qwen3-4B: hand-over of weights below 2 s | {moved} | not measured |"])


def memory_table() -> str:
    """Expected memory of the trainer in GB by model, mode and GPU."""
    rows = {f"{name}, {mode}": (name, mode == "LoRA") for name in MODELS for mode in ("full", "LoRA")}

    def cell(row: str, gpu: Gpu) -> str:
        name, lora = rows[row]
        found = _memory(MODELS[name], gpu, lora=lora)
        if found is None:
            return "does not fit"
        return f"{found.size / 1e9:.0f}{', tight' * found.tight} ({found.tokens}{', gc' * found.recomputed})"

    return _table("GB", list(rows), cell)


def _table(corner: str, rows: list[str], cell: Callable[[str, Gpu], str]) -> str:
    lines = [f"| {corner} | {' | '.join(gpu.name for gpu in GPUS)} |", f"|---|{'---:|' * len(GPUS)}"]
    return "\n".join([*lines, *(f"| {row} | {' | '.join(cell(row, gpu) for gpu in GPUS)} |" for row in rows)])


TABLES = {"times": time_table, "targets": target_table, "memory": memory_table}


def written(text: str) -> str:
    """A document with its tables replaced; each is between `<!-- name -->` and `<!-- end -->`."""
    for name, table in TABLES.items():
        text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", rf"\g<1>{table()}\n\g<2>", text, flags=re.DOTALL)
    return text


def main() -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="document whose tables are replaced")
    file = parser.parse_args().write
    if file is None:
        print(*(table() for table in TABLES.values()), sep="\n\n")
    else:
        file.write_text(written(file.read_text()))


if __name__ == "__main__":
    main()
