"""The job spec: request body, JSON column, trainer's input and SDK argument in one type.

The five fields that name the method (student, teacher, dataset_mix, alpha, lambda_adv) stand at the top level; the
rest has defaults. Modes are not a switch: SFT is `alpha=1, lambda_adv=0`, GRPO is `alpha=0, lambda_adv=0`, their
adversarial forms have `lambda_adv > 0`, and UniAPL is what lies between.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from uniapl.spec.base import Count, Input, Text

SPEC_VERSION = 1
"""Grows with every change that an older worker could not run."""

Name = Annotated[Text, Field(min_length=1, max_length=200)]
Role = Literal["sft", "rl", "both"]


class MixEntry(Input):
    """One dataset of the mix."""

    dataset: Name
    """Id of an uploaded dataset (`ds_…`); for `python -m uniapl`, a path to a JSONL file does too."""
    role: Role = "both"
    """`sft` rows are imitated and need a reference; `rl` rows are explored and need a reward; `both` do both."""
    weight: float = Field(default=1.0, gt=0)
    """Share of each step's prompts, relative to the other entries."""


class DatasetTeacher(Input):
    """The teacher's answers stand in the rows, as `reference`."""

    type: Literal["dataset"] = "dataset"


class Grpo(Input):
    """Group-relative policy optimisation (arXiv:2402.03300)."""

    loss: Literal["dapo", "grpo", "dr_grpo", "gspo"] = "dapo"
    """How rollouts of different length weigh. `dapo`: all sampled tokens alike (arXiv:2503.14476). `grpo`: all rollouts
    alike, so that a token of a long one counts less. `dr_grpo`: divided by a constant length, `rollout.max_new_tokens`;
    asks for `scale_rewards: false` (arXiv:2503.20783). `gspo`: one ratio per rollout, its tokens' geometric mean;
    wants clips of the order of 3e-4 (arXiv:2507.18071)."""
    group_size: int = Field(default=8, ge=2, le=256)
    """Completions sampled per prompt; their mean reward is the baseline."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """The importance ratio's gain is cut below `1 - clip_low`."""
    clip_high: float = Field(default=0.2, gt=0)
    """The importance ratio's gain is cut above `1 + clip_high`."""
    scale_rewards: bool = True
    """Divide each group's centred rewards by their standard deviation."""

    @model_validator(mode="after")
    def _options_fit_the_loss(self) -> Self:
        if self.loss == "dr_grpo" and self.scale_rewards:
            raise ValueError("scale_rewards: Dr. GRPO goes without it; set it to false, or choose 'grpo'")
        if self.loss == "gspo" and max(self.clip_low, self.clip_high) > 0.05:
            raise ValueError(
                "clip_high: a whole rollout's ratio stays so close to 1 that bounds above 0.05 never act; GSPO's "
                "authors use clip_low 3e-4 and clip_high 4e-4"
            )
        return self


class Adversarial(Input):
    """How a discriminator score becomes the coefficient of a rollout's log-probability (docs/method.md)."""

    coef: Literal["loo", "raw", "group_whiten"] = "loo"
    """From scores d to coefficients. `loo` subtracts the mean of the siblings' scores. `raw` is d itself: the same
    expected gradient at a higher variance, and no lower bound where all scores have one sign. `group_whiten` centres
    and divides by the group's standard deviation, which forgets how far the whole group is from the teacher."""
    surrogate: Literal["ppo_clip", "reinforce"] = "ppo_clip"
    """`ppo_clip` bounds the ratio like GRPO's; `reinforce` is c·log pi. The gradients agree while the ratio is 1."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """For `ppo_clip`: the importance ratio's gain is cut below `1 - clip_low`."""
    clip_high: float = Field(default=0.2, gt=0)
    """For `ppo_clip`: the importance ratio's gain is cut above `1 + clip_high`."""
    aggregate: Literal["seq_sum", "seq_mean", "token_mean", "sum_over_const"] = "seq_sum"
    """Over a rollout's tokens. `seq_sum` makes the term the exact score-function gradient, without a length bias of its
    own; `seq_mean` and `token_mean` divide by the rollout's or by all rollouts' lengths, `sum_over_const` by
    `rollout.max_new_tokens`."""
    score_scale: float | None = Field(default=None, gt=0)
    """Factor on the raw score, so that `lambda_adv` means the same for every discriminator.
    By default the discriminator's own: 1 for logits, 10 for cosines (their measured spread is about a tenth)."""
    coef_clip: float | None = Field(default=10.0, gt=0)
    """Bound on the centred score's absolute value; `null` for none. Score spikes are a known failure."""


