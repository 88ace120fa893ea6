"""Choice of the trainer's memory and speed options from its device, where a spec leaves them open.

The trainer and the estimate of its memory make the same choice (docs/adr/0015-resources-chosen-from-the-card.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

from uniapl.batching.packing import BLOCK
from uniapl.spec.job import JobSpec

CPU_TOKENS = 4096
"""Tokens per pass on a CPU, and the least that a GPU is given if its memory allows."""


@dataclass(frozen=True)
class ChosenResources:
    """The values of `uniapl.spec.training.Resources` that a run uses."""

    micro_batch_tokens: int
    gradient_checkpointing: bool
    compile_blocks: bool


@dataclass(frozen=True)
class GpuRoom:
    """Memory of a GPU that the trainer may use."""

    memory: float
    """Bytes."""
    shared: bool = False
    """Whether servers use the rest of the same GPU during an update."""


def choose(
    spec: JobSpec,
    room: GpuRoom | None,
    need: Callable[[ChosenResources], float],
    *,
    blocks: bool = True,
    compiler: bool = False,
) -> ChosenResources:
    """The spec's values, and a choice for each that is open.

    On a GPU the first of these that fits: a whole group, the same with gradient checkpointing, then half of it, and so
    on down to the longest single sequence, which is never divided. Beside a server that uses the same GPU the
    activations are always recomputed: the server makes more of the memory.

    Args:
        spec: the job.
        room: memory of the trainer's GPU; `None` on a CPU.
        need: bytes of an update with the given values.
        blocks: whether the student has decoder blocks that can be recomputed and compiled.
        compiler: whether there is a C compiler, which `torch.compile` needs on a GPU.
    """
    given = spec.resources
    compiled = given.compile_blocks
    if compiled is None:
        compiled = room is not None and blocks and compiler
    if room is None:
        return ChosenResources(given.micro_batch_tokens or CPU_TOKENS, bool(given.gradient_checkpointing), compiled)
    candidates = [
        ChosenResources(tokens, recomputed, compiled)
        for tokens in ([given.micro_batch_tokens] if given.micro_batch_tokens else _sizes(spec))
        for recomputed in _recomputed(given.gradient_checkpointing, room, blocks=blocks)
    ]
    return next((each for each in candidates if need(each) <= room.memory), candidates[-1])


def reasons(spec: JobSpec, chosen: ChosenResources, room: GpuRoom | None) -> str:
    """The values and the reason of each, as one line."""
    given = spec.resources
    if room is None:
        why = ("default on a CPU",) * 3
    else:
        whole = chosen.micro_batch_tokens >= group_tokens(spec)
        why = (
            "the longest group" if whole else "the longest part of a group that fits",
            _why_recomputed(chosen, room),
            "a C compiler is installed" if chosen.compile_blocks else "no C compiler, or no decoder blocks identified",
        )
    values = (
        ("micro_batch_tokens", given.micro_batch_tokens, str(chosen.micro_batch_tokens), why[0]),
        ("gradient_checkpointing", given.gradient_checkpointing, _switch(chosen.gradient_checkpointing), why[1]),
        ("compile_blocks", given.compile_blocks, _switch(chosen.compile_blocks), why[2]),
    )
    text = ", ".join(f"{name} {value} ({why if set_ is None else 'spec'})" for name, set_, value, why in values)
    return text if room is None else f"{text}; {room.memory / 1e9:.1f} GB of GPU memory for the trainer"


def group_tokens(spec: JobSpec) -> int:
    """Tokens of the longest group: a prompt, its completions and the teacher's answer; at least `CPU_TOKENS`."""
    completions = spec.grpo.group_size if spec.uses_rollouts else 0
    tokens = spec.data.max_prompt_tokens + (completions + 1) * _longest_answer(spec)
    return max(CPU_TOKENS, BLOCK * ceil(tokens / BLOCK))


def longest_sequence(spec: JobSpec) -> int:
    """Tokens of the longest prompt with the longest answer."""
    return spec.data.max_prompt_tokens + _longest_answer(spec)


def _longest_answer(spec: JobSpec) -> int:
    sampled = spec.rollout.max_new_tokens if spec.uses_rollouts else 0
    return max(spec.data.max_reference_tokens, sampled)


def _sizes(spec: JobSpec) -> Iterator[int]:
    tokens, least = group_tokens(spec), longest_sequence(spec)
    while tokens > least:
        yield tokens
        tokens //= 2
    yield least


def _recomputed(given: bool | None, room: GpuRoom, *, blocks: bool) -> tuple[bool, ...]:
    """Values of `gradient_checkpointing` to try, in their order."""
    if given is not None:
        return (given,)
    if not blocks:
        return (False,)
    return (True,) if room.shared else (False, True)


def _why_recomputed(chosen: ChosenResources, room: GpuRoom) -> str:
    if not chosen.gradient_checkpointing:
        return "the activations fit, or no decoder blocks identified"
    return "a server uses the same GPU" if room.shared else "the activations do not fit without it"


def _switch(value: bool) -> str:
    return "true" if value else "false"
