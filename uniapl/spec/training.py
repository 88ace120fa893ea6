"""Options of sampling, data, optimizer, schedule, evaluation and resources."""

from __future__ import annotations

import datetime
import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from uniapl.spec.backend import SamplerBackend
from uniapl.spec.base import Count, Input, Name, Text
from uniapl.spec.weights import Stage


class Rollout(Input):
    """Sampling from the policy."""

    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature; the log-probabilities used in training are computed at the same temperature."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling: sample from the likeliest tokens whose probabilities add up to `top_p`. With `top_p`, `top_k`
    or `min_p`, the log-probabilities used in training remain those of the whole distribution at `temperature`, as in
    TRL and verl; a vLLM server returns these at temperature 1 only."""
    top_k: int = Field(default=0, ge=0, le=2**31 - 1)
    """Sample from the `top_k` likeliest tokens; 0: from all."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Sample from tokens of at least `min_p` times the probability of the likeliest token; 0: from all."""
    stop: Annotated[list[Annotated[Text, Field(min_length=1, max_length=200)]], Field(max_length=16)] = []
    """Strings that end a completion, in addition to the end tokens; special tokens have no text. The tokens up to the
    end of the string are trained; rewards, discriminator and samples see the text before it."""
    max_new_tokens: Count = 2048
    """Maximum completion length in tokens; longer completions are truncated and counted."""
    batch_size: Count = 64
    """Sequences sampled together; bounds the memory of the KV cache. Ignored by a server."""
    backend: SamplerBackend | None = None
    """Sampling backend. By default a vLLM server where the worker that claims the job has a GPU and vLLM, else the
    trainer's process; an event names the choice and its reason. A worker that would choose a server refuses
    `transformers`. A server receives the new weights after each policy update, before the next request."""
    sync_s: float = Field(default=300.0, gt=0)
    """Timeout of a weight update on the server, in seconds. When it expires the attempt fails, and server and trainer
    are restarted."""
    max_ratio: float = Field(default=2.0, gt=1)
    """Upper bound of a sampled token's importance weight: its probability under the policy divided by that under the
    sampler. The two differ only with a server, which computes in its own precision."""

    @property
    def truncates(self) -> bool:
        """Whether some tokens are excluded from sampling."""
        return self.top_p < 1 or self.top_k > 0 or self.min_p > 0


class DataOptions(Input):
    """Length limits, chat template and filters of rows. Rows above a limit are skipped, counted and listed in an
    event."""

    max_prompt_tokens: Count = 1024
    """Maximum prompt length in tokens, including the chat template."""
    max_reference_tokens: Count = 2048
    """Maximum length of a reference answer in tokens."""
    chat_template: Annotated[Text, Field(min_length=1, max_length=20_000)] | None = None
    """Jinja chat template for a student without one, or `plain`: the contents of the turns, each followed by a blank
    line. It is saved with the checkpoint. By default the student's own template, which then must exist."""
    thinking: Literal["off", "on", "auto"] = "off"
    """Reasoning mode of the chat template. `off` and `on` set its `enable_thinking`; `auto` leaves it to the template's
    default, which users of the checkpoint get without further arguments. With `off`, the reasoning of a reference is
    removed unless the template opens a reasoning block regardless; with `on` and `auto` it is trained as the template
    renders it."""
    trained_turns: Literal["last_answer", "all_answers"] = "last_answer"
    """What L_SFT imitates: `last_answer` is the `reference`; `all_answers` also the assistant turns of the prompt, tool
    calls included, except those with `weight` 0. Each is trained after the turns before it, as it would be sampled."""
    date: datetime.date | None = None
    """Date for chat templates that contain the current one (`strftime_now`), such as `2026-07-01`. By default the date
    of the job's first attempt, so that a resumed run has the same prompts."""
    filter_teacher: bool = False
    """Drop references whose reward is below 1; they are then used neither for imitation nor for comparison. Off by
    default, as in the published method."""


class Lora(Input):
    """Low-rank adapters on frozen weights (arXiv:2106.09685) instead of full fine-tuning."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank of each adapter."""
    alpha: float = Field(default=32.0, gt=0)
    """Scale: the adapter's output is multiplied by `alpha / rank`."""
    target_modules: Annotated[list[Text], Field(min_length=1)] | Literal["all-linear"] = "all-linear"
    """Names of the linear layers with an adapter; by default all except the output head, and those that no adapter
    fits, such as the routers of Llama 4."""


def usual_learning_rate(*, sampled: bool, lora: bool) -> float:
    """Default learning rate.

    TRL's defaults: 2e-5 for SFT, 1e-6 for GRPO; ten times as much for adapters, which are initialised to zero.

    Args:
        sampled: whether any term samples the policy in any stage.
        lora: whether only adapters are trained.
    """
    if sampled:
        return 1e-5 if lora else 1e-6
    return 2e-4 if lora else 2e-5


def without_default(schema: dict[str, Any]) -> None:
    """Remove the default from a field's JSON schema, because it depends on other fields."""
    del schema["default"]