class EmbeddingDiscriminator(Input):
    """Cosine similarity between sentence embeddings of the student's answer and of the teacher's."""

    type: Literal["embedding"] = "embedding"
    model: Name = "all-MiniLM-L6-v2"
    """Name of a sentence-embedding model in the registry, a hub id, or a local folder."""
    batch_size: Count = 64
    """Texts embedded at once."""


class RewardOptions(Input):
    """How the verdicts on a completion's constraints become one number."""

    aggregate: Literal["fraction", "strict"] = "fraction"
    """`fraction` of the constraints followed (IF-RLVR), or `strict`: 1 if all are, else 0."""


class Rollout(Input):
    """Sampling from the policy."""

    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits; the training log-probabilities are divided by it too."""
    max_new_tokens: Count = 2048
    """A completion that has not ended by then is truncated, and counted as such."""
    batch_size: Count = 64
    """Sequences sampled at once; bounds the memory of the key-value cache."""


class DataOptions(Input):
    """Which rows are usable. Longer ones are left out, counted, and named in an event."""

    max_prompt_tokens: Count = 1024
    """Longest prompt, chat template included."""
    max_reference_tokens: Count = 2048
    """Longest teacher's answer."""


class Optimizer(Input):
    """AdamW (arXiv:1711.05101)."""

    learning_rate: float = Field(default=1e-6, gt=0)
    """Peak learning rate, constant after the warm-up."""
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
    """Checkpoints kept per attempt; older ones are deleted. At least two: one may be young when its worker dies."""
    eval_every: Count = 50
    """Steps between evaluations, when `evaluation` is given; it also runs before the first step and after the last."""
    term_norms_every: Count = 10
    """Steps between measurements of each term's own gradient norm, which cost one more backward per term."""


class Evaluation(Input):
    """Scores on rows never trained on: greedy answers, and the log-probability of the references."""

    dataset: Name
    """Id of the held-out dataset."""
    rows: Count = 64
    """The first so many rows are used."""
    samples: int = Field(default=4, ge=0, le=1000)
    """So many answers are stored as samples each time."""


class Resources(Input):
    """What one process may hold at once. The gradient does not depend on it."""

    micro_batch_tokens: Count = 4096
    """Padded tokens per forward and backward pass; a single longer sequence still passes alone.
    Logits and their gradients take about 16 bytes per completion token and vocabulary entry."""


