"""The job spec: one type for request body, JSON column, trainer input and SDK argument.

The five fields that define the method (student, teacher, dataset_mix, alpha, lambda_adv) are at the top level; all
other fields have defaults. The weights select the mode: SFT is `alpha=1, lambda_adv=0`, GRPO is
`alpha=0, lambda_adv=0`, their adversarial forms have `lambda_adv > 0`, and UniAPL has `0 < alpha < 1`. Both weights may
be schedules.
"""

from __future__ import annotations

import datetime
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

SPEC_VERSION = 6
"""Incremented with every change that an older worker cannot run."""

Role = Literal["sft", "rl", "both"]


def _either(roles: set[Role]) -> str:
    return " or ".join(repr(role) for role in sorted(roles, reverse=True))


class Contradictions(ValueError):
    """Valid fields contradict each other."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__(messages[0])
        self.messages = messages
        """Each begins with a field path: `grpo.group_size: …`."""


class MixEntry(Input):
    """One dataset of the mix, with its role and weight."""

    dataset: Name
    """Id of an uploaded dataset (`ds_…`), or the path of a JSONL file for `python -m uniapl train`."""
    role: Role = "both"
    """`sft`: imitation, rows need a reference. `rl`: exploration, rows need a reward. `both`: both."""
    weight: float = Field(default=1.0, gt=0)
    """Sampling weight relative to the other entries."""


class JobSpec(Input):
    """A training job: `L = alpha·L_SFT + (1 - alpha)·L_GRPO + lambda_adv·L_ADV` (arXiv:2509.25148)."""

    student: Name
    """Model to train: name from `GET /models`, or hub id such as `Qwen/Qwen3-0.6B`."""
    teacher: Teacher = DatasetTeacher()
    """Source of reference answers."""
    dataset_mix: Annotated[list[MixEntry], Field(min_length=1, max_length=64)]
    """Datasets with their roles and weights."""
    alpha: Alpha = 0.1
    """Weight of L_SFT, 0 to 1; L_GRPO has `1 - alpha`. A number, or a schedule over steps."""
    lambda_adv: Weight = 1e-3
    """Weight of L_ADV; the published search range is 1e-4 to 1e-2. By default `100 * lambda_adv` is the share of the
    term's gradient relative to exploration; see `adversarial.aggregate`. A number, or a schedule over steps."""
    sft: Sft = Sft()
    """Options of L_SFT, imitation."""
    grpo: Grpo = Grpo()
    """Options of L_GRPO, exploration."""
    adversarial: Adversarial = Adversarial()
    """Options of L_ADV, the adversarial term."""
    discriminator: Discriminator = EmbeddingDiscriminator()
    """Model that scores a rollout against the teacher's answer."""
    reward: RewardOptions = RewardOptions()
    """Computation of verifiable rewards."""
    rollout: Rollout = Rollout()
    """Sampling of rollouts."""
    data: DataOptions = DataOptions()
    """Length limits, chat template and filters of rows."""
    lora: Lora | None = None
    """LoRA adapters; by default all weights are trained."""
    optimizer: Optimizer = Field(default=Optimizer(), json_schema_extra=without_default)
    """AdamW and the learning rate."""
    schedule: Schedule = Schedule()
    """Number of steps, intervals and stages."""
    evaluation: Evaluation | None = None
    """Evaluation on held-out rows; none by default."""
    resources: Resources = Resources()
    """Memory and speed options of the trainer."""
    health: Health = Health()
    """Detectors of failing runs, and which of them stop the job."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the row order and of sampling."""
    name: Annotated[Text, Field(max_length=100)] | None = None
    """Title of the job."""
    tags: Annotated[dict[Text, Annotated[Text, Field(max_length=512)]], Field(max_length=16)] = {}
    """Free labels."""

    @property
    def stages(self) -> list[Stage]:
        """The stages; a single one for a spec without `schedule.stages`."""
        whole = Stage(steps=self.schedule.steps, alpha=self.alpha, lambda_adv=self.lambda_adv)
        return self.schedule.stages or [whole]

    def weights_at(self, step: int) -> Weights:
        """alpha and lambda_adv at `step`, counted from 0."""
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
        """Whether L_SFT has a non-zero weight at any step."""
        return any(bounds(stage.alpha)[1] > 0 for stage in self.stages)

    @property
    def uses_grpo(self) -> bool:
        """Whether L_GRPO has a non-zero weight at any step."""
        return any(bounds(stage.alpha)[0] < 1 for stage in self.stages)

    @property
    def uses_adv(self) -> bool:
        """Whether L_ADV has a non-zero weight at any step."""
        return any(bounds(stage.lambda_adv)[1] > 0 for stage in self.stages)

    @property
    def uses_rollouts(self) -> bool:
        """Whether any term samples the policy."""
        return self.uses_grpo or self.uses_adv

    @property
    def samples(self) -> bool:
        """Whether the policy is sampled, by a term or in evaluations."""
        return self.uses_rollouts or self.evaluation is not None

    @property
    def uses_discriminator(self) -> bool:
        """Whether rollouts or held-out answers are scored by the discriminator."""
        scored = self.evaluation is not None and self.evaluation.score
        return self.uses_adv or self.reward.discriminator_weight > 0 or scored

    @property
    def loads_discriminator(self) -> bool:
        """Whether the trainer loads the discriminator in its own process."""
        judge = self.discriminator
        return self.uses_discriminator and (judge.type == "learned" or isinstance(judge.backend, InProcess))

    @property
    def servers(self) -> dict[ServerRole, ManagedVllm]:
        """Servers that the worker starts for the job."""
        found: dict[ServerRole, ManagedVllm] = {}
        judge, sampler = self.discriminator, self.rollout.backend
        if self.uses_discriminator and judge.type != "learned" and isinstance(judge.backend, ManagedVllm):
            found["discriminator"] = judge.backend
        if self.samples and isinstance(sampler, VllmSampler):
            found["rollout"] = sampler
        return found

    def with_backend(self, *, vllm: bool) -> JobSpec:
        """This spec with a sampler: the one it names, else a vLLM server or the trainer's process."""
        if self.rollout.backend is not None:
            return self
        rollout = self.rollout.model_copy(update={"backend": VllmSampler() if vllm else InProcess()})
        return self.model_copy(update={"rollout": rollout})

    def with_date(self, day: datetime.date) -> JobSpec:
        """This spec with a date for chat templates: the one it names, else `day`."""
        if self.data.date is not None:
            return self
        return self.model_copy(update={"data": self.data.model_copy(update={"date": day})})

    def compared_roles(self) -> set[Role]:
        """Roles of the rows whose rollouts L_ADV scores."""
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
            *self._the_penalty_fits_the_limit(),
            *self._every_entry_gets_a_row_each_step(),
        ]
        if contradictions:
            raise Contradictions(contradictions)
        return self

    @model_validator(mode="after")
    def _learning_rate_follows_the_mode(self) -> Self:
        if "learning_rate" not in self.optimizer.model_fields_set:
            rate = usual_learning_rate(sampled=self.uses_rollouts, lora=self.lora is not None)
            optimizer = self.optimizer.model_copy()  # the default instance is shared by all specs
            object.__setattr__(optimizer, "learning_rate", rate)  # still counts as unset
            object.__setattr__(self, "optimizer", optimizer)
        return self

    def _weights_are_in_range(self) -> Iterator[str]:
        for i, stage in enumerate(self.schedule.stages):
            if bounds(stage.alpha)[1] > 1:
                yield f"schedule.stages.{i}.alpha: {format_weight(stage.alpha)} exceeds 1; use values from 0 to 1"
        for name in ("alpha", "lambda_adv") if self.schedule.stages else ():
            first = getattr(self.schedule.stages[0], name)
            if name in self.model_fields_set and getattr(self, name) != first:
                yield f"{name}: differs from the first stage of schedule.stages; omit it"
            object.__setattr__(self, name, first)  # frozen; during validation the default is not visible yet
        if bounds(self.alpha)[1] > 1:
            yield f"alpha: {format_weight(self.alpha)} exceeds 1; use values from 0 to 1"

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
                    f"dataset_mix.{i}.role: no term uses rows of role {entry.role!r} with {self._format_weights()}; "
                    f"use {_either(served)}, or change the weights"
                )

    def _format_weights(self) -> str:
        return ", then ".join(
            f"alpha={format_weight(s.alpha)}, lambda_adv={format_weight(s.lambda_adv)}" for s in self.stages
        )

    def _options_fit_the_weights(self) -> Iterator[str]:
        grpo, adversarial = self.grpo, self.adversarial
        if grpo.group_size == 1 and self.uses_grpo:
            yield "grpo.group_size: GRPO needs at least 2 completions per prompt; set grpo.group_size to 2 or more"
        if grpo.group_size == 1 and self.uses_adv and adversarial.coef == "group_whiten":
            yield (
                "adversarial.coef: 'group_whiten' needs at least 2 completions per prompt; use 'loo', or raise "
                "grpo.group_size"
            )
        for field, given in (
            ("grpo.kl_coef", grpo.kl_coef),
            ("reward.discriminator_weight", self.reward.discriminator_weight),
        ):
            if given > 0 and not self.uses_grpo:
                yield f"{field}: {given:g} has no effect, because L_GRPO has no weight with alpha=1; set it to 0"
        learned = self.discriminator if self.discriminator.type == "learned" else None
        if learned and self.uses_discriminator and learned.warmup_steps >= self._steps_compared():
            yield (
                f"discriminator.warmup_steps: {learned.warmup_steps} is not less than {self._steps_compared()}, the "
                "number of steps in which rollouts are scored; lower it, or use another discriminator.type"
            )
        if adversarial.constraint is not None and self.discriminator.type == "learned":
            yield (
                "adversarial.constraint: the scores of a 'learned' discriminator move with its own updates, so no "
                "target keeps its meaning; remove it, or use another discriminator.type"
            )
        if self.sft.token_weight == "phi" and not self.uses_sft:
            yield "sft.token_weight: 'phi' has no effect, because L_SFT has no weight with alpha=0; set it to 'none'"

    def _steps_compared(self) -> int:
        """Number of steps in which the discriminator scores rollouts."""
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
                "adversarial.single_baseline: 'batch_loo' needs at least 2 scored rollouts per step, and "
                f"grpo.group_size=1 with schedule.prompts_per_step={self.schedule.prompts_per_step} gives fewer; use "
                "'ema', or raise schedule.prompts_per_step"
            )

    def _a_group_fits_into_a_sampling_batch(self) -> Iterator[str]:
        if self.evaluation and self.rollout.batch_size < self.evaluation.profile_completions:
            yield (
                f"evaluation.profile_completions: {self.evaluation.profile_completions} exceeds "
                f"rollout.batch_size={self.rollout.batch_size}, and the completions of a prompt are sampled in one "
                "batch; lower it, or raise rollout.batch_size"
            )
        if self.uses_rollouts and self.rollout.batch_size < self.grpo.group_size:
            yield (
                f"rollout.batch_size: {self.rollout.batch_size} is less than grpo.group_size={self.grpo.group_size}, "
                "and a group is sampled in one batch; raise it, or lower grpo.group_size"
            )

    def _a_server_takes_the_longest_answer(self) -> Iterator[str]:
        sampler = self.servers.get("rollout")
        longest = self.data.max_prompt_tokens + self.rollout.max_new_tokens
        if sampler and sampler.max_model_tokens and sampler.max_model_tokens < longest:
            yield (
                f"rollout.backend.max_model_tokens: {sampler.max_model_tokens} is less than {longest}, the sum of "
                "data.max_prompt_tokens and rollout.max_new_tokens; raise it, or lower one of them"
            )

    def _the_penalty_fits_the_limit(self) -> Iterator[str]:
        tokens, limit = self.reward.overlong_tokens, self.rollout.max_new_tokens
        if tokens > limit:
            yield (
                f"reward.overlong_tokens: {tokens} exceeds rollout.max_new_tokens={limit}, the limit before which the "
                "penalty grows; lower it, or raise rollout.max_new_tokens"
            )

    def _every_entry_gets_a_row_each_step(self) -> Iterator[str]:
        total = sum(entry.weight for entry in self.dataset_mix)
        for i, entry in enumerate(self.dataset_mix):
            share = entry.weight / total * self.schedule.prompts_per_step
            if share < 1 - 1e-9:
                yield (
                    f"dataset_mix.{i}.weight: {entry.weight:g} of {total:g} gives {share:.2g} of the "
                    f"{self.schedule.prompts_per_step} prompts per step, and every entry needs at least 1; raise it, "
                    "or schedule.prompts_per_step"
                )
