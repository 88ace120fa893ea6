"""How a run samples, reads its data, updates, is scheduled and evaluated."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from uniapl.spec.backend import InProcess, SamplerBackend
from uniapl.spec.base import Count, Input, Name, Text
from uniapl.spec.weights import Stage


class Rollout(Input):
    """Sampling from the policy."""

    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits; the training log-probabilities are divided by it too."""
    max_new_tokens: Count = 2048
    """A completion that has not ended by then is truncated, and counted as such."""
    batch_size: Count = 64
    """Sequences sampled at once; bounds the memory of the key-value cache. A server looks after its own."""
    backend: SamplerBackend = InProcess()
    """Where the policy is sampled. A server gets the policy's weights before it is asked after an update."""
    sync_s: float = Field(default=300.0, gt=0)
    """A server that has not taken new weights within so many seconds is hung: the attempt fails, and server and trainer
    are both started again."""
    max_ratio: float = Field(default=2.0, gt=1)
    """Greatest importance weight of a sampled token, its probability under the policy over that under the sampler. The
    two are one in the trainer's process; a server computes in its own precision."""


class DataOptions(Input):
    """Which rows are usable. Longer ones are left out, counted, and named in an event."""

    max_prompt_tokens: Count = 1024
    """Longest prompt, chat template included."""
    max_reference_tokens: Count = 2048
    """Longest teacher's answer."""
    chat_template: Annotated[Text, Field(min_length=1, max_length=20_000)] | None = None
    """Jinja template for a student whose tokenizer has none, or `plain`: the turns' contents, each followed by a blank
    line. It is saved with the checkpoint. By default the student's own, which must then exist."""
    filter_teacher: bool = False
    """Drop a reference that does not pass its own row's reward in full: it is then neither imitated nor compared with.
    Off by default: the published method takes the teacher as it is."""


class Lora(Input):
    """Train low-rank adapters beside frozen weights (arXiv:2106.09685) instead of all weights."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank of each adapter."""
    alpha: float = Field(default=32.0, gt=0)
    """The adapter's output is multiplied by `alpha / rank`."""
    target_modules: Annotated[list[Text], Field(min_length=1)] | Literal["all-linear"] = "all-linear"
    """Names of the linear layers that get an adapter; by default all but the output head."""


def usual_learning_rate(*, sampled: bool, lora: bool) -> float:
    """The learning rate of a job that names none.

    TRL's defaults: 2e-5 for SFT, 1e-6 for GRPO. Adapters begin at zero and take about ten times as much.

    Args:
        sampled: whether any term samples the policy, in whichever part of the run.
        lora: whether adapters are trained instead of all weights.
    """
    if sampled:
        return 1e-5 if lora else 1e-6
    return 2e-4 if lora else 2e-5


def without_default(schema: dict[str, Any]) -> None:
    """Remove from a field's JSON schema the default that depends on other fields."""
    del schema["default"]


class Optimizer(Input):
    """AdamW (arXiv:1711.05101)."""

    learning_rate: float = Field(
        default=usual_learning_rate(sampled=True, lora=False), gt=0, json_schema_extra=without_default
    )
    """Peak learning rate, constant after the warm-up. By default 2e-5 for a job that imitates only (`alpha` 1 and
    `lambda_adv` 0 in every stage), and 1e-6 as soon as any stage samples the policy; with `lora` ten times as much,
    2e-4 and 1e-5. The job's spec shows the number."""
    warmup_steps: int = Field(default=0, ge=0, le=2**31 - 1)
    """Steps over which the learning rate rises linearly from 0."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the first moment."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """The gradient is scaled down to this Euclidean norm when it is larger."""


class Schedule(Input):
    """How long, and what happens when."""

    steps: Count = 200
    """Policy updates."""
    prompts_per_step: Count = 64
    """Dataset rows per policy update, over the whole mix."""
    checkpoint_every: Count = 50
    """Steps between checkpoints; the last step always has one."""
    keep_checkpoints: int = Field(default=2, ge=2, le=1000)
    """Newest checkpoints kept; older ones are deleted. At least two: one may be young when its worker dies."""
    eval_every: Count = 50
    """Steps between evaluations, when `evaluation` is given; it also runs before the first step and after the last."""
    term_norms_every: Count = 10
    """Steps between measurements of each term's own gradient norm, which cost one more backward per term."""
    stages: Annotated[list[Stage], Field(max_length=16)] = []
    """Parts of the run with weights of their own, one after the other, such as SFT before GRPO. `steps` is then their
    sum, and the job's `alpha` and `lambda_adv` are the first stage's: leave them out. The optimizer goes on."""

    @model_validator(mode="after")
    def _steps_are_the_stages(self) -> Self:
        total = sum(stage.steps for stage in self.stages)
        if not self.stages or self.steps == total:
            return self
        if "steps" in self.model_fields_set:
            raise ValueError(f"steps: is {self.steps}, but the stages have {total} together; leave it out")
        object.__setattr__(self, "steps", total)  # frozen: nobody has seen the default yet
        return self


class Evaluation(Input):
    """Scores on rows never trained on: greedy answers, and the log-probability of the references."""

    dataset: Name
    """Id of the held-out dataset."""
    rows: Count = 64
    """The first so many rows are used."""
    samples: int = Field(default=4, ge=0, le=1000)
    """So many answers are stored as samples each time."""
    profile_completions: int = Field(default=4, ge=0, le=64)
    """Answers sampled per held-out prompt for the behaviour profile: how lengths and token log-probabilities are
    distributed, against the teacher's. 0 for no profile."""
    at_start: bool = True
    """Evaluate before the first step too; runs that begin alike need it once."""
    score: bool = False
    """Score the answers with the discriminator also when no term uses it."""


class Resources(Input):
    """What one process may hold at once. The gradient does not depend on it."""

    micro_batch_tokens: Count = 4096
    """Tokens per forward and backward pass, padding included. A prompt that several completions share counts once; a
    group that is larger is cut, each part with the prompt. A single longer sequence still passes alone."""
    gradient_checkpointing: bool = False
    """Keep the inputs of each decoder block only, and compute the rest again in the backward: about a third more time
    for a fraction of the memory that activations take (arXiv:1604.06174)."""
    compile_blocks: bool = False
    """Compile each decoder block with `torch.compile`: some minutes at the start, for fewer and larger kernels
    afterwards."""