class Optimizer(Input):
    """AdamW (arXiv:1711.05101)."""

    learning_rate: float = Field(
        default=usual_learning_rate(sampled=True, lora=False), gt=0, json_schema_extra=without_default
    )
    """Peak learning rate. Default: 2e-5 for imitation only (`alpha` 1 and `lambda_adv` 0 in
    every stage), 1e-6 if any stage samples the policy; with `lora` 2e-4 and 1e-5. The job's spec contains the resolved
    value."""
    warmup_steps: int = Field(default=0, ge=0, le=2**31 - 1)
    """Steps of linear warm-up from 0."""
    decay: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate after the warm-up: constant, or down to 0 at the end of `schedule.steps`, in a line or along half a
    cosine."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay rate of the first moment."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay rate of the second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """Term added to the denominator for numerical stability."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Maximum Euclidean norm of the gradient; a larger gradient is scaled down."""
    moments: Literal["float32", "8bit"] = "float32"
    """Type of both moments: `float32`, 8 bytes per trained parameter, or `8bit`, 2 bytes: blocks of 256 values share a
    scale (arXiv:2110.02861), and parameters of fewer than 4096 values stay in float32. `8bit` needs the library
    bitsandbytes where the trainer runs, and its steps are slow on a CPU."""

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate at `step`, counted from 0, of `steps`."""
        if step < self.warmup_steps or self.decay == "constant":
            return self.learning_rate * min(1.0, (step + 1) / (self.warmup_steps + 1))
        done = (step - self.warmup_steps) / (steps - self.warmup_steps)
        left = 1 - done if self.decay == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * left


class Schedule(Input):
    """Length of the run, and intervals of checkpoints and evaluations."""

    steps: Count = 200
    """Number of policy updates."""
    prompts_per_step: Count = 64
    """Prompts per policy update, over all datasets of the mix."""
    checkpoint_every: Count = 50
    """Steps between checkpoints; the last step always saves one."""
    keep_checkpoints: int = Field(default=2, ge=2, le=1000)
    """Number of newest checkpoints to keep; older ones are deleted. At least 2, so that a damaged newest one has a
    predecessor."""
    checkpoint_dtype: Literal["float32", "student"] = "float32"
    """Data type of the model in checkpoints: `float32`, in which it is trained, or that of the student's own files. A
    resumed run is exact with both: optimizer state and adapters are always in float32, and `student` adds a copy of the
    trained weights in float32, without which they would be rounded."""
    eval_every: Count = 50
    """Steps between evaluations, if `evaluation` is set; evaluations also run before the first and after the last
    step."""
    term_norms_every: int = Field(default=10, ge=0, le=2**31 - 1)
    """Steps between measurements of the gradient norm of each term, from the first step on; 0: never. Each costs one
    extra backward pass and one more gradient in memory per term."""
    stages: Annotated[list[Stage], Field(max_length=16)] = []
    """Consecutive parts of the run with their own weights, such as SFT before GRPO. `steps` is then their sum, and the
    job's `alpha` and `lambda_adv` are those of the first stage: omit all three. The optimizer state is kept."""

    def measures_terms(self, step: int) -> bool:
        """Whether the gradient norm of each term is measured at `step`, counted from 0."""
        return self.term_norms_every > 0 and step % self.term_norms_every == 0

    @model_validator(mode="after")
    def _steps_are_the_stages(self) -> Self:
        total = sum(stage.steps for stage in self.stages)
        if not self.stages or self.steps == total:
            return self
        if "steps" in self.model_fields_set:
            raise ValueError(f"steps: {self.steps} differs from {total}, the sum of the stages; omit it")
        object.__setattr__(self, "steps", total)  # frozen; during validation the default is not visible yet
        return self


class Evaluation(Input):
    """Evaluation on held-out rows: greedy answers, and the log-probability of the references."""

    dataset: Name
    """Id of the held-out dataset."""
    rows: Count = 64
    """Number of rows to use, from the start of the dataset."""
    samples: int = Field(default=4, ge=0, le=1000)
    """Number of answers stored as samples per evaluation."""
    profile_completions: int = Field(default=4, ge=0, le=64)
    """Completions per held-out prompt for the behaviour profile: distributions of lengths and token log-probabilities
    compared with the teacher's. 0 disables the profile."""
    at_start: bool = True
    """Whether to evaluate before the first step too."""
    score: bool = False
    """Whether to score the answers with the discriminator even if no loss term uses it."""


class Resources(Input):
    """Memory and speed options of the trainer; the gradient does not depend on them. Without a value, the trainer
    chooses one for its device when it starts, and reports it in an event."""

    micro_batch_tokens: Count | None = None
    """Maximum number of tokens per forward and backward pass, including padding. A prompt shared by several completions
    counts once; a larger group is split, and each part repeats the prompt. A longer single sequence is processed
    alone. By default 4096 on a CPU; on a GPU the longest group that the spec allows, halved until it fits into the
    GPU's memory."""
    gradient_checkpointing: bool | None = None
    """Store only the inputs of each decoder block and recompute the activations in the backward pass: about a third
    more time for a fraction of the activation memory (arXiv:1604.06174). By default `false` on a CPU; on a GPU `true`
    where the activations do not fit otherwise, or where a server uses the same GPU."""
    compile_blocks: bool | None = None
    """Compile each decoder block with `torch.compile`: minutes of compilation at the start, then fewer and larger
    kernels. By default `false` on a CPU; on a GPU `true` if a C compiler is installed."""
