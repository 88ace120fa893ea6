"""Options of the three loss terms; docs/method.md has the equation and source of each."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from uniapl.spec.base import Input

RELATIVE_LENGTH = 100
"""Tokens at which `relative` equals `seq_sum` beside `dapo`, for coefficients of unit spread. The published range of
lambda_adv, 1e-4 to 1e-2, then covers shares of 1 % to 100 % of exploration."""


class Sft(Input):
    """Imitation of the teacher's answers."""

    token_weight: Literal["none", "phi"] = "none"
    """`none`: equal weights. `phi`: a token of probability p has the weight p(1 - p), detached from the gradient, so
    that tokens with p near 0 or 1 contribute little (CHORD-phi, arXiv:2508.11408)."""


class Grpo(Input):
    """Group-relative policy optimisation (arXiv:2402.03300)."""

    loss: Literal["dapo", "grpo", "dr_grpo", "gspo"] = "dapo"
    """Normalisation over rollouts of different lengths. `dapo`: all sampled tokens have the same weight
    (arXiv:2503.14476). `grpo`: all rollouts have the same weight, so that a token of a long one counts less. `dr_grpo`:
    division by a constant length, `rollout.max_new_tokens`; requires `scale_rewards: false` (arXiv:2503.20783). `gspo`:
    one ratio per rollout, the geometric mean over its tokens; requires clip bounds of about 3e-4 (arXiv:2507.18071)."""
    group_size: int = Field(default=8, ge=1, le=256)
    """Completions sampled per prompt; their mean reward is the baseline. 1 is allowed only with alpha=1, where only the
    adversarial term samples."""
    updates_per_rollout: int = Field(default=1, ge=1, le=64)
    """Policy updates on the sequences of each step, its demonstrations included. From the second on, the importance
    ratio differs from 1 and the clip bounds act (PPO's epochs, arXiv:1707.06347); metrics are means over the
    updates."""
    extra_batches: int = Field(default=0, ge=0, le=64)
    """Dynamic sampling (DAPO, arXiv:2503.14476, section 3.2): maximum number of additional batches per step in which
    prompts are sampled to replace groups without a gradient, those of equal rewards. A batch has as many prompts as
    groups are left to replace; the remaining ones keep advantages of 0. Sampling takes up to `1 + extra_batches` times
    as long. 0 disables it."""
    truncated: Literal["score", "mask"] = "score"
    """Rollouts truncated at `rollout.max_new_tokens`. `score`: as any other. `mask`: excluded from the term (DAPO's
    overlong filtering, arXiv:2503.14476, section 3.4); their rewards still count in the group's mean."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """Lower clip bound of the importance ratio: `1 - clip_low`."""
    clip_high: float = Field(default=0.2, gt=0)
    """Upper clip bound of the importance ratio: `1 + clip_high`."""
    scale_rewards: bool = True
    """Whether to divide the centred rewards of each group by their standard deviation."""
    kl_coef: float = Field(default=0.0, ge=0)
    """Weight of KL(policy || reference) in L_GRPO, per token in nats. The reference model is the student before the
    job's first step. At 0 none is kept, which saves a forward pass and, without LoRA, a copy of the weights."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """KL estimator, with δ = log reference - log policy of a sampled token. `k1`: -δ, with the gradient of k2, because
    its own gradient is zero in expectation. `k2`: δ²/2. `k3`: exp(δ) - δ - 1, never negative, as in GRPO
    (J. Schulman, Approximating KL divergence, 2020)."""

    @model_validator(mode="after")
    def _options_fit_the_loss(self) -> Self:
        if self.loss == "dr_grpo" and self.scale_rewards:
            raise ValueError("scale_rewards: true is not allowed with loss 'dr_grpo'; set it to false, or use 'grpo'")
        if self.loss == "gspo" and max(self.clip_low, self.clip_high) > 0.05:
            raise ValueError(
                "clip_high: GSPO's sequence-level ratio stays close to 1, and bounds above 0.05 never clip; set "
                "clip_low to about 3e-4 and clip_high to about 4e-4"
            )
        return self


class ScoreTarget(Input):
    """Constraint on the discriminator's mean score, with lambda_adv as its multiplier."""

    score: float
    """Target of the mean raw score of a step's rollouts, the metric `disc/score_student`."""
    rate: float = Field(default=0.1, gt=0)
    """Change of log lambda_adv per step and per unit of the scaled score below the target, plus 20 times as much while
    the violation lasts, which damps oscillation; at most 0.5 per step."""
    max_factor: float = Field(default=100.0, gt=1)
    """Bound of the adaptation: lambda_adv stays between the spec's value divided and multiplied by it."""


