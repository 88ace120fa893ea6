"""Response models of validation and estimation: problems of a spec, resource needs, workers."""

from __future__ import annotations

from typing import Literal

from uniapl.spec.job import Role
from uniapl.spec.resources import Output
from uniapl.spec.stored import StoredSpec

Verdict = Literal["fits", "tight", "does_not_fit", "unknown"]
Process = Literal["trainer", "discriminator", "rollout"]
"""A process of a job that uses GPU memory: the trainer, or a server that the worker starts."""
ALL: list[Process | str] = ["trainer", "discriminator", "rollout"]


class SpecProblem(Output):
    """One problem of a spec."""

    param: str | None
    """Path of the field at fault, such as `dataset_mix.0.role`."""
    code: str
    """Error code that `POST /jobs` would return."""
    message: str
    """Description of the problem."""
    hint: str | None
    """Suggested fix."""


class RenderedRow(Output):
    """A row as it will be trained: the rendering of the student's chat template, and its tokens."""

    row: str
    """Id of the row."""
    prompt: str
    """Text of the prompt, which is not trained."""
    trained: str | None
    """Text that is trained: the reference up to and including the end of turn; `null` without a reference."""
    prompt_tokens: list[str]
    """Tokens of the prompt."""
    trained_tokens: list[str]
    """Tokens that are trained."""
    earlier: list[str] = []
    """Texts of the prompt's assistant turns that are trained too (`data.trained_turns: all_answers`)."""


class AdversarialShare(Output):
    """Expected weight of the adversarial term."""

    share: float
    """Norm of the gradient of lambda_adv · L_ADV relative to that of (1 - alpha) · L_GRPO; with alpha 1, to that which
    L_GRPO would have with weight 1."""
    tokens: float
    """Tokens per completion for which it holds."""
    basis: str
    """The share in words, with the assumptions."""


class Validation(Output):
    """All problems of a spec."""

    object: Literal["validation"] = "validation"
    valid: bool
    """Whether `POST /jobs` would accept the spec now."""
    problems: list[SpecProblem]
    """All problems of the first failing stage: fields, then referenced datasets and models, then their combination."""
    warnings: list[str]
    """Settings that are valid but may be unintended."""
    rendered: RenderedRow | None = None
    """The first row with a reference as it will be trained; `null` with a warning that has the reason, for example
    where the student's tokenizer is not on the API's machine."""
    spec: StoredSpec | None
    """The spec with all defaults; `null` if a field is invalid."""
    adversarial: AdversarialShare | None = None
    """Expected share of L_ADV for completions of `rollout.max_new_tokens`; `null` without the term."""


class Bytes(Output):
    """A memory estimate in bytes."""

    low: int
    """Lower bound: typical rows, short answers, best-case allocation. A worker with less memory cannot run the job."""
    expected: int
    """Expected peak of the run."""
    high: int
    """Upper bound: all rows as long as the longest, worst-case allocation."""


class MemoryEstimate(Output):
    """Memory of the trainer, including the processes that verify answers."""

    device: Literal["cpu", "gpu"] | str
    """Device of the models."""
    parts: dict[str, Bytes]
    """Peak of each part: `weights`, `gradients`, `optimizer`, `activations`, `logits`, `rollouts` (KV cache and
    sampling), `discriminator`, `reference`, `runtime`."""
    total: Bytes
    """Peak of the run; less than the sum of the parts, which do not all peak at the same time."""
    servers: dict[Process | str, Bytes] = {}
    """Memory of servers on the best worker's GPUs, in addition to the total: the minimum, and the reservation at
    start."""


class Gpu(Output):
    """A GPU of a worker."""

    name: str
    """Device name reported by the driver."""
    memory_bytes: int
    """Total memory in bytes."""
    processes: list[Process | str] = ALL
    """Processes that may use this device."""
    uuid: str | None = None
    """`GPU-…`, or `MIG-…` for a slice of a GPU in MIG mode."""
    compute_capability: str | None = None
    """CUDA compute capability, such as `9.0`."""


