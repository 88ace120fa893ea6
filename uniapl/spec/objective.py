"""The options of the three terms; docs/method.md sets each beside its equation and source."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from uniapl.spec.base import Input


class Sft(Input):
    """Imitation of the teacher's answers."""

    token_weight: Literal["none", "phi"] = "none"
    """`none`: every token alike. `phi`: a token of probability p weighs p(1 - p), without gradient through it, so that
    tokens which are certain already, or hopeless, count little (CHORD-phi, arXiv:2508.11408)."""


class Grpo(Input):
    """Group-relative policy optimisation (arXiv:2402.03300)."""

    loss: Literal["dapo", "grpo", "dr_grpo", "gspo"] = "dapo"
    """How rollouts of different length weigh. `dapo`: all sampled tokens alike (arXiv:2503.14476). `grpo`: all rollouts
    alike, so that a token of a long one counts less. `dr_grpo`: divided by a constant length, `rollout.max_new_tokens`;
    asks for `scale_rewards: false` (arXiv:2503.20783). `gspo`: one ratio per rollout, its tokens' geometric mean;
    wants clips of the order of 3e-4 (arXiv:2507.18071)."""
    group_size: int = Field(default=8, ge=1, le=256)
    """Completions sampled per prompt; their mean reward is the baseline. 1 is possible only with alpha=1, where just
    the adversarial term samples."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """The importance ratio's gain is cut below `1 - clip_low`."""
    clip_high: float = Field(default=0.2, gt=0)
    """The importance ratio's gain is cut above `1 + clip_high`."""
    scale_rewards: bool = True
    """Divide each group's centred rewards by their standard deviation."""
    kl_coef: float = Field(default=0.0, ge=0)
    """Weight of KL(policy || reference) inside L_GRPO, per token in nats; the reference is the student as it was at the
    job's first step. At 0 none is kept, which saves a forward pass and, without LoRA, a copy of the weights."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """With δ = log reference - log policy of a sampled token: `k1` is -δ, differentiated as k2, because its own
    gradient is zero in expectation; `k2` is δ²/2; `k3` is exp(δ) - δ - 1, GRPO's, never negative
    (J. Schulman, Approximating KL divergence, 2020)."""

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

    target: Literal["student_rollout", "teacher_response"] = "student_rollout"
    """Whose log-probability carries the coefficient. `teacher_response` is an ablation: the likelihood of the teacher's
    answer, weighted by the mean of 1 - σ(score) over the rollouts; it asks for coef 'sigmoid' and surrogate
    'reinforce'."""
    coef: Literal["loo", "raw", "group_whiten", "sigmoid", "bt_margin"] = "loo"
    """From scores d to coefficients. `loo` subtracts the mean of the siblings' scores. `raw` is d itself: the same
    expected gradient at a higher variance, and no lower bound where all scores have one sign. `group_whiten` centres
    and divides by the group's standard deviation, which forgets how far the whole group is from the teacher.
    `sigmoid` is σ((d - score_center)/score_temperature): always positive, so it raises every sample. `bt_margin` is
    log σ(d - d*) with d* the teacher's own score, less the siblings' mean as in `loo` (arXiv:2511.10643's form)."""
    score_center: float | None = None
    """For `sigmoid`: the scaled score at which the coefficient is one half; 0 by default."""
    score_temperature: float | None = Field(default=None, gt=0)
    """For `sigmoid`: larger is flatter; 1 by default."""
    single_baseline: Literal["batch_loo", "ema", "none"] = "batch_loo"
    """What `loo` and `bt_margin` subtract when `grpo.group_size` is 1 and there are no siblings: the mean of the step's
    other scores, a running mean of earlier steps' scores (kept in the checkpoint), or nothing."""
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
    """Bound on the coefficient's absolute value, after centring; `null` for none. Score spikes are a known failure."""
    rows: Literal["rl", "sft", "both"] = "rl"
    """Rows of which roles are sampled and compared; a row of role `both` has either. With `sft`, a run without
    exploration (alpha=1) needs no row of role `rl`."""
    think: Literal["strip", "keep"] = "strip"
    """Whether reasoning up to `</think>` is left out of what is compared; the teacher's answers are plain."""
    truncated: Literal["score", "mask"] = "score"
    """A rollout cut at `rollout.max_new_tokens` is compared as it is, or left out of the term."""
    max_failed_fraction: float = Field(default=0.1, ge=0, le=1)
    """A rollout whose score is missing or not finite is left out of the term and counted; above this share of a step
    the job fails, naming a row. No number is ever put in its place: 0 is a high score to a logit discriminator."""

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> Self:
        if self.target == "teacher_response" and (self.coef, self.surrogate) != ("sigmoid", "reinforce"):
            raise ValueError(
                "target: the teacher's answer was not sampled from the policy, so it has neither siblings nor an "
                "importance ratio; set coef to 'sigmoid' and surrogate to 'reinforce'"
            )
        if self.coef != "sigmoid" and (self.score_center is not None or self.score_temperature is not None):
            raise ValueError(
                f"score_center and score_temperature shape coef 'sigmoid' alone; remove them, or change {self.coef!r}"
            )
        return self
