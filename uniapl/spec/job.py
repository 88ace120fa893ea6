"""The job spec: request body, JSON column, trainer's input and SDK argument in one type.

The five fields that name the method (student, teacher, dataset_mix, alpha, lambda_adv) stand at the top level; the
rest has defaults. Modes are not a switch: SFT is `alpha=1, lambda_adv=0`, GRPO is `alpha=0, lambda_adv=0`, their
adversarial forms have `lambda_adv > 0`, and UniAPL is what lies between. Both weights may change over the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator

from uniapl.spec.backend import InProcess, ManagedVllm, ServerRole, VllmSampler
from uniapl.spec.base import Input, Name, Text
from uniapl.spec.discriminator import Discriminator, EmbeddingDiscriminator
from uniapl.spec.health import Health
from uniapl.spec.objective import Adversarial, Grpo, Sft
from uniapl.spec.reward import RewardOptions
from uniapl.spec.teacher import DatasetTeacher, Teacher
from uniapl.spec.training import (
    DataOptions,
    Evaluation,
    Lora,
    Optimizer,
    Resources,
    Rollout,
    Schedule,
    usual_learning_rate,
    without_default,
)
from uniapl.spec.trl_names import with_fields_named
from uniapl.spec.weights import Alpha, Stage, Weight, Weights, bounds, format_weight, value_at

SPEC_VERSION = 3
"""Grows with every change that an older worker could not run."""

Role = Literal["sft", "rl", "both"]


def _either(roles: set[Role]) -> str:
    return " or ".join(repr(role) for role in sorted(roles, reverse=True))


class Contradictions(ValueError):
    """Fields that are right by themselves do not fit together."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__(messages[0])
        self.messages = messages
        """Each begins with the field: `grpo.group_size: a group of one …`."""


class MixEntry(Input):
    """One dataset of the mix."""

    dataset: Name
    """Id of an uploaded dataset (`ds_…`); for `python -m uniapl`, a path to a JSONL file does too."""
    role: Role = "both"
    """`sft` rows are imitated and need a reference; `rl` rows are explored and need a reward; `both` do both."""
    weight: float = Field(default=1.0, gt=0)
    """Share of each step's prompts, relative to the other entries."""


