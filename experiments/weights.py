"""Experiments on the weights of the loss terms; everything else is equal in all arms.

Options of a term are reset in arms without the term, since a spec that sets them is refused.
"""

from __future__ import annotations

from experiments.experiment import Arm, Column, Experiment, changed
from uniapl.errors import SpecError
from uniapl.spec.job import JobSpec
from uniapl.spec.weights import Alpha, Stage, Weight, bounds

REWARD = Column("reward", "eval/reward")
SAMPLED_REWARD = Column("reward, sampled", "eval/reward_sampled")
REFERENCE_LOGPROB = Column("log p(reference)", "eval/reference_logprob")
SCORE = Column("score", "eval/score")
LENGTH_DISTANCE = Column("length distance", "profile/length_distance", digits=1)
LOGPROB_DISTANCE = Column("log p distance", "profile/logprob_distance")
DISTINCT_2 = Column("distinct-2", "eval/distinct_2")
COLUMNS = (REWARD, SAMPLED_REWARD, REFERENCE_LOGPROB, SCORE, LENGTH_DISTANCE, LOGPROB_DISTANCE)


def held_out(spec: JobSpec) -> JobSpec:
    """The spec with scores of held-out answers, also in arms without a term that needs the discriminator.

    Raises:
        SpecError: no rows are held out, or the run has stages, whose weights would override the arm's.
    """
    if spec.evaluation is None:
        raise SpecError("the arms are compared on held-out rows; set evaluation", param="evaluation")
    if spec.schedule.stages:
        raise SpecError("each arm sets its own weights; remove the stages", param="schedule.stages")
    return changed(spec, evaluation=spec.evaluation.model_copy(update={"score": True}))


def with_all_terms(spec: JobSpec) -> JobSpec:
    """`held_out`, for experiments that remove terms.

    Raises:
        SpecError: also if a term has no weight, or arms without it would train on fewer rows than the others.
    """
    if not (spec.uses_sft and spec.uses_grpo and spec.uses_adv):
        raise SpecError(
            "the experiment removes terms, and the spec lacks one of them",
            param="alpha" if spec.uses_adv else "lambda_adv",
            hint="set 0 < alpha < 1 and lambda_adv > 0",
        )
    for i, entry in enumerate(spec.dataset_mix):
        if entry.role != "both":
            raise SpecError(
                f"with role {entry.role!r}, arms without its terms would train on fewer rows than the others",
                param=f"dataset_mix.{i}.role",
                hint="use rows with a reference and a reward, and role 'both'",
            )
    return held_out(spec)


def weighted(spec: JobSpec, alpha: Alpha, lambda_adv: Weight) -> JobSpec:
    """The spec with other weights.

    Raises:
        SpecError: the spec does not allow them.
    """
    sft, grpo, reward = spec.sft, spec.grpo, spec.reward
    if bounds(alpha)[1] == 0:
        sft = sft.model_copy(update={"token_weight": "none"})
    if bounds(alpha)[0] == 1:
        grpo = grpo.model_copy(update={"kl_coef": 0.0})
        reward = reward.model_copy(update={"discriminator_weight": 0.0})
    return changed(spec, alpha=alpha, lambda_adv=lambda_adv, sft=sft, grpo=grpo, reward=reward)


def _staged(spec: JobSpec) -> JobSpec:
    """SFT for the first half of the steps, then GRPO."""
    if spec.schedule.steps < 2:
        raise SpecError("SFT followed by GRPO needs at least 2 steps", param="schedule.steps")
    second = spec.schedule.steps // 2
    stages = [Stage(steps=spec.schedule.steps - second, alpha=1.0), Stage(steps=second, alpha=0.0)]
    return changed(spec, alpha=1.0, lambda_adv=0.0, schedule=spec.schedule.model_copy(update={"stages": stages}))


def _ablation(spec: JobSpec) -> list[Arm]:
    spec = with_all_terms(spec)
    return [
        Arm("sft", weighted(spec, 1.0, 0.0)),
        Arm("grpo", weighted(spec, 0.0, 0.0)),
        Arm("a_grpo", weighted(spec, 0.0, spec.lambda_adv)),
        Arm("sft_grpo", _staged(spec)),
        Arm("uniapl", spec),
    ]


ABLATION = Experiment(
    "ablation",
    "UniAPL against its parts, alone and one after the other, at equal policy updates",
    _ablation,
    COLUMNS,
    baseline="uniapl",
)


def _lambda_sweep(spec: JobSpec) -> list[Arm]:
    spec = held_out(spec)
    return [Arm(f"lambda_{value:g}", weighted(spec, spec.alpha, value)) for value in (0.0, 1e-4, 1e-3, 1e-2)]


LAMBDA_SWEEP = Experiment(
    "lambda_sweep",
    "lambda_adv over the decades of the published search range, and without the term",
    _lambda_sweep,
    COLUMNS,
    baseline="lambda_0",
)


def _terms(spec: JobSpec) -> list[Arm]:
    """All arms keep lambda_adv, but not the weight of the remaining terms.

    In alpha·L_SFT + (1 - alpha)·L_GRPO, removing a term sets the other's weight to 1: alpha = 0 removes L_SFT and
    raises L_GRPO from 1 - alpha to 1, alpha = 1 removes L_GRPO and raises L_SFT from alpha to 1. The constant weight of
    L_ADV is then relatively smaller.
    """
    spec = with_all_terms(spec)
    return [
        Arm("uniapl", spec),
        Arm("without_sft", weighted(spec, 0.0, spec.lambda_adv)),
        Arm("without_grpo", weighted(spec, 1.0, spec.lambda_adv)),
        Arm("without_adv", weighted(spec, spec.alpha, 0.0)),
    ]


TERMS = Experiment("terms", "the objective without each of its terms", _terms, COLUMNS, baseline="uniapl")


def _diversity(spec: JobSpec) -> list[Arm]:
    spec = with_all_terms(spec)
    if spec.evaluation is None or spec.evaluation.profile_completions < 2:
        raise SpecError(
            "diversity is measured between answers to one prompt; set at least 2",
            param="evaluation.profile_completions",
        )
    lambdas = [Arm(f"lambda_{value:g}", weighted(spec, spec.alpha, value)) for value in (0.0, 1e-3, 1e-2)]
    alphas = [Arm(f"alpha_{value:g}", weighted(spec, value, spec.lambda_adv)) for value in (0.0, 0.5, 1.0)]
    return lambdas + alphas


DIVERSITY = Experiment(
    "diversity",
    "task score against the diversity of sampled answers, over lambda_adv at the spec's alpha and the reverse",
    _diversity,
    (REWARD, SAMPLED_REWARD, SCORE, DISTINCT_2, LENGTH_DISTANCE),
)