class Adversarial(Input):
    """Conversion of discriminator scores into coefficients of the rollouts' log-probabilities (docs/method.md)."""

    target: Literal["student_rollout", "teacher_response"] = "student_rollout"
    """Sequence whose log-probability is weighted by the coefficient. `teacher_response` is an ablation: the likelihood
    of the teacher's answer, weighted by the mean of 1 - σ(score) over the rollouts; requires coef 'sigmoid' and
    surrogate 'reinforce'."""
    coef: Literal["loo", "raw", "group_whiten", "sigmoid", "bt_margin"] = "loo"
    """Conversion of a score d. `loo`: d minus the mean score of the group's other rollouts. `raw`: d; the same expected
    gradient with a higher variance, and unbounded if all scores have the same sign. `group_whiten`: centred and divided
    by the group's standard deviation, which discards the group's distance from the teacher. `sigmoid`:
    σ((d - score_center)/score_temperature), always positive, so that every sample becomes more likely. `bt_margin`:
    log σ(d - d*) with d* the teacher's score, minus the mean of the others as in `loo` (arXiv:2511.10643)."""
    score_center: float | None = None
    """For `sigmoid`: scaled score at which the coefficient is 0.5; default 0."""
    score_temperature: float | None = Field(default=None, gt=0)
    """For `sigmoid`: temperature; larger values flatten the curve; default 1."""
    single_baseline: Literal["batch_loo", "ema", "none"] = "batch_loo"
    """Baseline of `loo` and `bt_margin` for `grpo.group_size` 1: the mean of the other scores of the step, a running
    mean over earlier steps (saved in the checkpoint), or none."""
    surrogate: Literal["ppo_clip", "reinforce"] = "ppo_clip"
    """`ppo_clip`: clipped importance ratio as in GRPO. `reinforce`: c·log pi. The gradients are equal while the ratio
    is 1."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """For `ppo_clip`: lower clip bound of the importance ratio, `1 - clip_low`."""
    clip_high: float = Field(default=0.2, gt=0)
    """For `ppo_clip`: upper clip bound of the importance ratio, `1 + clip_high`."""
    aggregate: Literal["relative", "seq_sum", "seq_mean", "token_mean", "sum_over_const"] = "relative"
    """Aggregation over the tokens of a rollout. `relative`: the step's `seq_sum`, scaled so that `100 * lambda_adv` is
    the expected norm of the term's gradient relative to that of L_GRPO with advantages of unit spread, at any length
    and with any discriminator: 1e-3 gives a tenth. `seq_sum`: the sum of the tokens, the literal reading; its share
    grows with the length of the rollouts and the spread of the scores. `seq_mean` and `token_mean` divide by the
    length of the rollout or of all rollouts, `sum_over_const` by `rollout.max_new_tokens`."""
    constraint: ScoreTarget | None = None
    """Constrained form: `lambda_adv` is the start value, or start schedule, of a multiplier that rises while the mean
    score is below the target and falls while it is above. The metric `uniapl/lambda_adv` is the value in use; it is
    part of the checkpoint. Not with a `learned` discriminator, whose updates move its scores."""
    score_scale: float | None = Field(default=None, gt=0)
    """Factor on the raw score, which brings its spread to the order of one. By default the discriminator's own: 1 for
    logits, 10 for cosines, whose measured standard deviation is about a tenth."""
    coef_clip: float | None = Field(default=10.0, gt=0)
    """Maximum absolute value of the coefficient after centring, against score spikes; `null` disables it."""
    rows: Literal["rl", "sft", "both"] = "rl"
    """Roles of the rows that are sampled and compared; rows of role `both` are always included. With `sft`, a run
    without exploration (alpha=1) needs no rows of role `rl`."""
    think: Literal["strip", "keep"] = "strip"
    """Whether reasoning up to `</think>` is removed before the comparison; reference answers contain none."""
    truncated: Literal["score", "mask"] = "score"
    """Rollouts truncated at `rollout.max_new_tokens`: `score` compares them, `mask` excludes them from the term."""
    max_failed_fraction: float = Field(default=0.1, ge=0, le=1)
    """Maximum fraction of a step's rollouts with a missing or non-finite score; above it the job fails. Such
    rollouts are excluded from the term and counted. They get no substitute score: 0 is a high score for a logit
    discriminator."""

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> Self:
        if self.target == "teacher_response" and (self.coef, self.surrogate) != ("sigmoid", "reinforce"):
            raise ValueError(
                "target: 'teacher_response' has no group and no importance ratio, because the policy did not sample "
                "it; set coef to 'sigmoid' and surrogate to 'reinforce'"
            )
        if self.coef != "sigmoid" and (self.score_center is not None or self.score_temperature is not None):
            raise ValueError(
                f"score_center and score_temperature require coef 'sigmoid', not {self.coef!r}; remove them, or "
                "change coef"
            )
        return self
