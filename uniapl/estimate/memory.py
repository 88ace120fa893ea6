"""The memory of a run, part by part: formulas of our trainer, constants from measurements (docs/estimate.md).

A run's peak is the largest sum over the moments of a step: sampling, scoring, the update, its end, saving.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from uniapl.batching.packing import CACHE_ROOM, CHUNK_LOGITS, cut, fastest_layout, prompts_at_once, row_length
from uniapl.estimate.model_shape import ModelShape
from uniapl.estimate.workload import Level, Step
from uniapl.spec.backend import InProcess
from uniapl.spec.job import JobSpec
from uniapl.spec.training import Lora
from uniapl.spec.weights import Stage, bounds

Device = Literal["cpu", "gpu"]
"""Where the models lie."""
FLOAT = 4
"""Bytes of a number: weights, gradients, moments and norms are float32 everywhere."""
PRODUCT: dict[Device, int] = {"cpu": FLOAT, "gpu": 2}
"""Bytes of a number that matrices read or make: on a GPU they are bfloat16 (`uniapl.model.logprobs.precision`)."""
MB = 1_000_000
RUNTIME: dict[Device, dict[Level, int]] = {
    "cpu": {"low": 350 * MB, "expected": 500 * MB, "high": 800 * MB},
    "gpu": {"low": 300 * MB, "expected": 700 * MB, "high": 1500 * MB},
}
"""Before any weights: Python, torch, transformers, peft and a tokenizer; on a GPU the driver's context, kernels and
workspaces. `low` leaves out what is mapped from files, and could be read again; `high` has room for other builds of
torch. Measured on CPUs: 442 MB after the imports, of them 330 not from files, and 45 for a tokenizer."""
REWARD_PROCESS: dict[Level, int] = {"low": 170 * MB, "expected": 228 * MB, "high": 300 * MB}
"""One process that verifies answers. Measured: 228 MB, of them 176 not from files."""
HEAP: dict[Device, dict[Level, float]] = {
    "cpu": {"low": 1.0, "expected": 1.8, "high": 2.5},
    "gpu": {"low": 1.0, "expected": 1.2, "high": 1.6},
}
"""Bytes that the heap grows by per byte of activations: freed ones lie scattered between those still needed. Measured
with glibc: 1.8; with blocks given back at once, the same run took 1.0. Not measured on GPUs."""
ADAPTERS_HEAP: dict[Level, float] = {"low": 0.0, "expected": 0.7, "high": 1.0}
"""More of the same with LoRA on a CPU, whose small tensors lie between the large ones. Measured."""

LOGITS = 2
"""Tensors of logits per chunk: logits and log-softmax, or log-softmax and exponential; `uniapl.model.lm_head`."""

Parts = dict[str, float]
"""Bytes by part."""


@dataclass(frozen=True)
class PackSize:
    """The pack that takes the most memory; its layout is the usual one of the device."""

    tokens: int
    """R · W, padding included."""
    logits: int
    """Of those that are held at once, the completion tokens' or a chunk's if these are more; `uniapl.model.lm_head`."""
    is_only_one: bool
    """Whether the step has no other, so that no gradient lies beside its activations yet."""


@dataclass(frozen=True)
class _Conditions:
    level: Level
    device: Device

    def heap(self, spec: JobSpec) -> float:
        scattered = ADAPTERS_HEAP[self.level] if spec.lora and self.device == "cpu" else 0
        return HEAP[self.device][self.level] + scattered

    def runtime(self, spec: JobSpec) -> int:
        verified = spec.uses_grpo or spec.evaluation is not None
        processes = spec.reward.processes if verified and self.device == "cpu" else 0
        return RUNTIME[self.device][self.level] + processes * REWARD_PROCESS[self.level]


def peak(
    spec: JobSpec, student: ModelShape, judge: ModelShape | None, step: Step, level: Level, device: Device = "cpu"
) -> tuple[Parts, float]:
    """Bytes of each part at its largest, and of the largest moment, in which not all parts are alive.

    Args:
        spec: the job.
        student: the model that is trained.
        judge: the discriminator's model; `None` where the trainer loads none.
        step: what a step holds.
        level: decides the size of the runtime and of the heap; what `step` holds follows it too.
        device: where the models lie; the memory of a GPU is meant, or that of the machine.
    """
    parts: Parts = {}
    total = 0.0
    for moment in _moments(spec, student, judge, step, _Conditions(level, device)):
        total = max(total, sum(moment.values()))
        parts = {name: max(parts.get(name, 0.0), moment.get(name, 0.0)) for name in {**parts, **moment}}
    return parts, total


def _moments(
    spec: JobSpec, student: ModelShape, judge: ModelShape | None, step: Step, on: _Conditions
) -> Iterator[Parts]:
    trained = student.adapters(spec.lora) if spec.lora else student.parameters
    resident: Parts = {
        "runtime": on.runtime(spec),
        "weights": FLOAT * (student.parameters + (trained if spec.lora else 0)),
        "reference": FLOAT * student.parameters if spec.grpo.kl_coef > 0 and not spec.lora else 0,
        "discriminator": _judge_resident(spec, judge),
    }
    yield resident | {"weights": resident["weights"] + _loading(student)}
    moments = resident | {"optimizer": 2 * FLOAT * trained}
    pack = largest(spec, student, step, on.device)
    working = {
        "activations": on.heap(spec) * pack.tokens * kept(spec, student, on.device) + _cast(student, on.device),
        "logits": LOGITS * FLOAT * pack.logits,
    }
    yield moments | {"rollouts": _rollouts(spec, student, step)}
    if judge is not None:
        yield moments | {"discriminator": resident["discriminator"] + _judging(spec, judge, step)}
    if spec.lora:  # adapters are merged into copies when a checkpoint is written, and the heap has not shrunk
        merged = resident["weights"] + FLOAT * _linear(student)
        yield moments | {"weights": merged, "activations": working["activations"]}
    yield from _update(spec, moments, working, FLOAT * trained, waits=pack.is_only_one)


def _update(spec: JobSpec, moments: Parts, working: Parts, gradient: float, *, waits: bool) -> Iterator[Parts]:
    """Forward and backward of the largest pack, and the end of a step.

    Steps that measure each term's norm keep one gradient per term until AdamW is done; the first step is one, and has
    no moments before its end. `waits`: the last gradient only comes when the activations go.
    """
    terms = max(_terms(stage) for stage in spec.stages)
    yield moments | working | {"optimizer": 0, "gradients": (terms - waits) * gradient}
    yield moments | {"gradients": terms * gradient}
    if spec.schedule.steps > 1:
        kinds = terms if spec.schedule.steps > spec.schedule.term_norms_every else 1
        yield moments | working | {"gradients": (kinds - waits) * gradient}


def _terms(stage: Stage) -> int:
    """Terms of the objective that can be alive in one step."""
    low, high = bounds(stage.alpha)
    return (high > 0) + (low < 1) + (bounds(stage.lambda_adv)[1] > 0)


def largest(spec: JobSpec, student: ModelShape, step: Step, device: Device = "cpu") -> PackSize:
    """The pack that takes the most memory, of those that the trainer would cut."""
    sequences = step.demonstrations + step.rollouts
    limit, width = spec.resources.micro_batch_tokens, kept(spec, student, device)
    layout = fastest_layout(gpu=device == "gpu")
    found, count = PackSize(0, 0, True), 0
    for rows in cut(sequences, limit, layout):
        count += 1
        W = row_length(rows, layout)
        completions = sum(sequences[i].completion for row in rows for tree in row for i in tree.branches)
        more = max(1.0, min(step.each, limit / (len(rows) * W)))  # the like of those listed would fill it
        tokens = round(more * len(rows) * W)
        logits = min(round(more * completions) * student.vocab, max(CHUNK_LOGITS, student.vocab))
        size = PackSize(tokens, logits, False)
        if _size(size, width) > _size(found, width):
            found = size
    return replace(found, is_only_one=count == 1 and step.each == 1)


def _size(pack: PackSize, width: int) -> int:
    return pack.tokens * width + FLOAT * LOGITS * pack.logits


def per_token(shape: ModelShape, lora: Lora | None = None, device: Device = "cpu", *, ours: bool = False) -> int:
    """Bytes that a token leaves behind for the backward pass, over all layers.

    Of each layer: both norms' inputs, normalised values and outputs; queries, repeated keys and values, attention's
    output twice; the gate before and after its activation, the other half, and their product. With LoRA the norms'
    weights are frozen, so their normalised values are not kept, but the adapters' inner values are.

    Functions of `ours`, as the student's on a CPU, leave less. Attention along branches: keys and values unrepeated and
    one output. Norms: no normalised values. Gates: their two halves, but with LoRA, whose adapters read the product.
    """
    less = ours and shape.keeps_less
    norms = (4 if lora or less else 6) * shape.hidden
    attention = 2 * (shape.queries + shape.keys) if ours else 5 * shape.queries
    gate = (2 if less and not lora else 4) * shape.intermediate
    products = attention + gate + (7 * lora.rank if lora else 0)
    return shape.layers * (FLOAT * norms + PRODUCT[device] * products)


def kept(spec: JobSpec, student: ModelShape, device: Device) -> int:
    """The same, or with `gradient_checkpointing` each layer's input, and the rest of the one that is recomputed."""
    everything = per_token(student, spec.lora, device, ours=device == "cpu")
    if not spec.resources.gradient_checkpointing:
        return everything
    return student.layers * FLOAT * student.hidden + everything // student.layers


