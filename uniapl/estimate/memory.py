"""Memory of a training run by parts: formulas of the trainer, constants from measurements (docs/estimate.md).

The peak of a run is the largest sum over the phases of a step: sampling, scoring, the update, its end, saving.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from uniapl.batching.packing import CACHE_ROOM, chunk_logits, cut, fastest_layout, prompts_at_once, row_length
from uniapl.estimate import discriminator_memory
from uniapl.estimate.activations import FLOAT, PRODUCT, Device, cast_weights, kept
from uniapl.estimate.model_shape import ModelShape
from uniapl.estimate.moments import moment_bytes, step_bytes
from uniapl.estimate.resources import ChosenResources
from uniapl.estimate.workload import Level, Step
from uniapl.spec.backend import VllmSampler
from uniapl.spec.job import JobSpec
from uniapl.spec.weights import Stage, bounds

MB = 1_000_000
RUNTIME: dict[Device, dict[Level, int]] = {
    "cpu": {"low": 350 * MB, "expected": 500 * MB, "high": 800 * MB},
    "gpu": {"low": 300 * MB, "expected": 700 * MB, "high": 1500 * MB},
}
"""Memory before any weights: Python, torch, transformers, peft and a tokenizer; on a GPU the driver's context, kernels
and workspaces. `low` excludes pages mapped from files, which the kernel can drop; `high` allows for other builds of
torch. Measured on CPUs: 442 MB after the imports, 330 MB of it not from files, and 45 MB for a tokenizer."""
REWARD_PROCESS: dict[Level, int] = {"low": 170 * MB, "expected": 228 * MB, "high": 300 * MB}
"""One process that verifies completions. Measured: 228 MB, 176 MB of it not from files."""
HEAP: dict[Device, dict[Level, float]] = {
    "cpu": {"low": 1.0, "expected": 1.8, "high": 2.5},
    "gpu": {"low": 1.0, "expected": 1.2, "high": 1.6},
}
"""Growth of the heap in bytes per byte of activations, above 1 by fragmentation. Measured with glibc: 1.8; with freed
blocks returned immediately, the same run took 1.0. Not measured on GPUs."""
ADAPTERS_HEAP: dict[Level, float] = {"low": 0.0, "expected": 0.7, "high": 1.0}
"""Additional growth with LoRA on a CPU, whose small tensors fragment the heap. Measured."""

LOGITS = 2
"""Tensors of logits per chunk: logits and log-softmax, or log-softmax and exponential; `uniapl.model.lm_head`."""

Parts = dict[str, float]
"""Bytes by part."""


@dataclass(frozen=True)
class PackSize:
    """The packed batch that takes the most memory, in the default layout of the device."""

    tokens: int
    """R · W, padding included."""
    logits: int
    """Logits held at once: those of the completion tokens, or of a chunk if that is more; `uniapl.model.lm_head`."""
    is_only_one: bool
    """Whether the step has one packed batch, so that no gradient exists beside its activations yet."""


@dataclass(frozen=True)
class _Conditions:
    level: Level
    device: Device
    resources: ChosenResources

    def heap(self, spec: JobSpec) -> float:
        scattered = ADAPTERS_HEAP[self.level] if spec.lora and self.device == "cpu" else 0
        return HEAP[self.device][self.level] + scattered


def _runtime(spec: JobSpec, level: Level, device: Device) -> int:
    verified = spec.uses_grpo or spec.evaluation is not None
    processes = spec.reward.processes if verified and device == "cpu" else 0
    return RUNTIME[device][level] + processes * REWARD_PROCESS[level]


def peak(
    spec: JobSpec,
    resources: ChosenResources,
    student: ModelShape,
    judge: ModelShape | None,
    step: Step,
    level: Level,
    device: Device = "cpu",
) -> tuple[Parts, float]:
    """Bytes of each part at its own peak, and of the largest phase, in which not all parts exist.

    Args:
        spec: the job.
        resources: the values of `spec.resources` that the trainer uses.
        student: the model that is trained.
        judge: the discriminator's model; `None` where the trainer loads none.
        step: the workload of a step, of the same level.
        level: selects the size of the runtime and of the heap.
        device: device of the models; the result is the memory of the GPU, or of the machine.
    """
    parts: Parts = {}
    total = 0.0
    for moment in _moments(spec, student, judge, step, _Conditions(level, device, resources)):
        total = max(total, sum(moment.values()))
        parts = {name: max(parts.get(name, 0.0), moment.get(name, 0.0)) for name in {**parts, **moment}}
    return parts, total


def update_peak(
    spec: JobSpec, resources: ChosenResources, student: ModelShape, judge: ModelShape | None, step: Step
) -> float:
    """Bytes of the largest phase of an update on a GPU, at most; as `peak` without sampling, scoring and saving."""
    on = _Conditions("high", "gpu", resources)
    resident = _resident(spec, student, judge, "high", "gpu")
    return max(sum(moment.values()) for moment in _update(spec, student, step, resident, on))


def resting(spec: JobSpec, student: ModelShape, judge: ModelShape | None, level: Level) -> float:
    """Bytes of a GPU that the trainer holds while a server on it samples: no gradients and no activations.

    AdamW's moments are in host memory meanwhile (`uniapl.training.host_moments`).
    """
    return sum(_resident(spec, student, judge, level, "gpu").values())


def _resident(spec: JobSpec, student: ModelShape, judge: ModelShape | None, level: Level, device: Device) -> Parts:
    """Bytes that exist from the start to the end of a run."""
    return {
        "runtime": _runtime(spec, level, device),
        "weights": _weights(spec, student, device),
        "reference": frozen(student, device) if _has_reference(spec) else 0,
        "discriminator": discriminator_memory.resident(spec, judge, device),
    }


def _moments(
    spec: JobSpec, student: ModelShape, judge: ModelShape | None, step: Step, on: _Conditions
) -> Iterator[Parts]:
    resident = _resident(spec, student, judge, on.level, on.device)
    yield resident | _loading(spec, student, resident, on.device)
    moments = resident | {"optimizer": moment_bytes(spec, student)}
    yield moments | {"rollouts": _rollouts(spec, student, step, on.device)}
    if judge is not None:
        yield moments | {
            "discriminator": resident["discriminator"] + discriminator_memory.scoring(spec, judge, step, on.device)
        }
    if spec.lora:  # a checkpoint merges adapters into copies, while the heap has not shrunk
        merged = resident["weights"] + FLOAT * _linear(student)
        yield moments | {"weights": merged, "activations": _working(spec, student, step, on)[1]["activations"]}
    yield from _update(spec, student, step, resident, on)


def _working(spec: JobSpec, student: ModelShape, step: Step, on: _Conditions) -> tuple[PackSize, Parts]:
    """The largest pack, and the bytes of its forward and backward pass."""
    pack = largest(spec, on.resources, student, step, on.device)
    width = kept(spec, on.resources, student, on.device)
    return pack, {
        "activations": on.heap(spec) * pack.tokens * width + cast_weights(student, on.device, spec.lora),
        "logits": LOGITS * FLOAT * pack.logits,
    }


def _update(spec: JobSpec, student: ModelShape, step: Step, resident: Parts, on: _Conditions) -> Iterator[Parts]:
    """Forward and backward of the largest pack, and the end of a step.

    Steps that measure each term's norm keep one gradient per term until their sum is formed; the first step is one of
    them, and has no moments before. The only pack's last gradient is allocated when the activations are freed.

    Two gradients of `uniapl.model.layout_check` exist before the first step; the step's end has more: one and the
    moments.
    """
    pack, working = _working(spec, student, step, on)
    gradient, waits = FLOAT * student.trained(spec.lora), pack.is_only_one
    head = _head_gradient(spec, student, on.device)
    moments = resident | {"optimizer": moment_bytes(spec, student)}
    first = max(_terms(stage) for stage in spec.stages) if spec.schedule.measures_terms(0) else 1
    later = first if spec.schedule.steps > spec.schedule.term_norms_every else 1
    yield resident | working | {"gradients": (first - waits) * gradient + head}
    yield resident | {"gradients": first * gradient}
    beside = on.heap(spec) * step_bytes(spec, student, on.device)
    yield moments | {"gradients": gradient, "optimizer": moments["optimizer"] + beside}
    if spec.schedule.steps > 1:
        yield moments | working | {"gradients": (later - waits) * gradient + head}
        yield moments | {"gradients": later * gradient}


def _terms(stage: Stage) -> int:
    """Number of terms of the objective that can be active in one step."""
    low, high = bounds(stage.alpha)
    return (high > 0) + (low < 1) + (bounds(stage.lambda_adv)[1] > 0)


def largest(
    spec: JobSpec, resources: ChosenResources, student: ModelShape, step: Step, device: Device = "cpu"
) -> PackSize:
    """The packed batch that takes the most memory, of those that the trainer would form."""
    sequences = step.demonstrations + step.rollouts
    limit, width = resources.micro_batch_tokens, kept(spec, resources, student, device)
    layout = fastest_layout(gpu=device == "gpu")
    largest_pack, count = PackSize(0, 0, True), 0
    for rows in cut(sequences, limit, layout):
        count += 1
        W = row_length(rows, layout)
        completions = sum(sequences[i].completion for row in rows for tree in row for i in tree.branches)
        more = max(1.0, min(step.each, limit / (len(rows) * W)))  # sequences like the listed ones fill it
        tokens = round(more * len(rows) * W)
        logits = min(round(more * completions) * student.vocab, max(chunk_logits(gpu=device == "gpu"), student.vocab))
        size = PackSize(tokens, logits, False)
        if _size(size, width) > _size(largest_pack, width):
            largest_pack = size
    return replace(largest_pack, is_only_one=count == 1 and step.each == 1)


def _size(pack: PackSize, width: int) -> int:
    return pack.tokens * width + FLOAT * LOGITS * pack.logits


def _head_gradient(spec: JobSpec, student: ModelShape, device: Device) -> int:
    """Bytes of the head's gradient of one pack, and of a chunk's product that is added to it, both in float32.

    A CPU adds products without a copy; its factor of the heap covers the rest.
    """
    trains_head = spec.lora is None and device == "gpu"
    return 2 * FLOAT * student.vocab * student.hidden if trains_head else 0


def _rollouts(spec: JobSpec, student: ModelShape, step: Step, device: Device) -> float:
    """Bytes of the key-value caches of one sampling batch, of sampling a token from the vocabulary, and of the cast
    weights, which autocast keeps for a batch if they are trained.

    Evaluation samples in the same way; its prompts are assumed to be as long as the others. With a server that samples,
    all this is in the server's memory.
    """
    if isinstance(spec.rollout.backend, VllmSampler):
        return 0
    sampled = [(round(len(step.prompts) * step.each), spec.grpo.group_size)]
    if spec.evaluation is not None:
        sampled += [(spec.evaluation.rows, n) for n in (1, spec.evaluation.profile_completions) if n]
    answer = max((s.completion for s in step.rollouts), default=spec.rollout.max_new_tokens)
    prompt = max((s.prompt for s in step.demonstrations + step.rollouts), default=0)
    largest_batch = max(_batch(spec, student, prompt, answer, *each, device) for each in sampled)
    return largest_batch + (0 if spec.lora else cast_weights(student, device))


def _batch(
    spec: JobSpec, student: ModelShape, prompt: int, answer: int, prompts: int, group_size: int, device: Device
) -> float:
    """Bytes of sampling `group_size` completions of each of at most `prompts` prompts at once.

    The prompts of groups are stored once (`uniapl.rollout.kv_cache`): the prefill's cache is copied without its spare
    room, and freed. A cache grows by copying, one layer at a time. Attention to stored prompts is in float32, into
    which a GPU copies one layer.
    """
    count = min(prompts_at_once(spec.rollout.batch_size, max(group_size, 1)), prompts)
    rows, layer = count * group_size, PRODUCT[device] * 2 * student.keys
    draw = rows * student.vocab * 3 * FLOAT  # the model's logits, divided by the temperature, exponentiated
    if group_size == 1:
        return rows * (prompt + answer + CACHE_ROOM) * layer * (student.layers + 1) + draw
    prefill = count * (2 * prompt + CACHE_ROOM) * layer * student.layers
    in_float = FLOAT // PRODUCT[device]  # layers' worth of one layer's copy
    shared = count * prompt * layer * (student.layers + (in_float if device == "gpu" else 0))
    return max(prefill, shared + rows * (answer + CACHE_ROOM) * layer * (student.layers + in_float) + draw)


def _has_reference(spec: JobSpec) -> bool:
    """Whether the KL penalty needs a model of its own; with LoRA the base without adapters is the reference."""
    return spec.grpo.kl_coef > 0 and not spec.lora


def _weights(spec: JobSpec, student: ModelShape, device: Device) -> int:
    """Bytes of the student's weights, and of its adapters, which are in float32 as all trained weights are."""
    if spec.lora is None:
        return FLOAT * student.parameters
    return frozen(student, device) + FLOAT * student.adapters(spec.lora)


def frozen(student: ModelShape, device: Device) -> int:
    """Bytes of a frozen student (`uniapl.model.frozen`): linear layers in the type of products, the rest in float32."""
    linear = _linear(student)
    return PRODUCT[device] * linear + FLOAT * (student.parameters - linear)


def _loading(spec: JobSpec, student: ModelShape, resident: Parts, device: Device) -> Parts:
    """The weights while they are loaded.

    A GGUF file is dequantised, then copied into a new model; float32 is memory-mapped, other types are converted. All
    this happens in the machine's memory. A GPU gets finished weights in float32, and converts the frozen ones.
    """
    if device == "gpu" and spec.lora:
        return {"weights": FLOAT * (student.parameters + student.adapters(spec.lora))}
    if device == "gpu":
        return {"reference": FLOAT * student.parameters if _has_reference(spec) else 0}
    if student.gguf:
        beside = 2 * FLOAT * student.parameters
    else:
        beside = student.stored_bytes if student.stored_bytes < FLOAT * student.parameters else 0
    return {"weights": resident["weights"] + beside}


def _linear(student: ModelShape) -> int:
    """Number of weights of the layers that adapters are merged into at a checkpoint."""
    return student.parameters - student.vocab * student.hidden