class JobSpec(Input):
    """A training job: `L = alpha·L_SFT + (1 - alpha)·L_GRPO + lambda_adv·L_ADV` (arXiv:2509.25148)."""

    student: Name
    """Model to train: a name from `GET /models`, or a hub id such as `Qwen/Qwen3-0.6B`."""
    teacher: Teacher = DatasetTeacher()
    """Where the reference answers come from."""
    dataset_mix: Annotated[list[MixEntry], Field(min_length=1, max_length=64)]
    """Datasets with their roles and weights."""
    alpha: Alpha = 0.1
    """Weight of imitation, 0 to 1; exploration gets `1 - alpha`. A number, or a schedule over steps."""
    lambda_adv: Weight = 1e-3
    """Weight of the adversarial term; the published search range is 1e-4 to 1e-2. A number, or a schedule."""
    sft: Sft = Sft()
    """Imitation."""
    grpo: Grpo = Grpo()
    """Exploration."""
    adversarial: Adversarial = Adversarial()
    """The adversarial coefficient."""
    discriminator: Discriminator = EmbeddingDiscriminator()
    """The model that compares a rollout with the teacher's answer."""
    reward: RewardOptions = RewardOptions()
    """Verifiable reward."""
    rollout: Rollout = Rollout()
    """Sampling."""
    data: DataOptions = DataOptions()
    """Length limits, chat template, which references count."""
    lora: Lora | None = None
    """Train adapters only; by default all weights are trained."""
    optimizer: Optimizer = Field(default=Optimizer(), json_schema_extra=without_default)
    """The update."""
    schedule: Schedule = Schedule()
    """Steps and intervals."""
    evaluation: Evaluation | None = None
    """Held-out evaluation; none by default."""
    resources: Resources = Resources()
    """Memory bounds."""
    health: Health = Health()
    """What counts as a failing run, and whether to stop it."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Decides the order of rows and every sampled token."""
    name: Annotated[Text, Field(max_length=100)] | None = None
    """Free title."""
    tags: Annotated[dict[Text, Annotated[Text, Field(max_length=512)]], Field(max_length=16)] = {}
    """Free labels."""

    @property
    def stages(self) -> list[Stage]:
        """The stages; one for a run without any."""
        whole = Stage(steps=self.schedule.steps, alpha=self.alpha, lambda_adv=self.lambda_adv)
        return self.schedule.stages or [whole]

    def weights_at(self, step: int) -> Weights:
        """alpha and lambda_adv at `step`, 0 for the first policy update."""
        stages = self.stages
        for stage in stages[:-1]:
            if step < stage.steps:
                break
            step -= stage.steps
        else:
            stage = stages[-1]
        return Weights(value_at(stage.alpha, step), value_at(stage.lambda_adv, step))

    @property
    def uses_sft(self) -> bool:
        """Whether the imitation term ever has any weight."""
        return any(bounds(stage.alpha)[1] > 0 for stage in self.stages)

    @property
    def uses_grpo(self) -> bool:
        """Whether the exploration term ever has any weight."""
        return any(bounds(stage.alpha)[0] < 1 for stage in self.stages)

    @property
    def uses_adv(self) -> bool:
        """Whether the adversarial term ever has any weight."""
        return any(bounds(stage.lambda_adv)[1] > 0 for stage in self.stages)

    @property
    def uses_rollouts(self) -> bool:
        """Whether the policy has to be sampled."""
        return self.uses_grpo or self.uses_adv

    @property
    def uses_discriminator(self) -> bool:
        """Whether anything is scored against the teacher's answers: rollouts, or held-out answers only."""
        scored = self.evaluation is not None and self.evaluation.score
        return self.uses_adv or self.reward.discriminator_weight > 0 or scored

    @property
    def loads_discriminator(self) -> bool:
        """Whether a discriminator lies in the trainer's own memory, rather than on a server."""
        judge = self.discriminator
        return self.uses_discriminator and (judge.type == "learned" or isinstance(judge.backend, InProcess))

    @property
    def servers(self) -> dict[ServerRole, ManagedVllm]:
        """The servers that the worker starts beside the trainer."""
        found: dict[ServerRole, ManagedVllm] = {}
        judge, sampler = self.discriminator, self.rollout.backend
        if self.uses_discriminator and judge.type != "learned" and isinstance(judge.backend, ManagedVllm):
            found["discriminator"] = judge.backend
        if isinstance(sampler, VllmSampler):
            found["rollout"] = sampler
        return found

    def compared_roles(self) -> set[Role]:
        """Roles of the rows whose rollouts L_ADV compares."""
        return {"both", "rl", "sft"} if self.adversarial.rows == "both" else {"both", self.adversarial.rows}

    @model_validator(mode="wrap")
    @classmethod
    def _names_of_trl_have_ours(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(given)
        except ValidationError as error:
            raise with_fields_named(error) from None

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        contradictions = list(self._weights_are_in_range()) or [
            *self._every_term_has_rows_and_every_entry_a_term(),
            *self._options_fit_the_weights(),
            *self._a_group_of_one_has_company(),
            *self._a_group_fits_into_a_sampling_batch(),
            *self._a_server_takes_the_longest_answer(),
            *self._every_entry_gets_a_row_each_step(),
        ]
        if contradictions:
            raise Contradictions(contradictions)
        return self

    @model_validator(mode="after")
    def _learning_rate_follows_the_mode(self) -> Self:
        if "learning_rate" not in self.optimizer.model_fields_set:
            rate = usual_learning_rate(sampled=self.uses_rollouts, lora=self.lora is not None)
            optimizer = self.optimizer.model_copy()  # the default is every spec's
            object.__setattr__(optimizer, "learning_rate", rate)  # and still counts as not given
            object.__setattr__(self, "optimizer", optimizer)
        return self

    def _weights_are_in_range(self) -> Iterator[str]:
        for i, stage in enumerate(self.schedule.stages):
            if bounds(stage.alpha)[1] > 1:
                yield f"schedule.stages.{i}.alpha: {format_weight(stage.alpha)} is more than 1"
        for name in ("alpha", "lambda_adv") if self.schedule.stages else ():
            first = getattr(self.schedule.stages[0], name)
            if name in self.model_fields_set and getattr(self, name) != first:
                yield f"{name}: with schedule.stages each stage has its own; leave this one out"
            object.__setattr__(self, name, first)  # frozen: nobody has seen the default yet
        if bounds(self.alpha)[1] > 1:
            yield f"alpha: {format_weight(self.alpha)} is more than 1"

    def _every_term_has_rows_and_every_entry_a_term(self) -> Iterator[str]:
        served: set[Role] = set()
        terms: list[tuple[bool, str, set[Role]]] = [
            (self.uses_sft, "imitates references", {"sft", "both"}),
            (self.uses_grpo, "samples the student", {"rl", "both"}),
            (self.uses_adv, "compares rollouts", self.compared_roles()),
        ]
        for used, term, roles in terms:
            if not used:
                continue
            served |= roles
            if not roles & {entry.role for entry in self.dataset_mix}:
                yield (
                    f"dataset_mix: {self._format_weights()} {term}, but no entry has role "
                    f"{_either(roles)}; add one, or change the weights"
                )
        for i, entry in enumerate(self.dataset_mix):
            if entry.role not in served:
                yield (
                    f"dataset_mix.{i}.role: with {self._format_weights()} no term uses rows of role {entry.role!r}; "
                    f"use {_either(served)}, or change the weights"
                )

    def _format_weights(self) -> str:
        return ", then ".join(
            f"alpha={format_weight(s.alpha)}, lambda_adv={format_weight(s.lambda_adv)}" for s in self.stages
        )

    def _options_fit_the_weights(self) -> Iterator[str]:
        grpo, adversarial = self.grpo, self.adversarial
        if grpo.group_size == 1 and self.uses_grpo:
            yield "grpo.group_size: a group of one has no siblings to be better than; take at least 2"
        if grpo.group_size == 1 and self.uses_adv and adversarial.coef == "group_whiten":
            yield ("adversarial.coef: 'group_whiten' has no spread to divide by in a group of one; take 'loo'")
        for field, given in (
            ("grpo.kl_coef", grpo.kl_coef),
            ("reward.discriminator_weight", self.reward.discriminator_weight),
        ):
            if given > 0 and not self.uses_grpo:
                yield f"{field}: is part of L_GRPO, which has no weight with alpha=1; set it to 0"
        learned = self.discriminator if self.discriminator.type == "learned" else None
        if learned and self.uses_discriminator and learned.warmup_steps >= self._steps_compared():
            yield (
                f"discriminator.warmup_steps: {learned.warmup_steps} updates leave none of the "
                f"{self._steps_compared()} steps in which rollouts are compared; lower it, or choose another type"
            )
        if self.sft.token_weight == "phi" and not self.uses_sft:
            yield "sft.token_weight: with alpha=0 nothing is imitated; leave it at 'none'"

    def _steps_compared(self) -> int:
        """Steps in which a discriminator scores rollouts."""
        in_reward = self.reward.discriminator_weight > 0
        return sum(s.steps for s in self.stages if in_reward or bounds(s.lambda_adv)[1] > 0)

    def _a_group_of_one_has_company(self) -> Iterator[str]:
        adversarial = self.adversarial
        if not (self.uses_adv and self.grpo.group_size == 1 and adversarial.single_baseline == "batch_loo"):
            return
        total = sum(entry.weight for entry in self.dataset_mix)
        share = sum(entry.weight for entry in self.dataset_mix if entry.role in self.compared_roles()) / total
        if adversarial.coef in ("loo", "bt_margin") and share * self.schedule.prompts_per_step < 2 - 1e-9:
            yield (
                "adversarial.single_baseline: 'batch_loo' compares a rollout with the step's others, and with "
                f"grpo.group_size=1 and schedule.prompts_per_step={self.schedule.prompts_per_step} there is none; take "
                "'ema', or more prompts"
            )

    def _a_group_fits_into_a_sampling_batch(self) -> Iterator[str]:
        if self.evaluation and self.rollout.batch_size < self.evaluation.profile_completions:
            yield (
                f"evaluation.profile_completions: {self.evaluation.profile_completions} answers to a prompt are "
                f"sampled together, and rollout.batch_size is {self.rollout.batch_size}; lower one or raise the other"
            )
        if self.uses_rollouts and self.rollout.batch_size < self.grpo.group_size:
            yield (
                f"rollout.batch_size: {self.rollout.batch_size} is less than grpo.group_size={self.grpo.group_size}; "
                "a group is sampled together"
            )

    def _a_server_takes_the_longest_answer(self) -> Iterator[str]:
        sampler = self.servers.get("rollout")
        longest = self.data.max_prompt_tokens + self.rollout.max_new_tokens
        if sampler and sampler.max_model_tokens and sampler.max_model_tokens < longest:
            yield (
                f"rollout.backend.max_model_tokens: {sampler.max_model_tokens} is less than the {longest} of "
                "data.max_prompt_tokens and rollout.max_new_tokens together; raise it, or lower one of them"
            )

    def _every_entry_gets_a_row_each_step(self) -> Iterator[str]:
        total = sum(entry.weight for entry in self.dataset_mix)
        for i, entry in enumerate(self.dataset_mix):
            share = entry.weight / total * self.schedule.prompts_per_step
            if share < 1 - 1e-9:
                yield (
                    f"dataset_mix.{i}.weight: {entry.weight:g} of {total:g} gives this entry {share:.2g} rows of the "
                    f"{self.schedule.prompts_per_step} per step; raise it, or schedule.prompts_per_step, until it is "
                    "at least 1, so that every term is alive in every step"
                )
