"""What the API answers about a spec before it is queued: whether it is valid, what it will need, on which machines."""

from __future__ import annotations

from typing import Literal

from uniapl.spec.job import Role
from uniapl.spec.resources import Output
from uniapl.spec.stored import StoredSpec

Verdict = Literal["fits", "tight", "does_not_fit", "unknown"]
Process = Literal["trainer", "discriminator", "rollout"]
"""What takes memory of a GPU: the trainer, and the servers that its worker starts beside it."""
ALL: list[Process | str] = ["trainer", "discriminator", "rollout"]


class SpecProblem(Output):
    """One thing that is wrong with a spec."""

    param: str | None
    """The field at fault, dotted: `dataset_mix.0.role`."""
    code: str
    """Stable identifier, as `POST /jobs` would answer it."""
    message: str
    """What is wrong."""
    hint: str | None
    """What to do about it."""


class Validation(Output):
    """Everything that is wrong with a spec."""

    object: Literal["validation"] = "validation"
    valid: bool
    """Whether `POST /jobs` would take it now."""
    problems: list[SpecProblem]
    """All of them. Fields are checked before what they name, and what they name before how it fits together."""
    warnings: list[str]
    """What is allowed, but may not be meant."""
    spec: StoredSpec | None
    """The spec with every default filled in; `null` where a field is wrong."""


class Bytes(Output):
    """An amount of memory, in bytes."""

    low: int
    """With usual rows and short answers, and allocators at their best; a worker that has less cannot run the job."""
    expected: int
    """The most likely peak of the run."""
    high: int
    """With every row as long as the longest, and allocators at their worst."""


class MemoryEstimate(Output):
    """Memory of the trainer's process and of those that verify answers."""

    device: Literal["cpu", "gpu"] | str
    """Where the models lie."""
    parts: dict[str, Bytes]
    """`weights`, `gradients`, `optimizer`, `activations`, `logits`, `rollouts` (key-value cache and sampling),
    `discriminator`, `reference`, `runtime`: each at its own peak."""
    total: Bytes
    """At the run's peak; less than the sum of the parts, since not all are alive at once."""
    servers: dict[Process | str, Bytes] = {}
    """What servers take of the best worker's GPUs, beyond that total: at least, and what they would be started with."""


class Gpu(Output):
    """An accelerator."""

    name: str
    """As its driver calls it."""
    memory_bytes: int
    """All of its memory."""
    processes: list[Process | str] = ALL
    """Those that may lie there."""


class Hardware(Output):
    """What a worker runs on."""

    cpus: int
    """Processors that it may use."""
    memory_bytes: int
    """Memory that it may use: the machine's, or less by a container's limit."""
    gpus: list[Gpu]
    """The accelerators; each process of a job uses one of them."""
    slots: int
    """Jobs that it runs at once."""


class Worker(Hardware):
    """A worker that has lately been heard of."""

    id: str
    """Random for each process."""
    object: Literal["worker"] = "worker"
    host: str
    """The machine's name."""
    version: str
    """Of its UniAPL."""
    started_at: float
    """When it started."""
    seen_at: float
    """When it was last heard of."""


class RoleEstimate(Output):
    """The rows of one role."""

    role: Role | str
    """What the rows are used for."""
    rows: int
    """In the datasets."""
    prompt_tokens: int
    """Of all prompts, the chat template's allowance included."""
    reference_tokens: int
    """Of all references that some term reads."""
    passes: float
    """How often the job goes through these rows."""
    left_out: float
    """Share of the rows that are beyond the limits of `data`, and not used."""


class TimeEstimate(Output):
    """Duration, from steps that earlier jobs made on these workers, or roughly from what the workers run on."""

    step_s: float | None
    """Of one step; `null` where it is not known."""
    total_s: float | None
    """Of all steps, without evaluations and checkpoints."""
    basis: str
    """What it rests on, or why it is unknown."""
    rough: bool = False
    """Whether no job like it has run on these workers, and the time is computed from the student's size, the tokens and
    a few rates: right to a factor of 3 or so."""


class Estimate(Output):
    """What a job will need."""

    object: Literal["estimate"] = "estimate"
    verdict: Verdict | str
    """Against the best worker alive. `fits`: also at its highest; `tight`: as expected, but not at its highest;
    `does_not_fit`: not even at its lowest, and `POST /jobs` refuses it; `unknown`: see the reasons."""
    reasons: list[str]
    """The verdict in words, and what the numbers leave out."""
    roles: list[RoleEstimate]
    """Rows and tokens by role."""
    tokens_counted_by: Literal["tokenizer", "characters"] | str
    """The student's own tokenizer on a sample of the rows, or four characters a token where it is not at hand."""
    steps: int
    """Policy updates."""
    rollouts_per_step: int
    """Answers sampled in a step."""
    tokens_per_step: int
    """Of all sequences in a step with usual rows and answers."""
    memory: MemoryEstimate | None
    """`null` where the model's size is not known."""
    hardware: list[Hardware]
    """Of the workers that are alive."""
    time: TimeEstimate
    """How long it will take."""