class Speed(Output):
    """What a worker measured on its machine with a model of random weights, while no job ran."""

    device: Literal["cpu", "gpu"] | str
    """Device of a trainer."""
    parameters: int
    """Parameters of the model."""
    update: float
    """Tokens per second of updates of all weights."""
    sampling: float
    """Tokens per second of sampling in the trainer's process."""
    memory: float | None = None
    """Bytes per second that a GPU's memory reads and writes; `null` on a CPU."""


class Hardware(Output):
    """Hardware of a worker."""

    cpus: int
    """Available processors."""
    memory_bytes: int
    """Available memory in bytes: that of the machine, or the container's limit."""
    gpus: list[Gpu]
    """GPUs; each process of a job uses one."""
    slots: int
    """Maximum number of concurrent jobs."""
    vllm: str | None = None
    """Version of the vLLM that the worker can start; `null` if it has none."""
    bitsandbytes: str | None = None
    """Version of bitsandbytes, which `optimizer.moments: 8bit` needs; `null` if the worker has none."""
    speed: Speed | None = None
    """Speed that the worker measured on its machine; `null` before."""


class Worker(Hardware):
    """A live worker: its last heartbeat is recent."""

    id: str
    """Random id of the worker process."""
    object: Literal["worker"] = "worker"
    host: str
    """Host name."""
    version: str
    """UniAPL version of the worker."""
    started_at: float
    """Start time."""
    seen_at: float
    """Time of the last heartbeat."""


class RoleEstimate(Output):
    """Rows and tokens of one role."""

    role: Role | str
    """Role of the rows."""
    rows: int
    """Number of rows in the datasets."""
    prompt_tokens: int
    """Tokens of all prompts, including an allowance for the chat template."""
    reference_tokens: int
    """Tokens of all references that a loss term uses, and of earlier answers that are trained."""
    passes: float
    """Number of passes over these rows in the job."""
    left_out: float
    """Fraction of the rows that exceed the limits of `data` and are skipped."""


class TimeEstimate(Output):
    """Duration, from earlier jobs on these workers, or a rough estimate from their hardware."""

    step_s: float | None
    """Seconds per step; `null` if unknown."""
    total_s: float | None
    """Seconds of all steps, excluding evaluations and checkpoints."""
    basis: str
    """Basis of the estimate, or the reason for its absence."""
    source: Literal["history", "measured_on_this_box", "arithmetic"] | str | None = None
    """`history`: steps of comparable jobs on these workers. `measured_on_this_box`: the speed that the worker measured
    with another model. `arithmetic`: typical rates of the hardware. `null` if the time is unknown."""
    rough: bool = False
    """Whether no similar job has run on these workers. The time is then computed from model size, tokens and the rates
    that `source` names; typical rates are accurate to about a factor of 3."""


class Estimate(Output):
    """Estimated resource needs of a job."""

    object: Literal["estimate"] = "estimate"
    verdict: Verdict | str
    """Comparison with the best live worker. `fits`: the upper bound fits. `tight`: the expected value fits, the upper
    bound does not. `does_not_fit`: the lower bound does not fit, and `POST /jobs` rejects the spec. `unknown`: see the
    reasons."""
    reasons: list[str]
    """Explanation of the verdict, and what the estimate excludes."""
    roles: list[RoleEstimate]
    """Rows and tokens by role."""
    tokens_counted_by: Literal["tokenizer", "characters"] | str
    """`tokenizer`: the student's tokenizer on a sample of the rows. `characters`: four characters per token, if the
    tokenizer is not available."""
    steps: int
    """Number of policy updates."""
    rollouts_per_step: int
    """Rollouts per step."""
    tokens_per_step: int
    """Tokens of all sequences of a step, for typical rows and answers."""
    memory: MemoryEstimate | None
    """Memory estimate; `null` if the model's size is unknown."""
    hardware: list[Hardware]
    """Hardware of the live workers."""
    time: TimeEstimate
    """Duration estimate."""
    adversarial: AdversarialShare | None = None
    """Expected share of L_ADV; `null` without the term."""