class JobSpec(Input):
    """A training job: `L = alpha·L_SFT + (1 - alpha)·L_GRPO + lambda_adv·L_ADV` (arXiv:2509.25148)."""

    student: Name
    """Model to train: a name from `GET /models`, or a hub id such as `Qwen/Qwen3-0.6B`."""
    teacher: DatasetTeacher = DatasetTeacher()
    """Where the reference answers come from."""
    dataset_mix: Annotated[list[MixEntry], Field(min_length=1, max_length=64)]
    """Datasets with their roles and weights."""
    alpha: float = Field(default=0.1, ge=0, le=1)
    """Weight of imitation; exploration gets `1 - alpha`."""
    lambda_adv: float = Field(default=1e-3, ge=0)
    """Weight of the adversarial term; the published search range is 1e-4 to 1e-2."""
    grpo: Grpo = Grpo()
    """Exploration."""
    adversarial: Adversarial = Adversarial()
    """The adversarial coefficient."""
    discriminator: EmbeddingDiscriminator = EmbeddingDiscriminator()
    """The model that compares a rollout with the teacher's answer."""
    reward: RewardOptions = RewardOptions()
    """Verifiable reward."""
    rollout: Rollout = Rollout()
    """Sampling."""
    data: DataOptions = DataOptions()
    """Length limits."""
    optimizer: Optimizer = Optimizer()
    """The update."""
    schedule: Schedule = Schedule()
    """Steps and intervals."""
    evaluation: Evaluation | None = None
    """Held-out evaluation; none by default."""
    resources: Resources = Resources()
    """Memory bounds."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Decides the order of rows and every sampled token."""
    name: Annotated[Text, Field(max_length=100)] | None = None
    """Free title."""
    tags: Annotated[dict[Text, Annotated[Text, Field(max_length=512)]], Field(max_length=16)] = {}
    """Free labels."""

    @property
    def uses_sft(self) -> bool:
        """Whether the imitation term has any weight."""
        return self.alpha > 0

    @property
    def uses_grpo(self) -> bool:
        """Whether the exploration term has any weight."""
        return self.alpha < 1

    @property
    def uses_adv(self) -> bool:
        """Whether the adversarial term has any weight."""
        return self.lambda_adv > 0

    @property
    def uses_rollouts(self) -> bool:
        """Whether the policy has to be sampled."""
        return self.uses_grpo or self.uses_adv

    @model_validator(mode="after")
    def _every_term_has_rows_and_every_entry_a_term(self) -> Self:
        roles = {entry.role for entry in self.dataset_mix}
        if self.uses_sft and not roles & {"sft", "both"}:
            raise ValueError(
                f"dataset_mix: alpha={self.alpha:g} imitates references, but no entry has role 'sft' or 'both'; "
                "add one, or set alpha to 0"
            )
        if self.uses_rollouts and not roles & {"rl", "both"}:
            raise ValueError(
                f"dataset_mix: alpha={self.alpha:g} with lambda_adv={self.lambda_adv:g} samples the student, but no "
                "entry has role 'rl' or 'both'; add one, or set alpha to 1 and lambda_adv to 0"
            )
        for i, entry in enumerate(self.dataset_mix):
            if entry.role == "sft" and not self.uses_sft:
                raise ValueError(
                    f"dataset_mix.{i}.role: with alpha=0 no row is imitated; use role 'rl', or raise alpha"
                )
            if entry.role == "rl" and not self.uses_rollouts:
                raise ValueError(
                    f"dataset_mix.{i}.role: with alpha=1 and lambda_adv=0 nothing is sampled; use role 'sft', "
                    "or lower alpha"
                )
        return self

    @model_validator(mode="after")
    def _a_group_fits_into_a_sampling_batch(self) -> Self:
        if self.uses_rollouts and self.rollout.batch_size < self.grpo.group_size:
            raise ValueError(
                f"rollout.batch_size: {self.rollout.batch_size} is less than grpo.group_size={self.grpo.group_size}; "
                "a group is sampled together"
            )
        return self

    @model_validator(mode="after")
    def _every_entry_gets_a_row_each_step(self) -> Self:
        total = sum(entry.weight for entry in self.dataset_mix)
        for i, entry in enumerate(self.dataset_mix):
            share = entry.weight / total * self.schedule.prompts_per_step
            if share < 1 - 1e-9:
                raise ValueError(
                    f"dataset_mix.{i}.weight: {entry.weight:g} of {total:g} gives this entry {share:.2g} rows of the "
                    f"{self.schedule.prompts_per_step} per step; raise it, or schedule.prompts_per_step, until it is "
                    "at least 1, so that every term is alive in every step"
                )
        return self