def _cast(student: ModelShape, device: Device) -> int:
    """The weights in bfloat16, which autocast keeps from the forward to the backward."""
    return PRODUCT["gpu"] * student.parameters if device == "gpu" else 0


def _rollouts(spec: JobSpec, student: ModelShape, step: Step) -> float:
    """Keys and values of the sequences sampled at once, and what drawing a token from the vocabulary takes.

    The cache makes room by copying, one layer at a time. Held-out rows are answered in the same way; their prompts are
    taken to be as long as the others. A server that samples has all this in its own memory.
    """
    if not isinstance(spec.rollout.backend, InProcess):
        return 0
    rows = _at_once(spec, round(len(step.prompts) * step.each), spec.grpo.group_size)
    if spec.evaluation is not None:
        held_out, sampled = spec.evaluation.rows, spec.evaluation.profile_completions
        rows = max(rows, _at_once(spec, held_out, 1), _at_once(spec, held_out, sampled))
    answer = max((s.completion for s in step.rollouts), default=spec.rollout.max_new_tokens)
    tokens = answer + max((s.prompt for s in step.demonstrations + step.rollouts), default=0)
    cache = FLOAT * rows * (tokens + CACHE_ROOM) * 2 * student.keys * (student.layers + 1)
    draw = rows * student.vocab * 3 * FLOAT  # the model's logits, divided by the temperature, exponentiated
    return cache + draw


def _at_once(spec: JobSpec, prompts: int, group_size: int) -> int:
    """Sequences of one sampling batch."""
    return min(prompts_at_once(spec.rollout.batch_size, max(group_size, 1)), prompts) * group_size


def _judge_resident(spec: JobSpec, judge: ModelShape | None) -> float:
    """A judge's weights; of one that learns its moments too."""
    if judge is None:
        return 0
    return FLOAT * judge.parameters * (3 if spec.discriminator.type == "learned" else 1)


def _judging(spec: JobSpec, judge: ModelShape, step: Step) -> float:
    """What scoring takes beyond the judge's weights; for one that learns, a batch of pairs and the gradient."""
    sequences = step.rollouts or step.demonstrations
    longest = max((s.prompt + s.completion for s in sequences), default=0)
    rows = spec.discriminator.batch_size
    if spec.discriminator.type == "learned":
        return FLOAT * judge.parameters + 2 * rows * longest * per_token(judge)
    rows = min(rows, round(len(sequences) * step.each))
    return FLOAT * rows * min(longest, judge.positions) * (2 * judge.intermediate + 4 * judge.hidden)


def _loading(student: ModelShape) -> float:
    """What reading the weights takes beside them.

    A GGUF file's are dequantised, then copied into a fresh model; float32 is mapped as it is, other types converted.
    """
    if student.gguf:
        return 2 * FLOAT * student.parameters
    return student.stored_bytes if student.stored_bytes < FLOAT * student.parameters else 0


def _linear(student: ModelShape) -> int:
    """Weights of the layers that adapters are merged into when a checkpoint is written."""
    return student.parameters - student.vocab * student.hidden
