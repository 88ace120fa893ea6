"""Verification and discriminator scores of groups of completions, computed in the background or on demand."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from uniapl.data.encoded_row import EncodedRow
from uniapl.discriminators.base import Comparison, Discriminator
from uniapl.errors import UniaplError
from uniapl.model.policy import Policy
from uniapl.rewards.pool import Question, RewardPool, Verdict, check_failures
from uniapl.rewards.verify import final_answer
from uniapl.rollout.generator import Completion
from uniapl.rollout.stop_strings import before_stop
from uniapl.spec.job import JobSpec
from uniapl.spec.objective import Adversarial


@dataclass(frozen=True)
class Prompt:
    """A row to sample from, and the terms that its rollouts enter."""

    row: EncodedRow
    explored: bool
    """L_GRPO: the completions are verified."""
    compared: bool
    """L_ADV: the completions are compared with the teacher's answer."""


GroupKey = tuple[int, tuple[tuple[int, ...], ...]]
"""Index of a prompt within the step, and the tokens of its completions: a server that restarts samples them anew."""


@dataclass(frozen=True)
class GroupScores:
    """Results of background scoring for the G completions of one prompt."""

    verdicts: list[Verdict]
    """One per completion; empty for a prompt outside L_GRPO."""
    scores: Tensor | None
    """(G,), or (G + 1,) with the teacher's own answer last; `None` where the main thread asks the discriminator."""


def comparison(row: EncodedRow, output: str, options: Adversarial) -> Comparison:
    """The discriminator's input for one answer to a row with a reference."""
    reference = row.reference or ""
    if options.think == "strip":
        reference, output = final_answer(reference), final_answer(output)
    return Comparison(row.prompt, reference, output)


def usable(future: Future[GroupScores]) -> GroupScores | None:
    """A background result without the parts that failed, which are computed again on demand.

    A server that was away while completions were sampled may have returned since.
    """
    try:
        result = future.result()
    except UniaplError:
        return None
    if result.scores is not None and not torch.isfinite(result.scores).all():
        return replace(result, scores=None)
    return result


def group_key(prompt: int, group: list[Completion]) -> GroupKey:
    """The key under which a group's background results are found."""
    return prompt, tuple(tuple(c.ids) for c in group)


@dataclass(frozen=True)
class GroupScorer:
    """Verifies completions and scores them against the teacher's answers."""

    spec: JobSpec
    policy: Policy
    rewards: RewardPool
    discriminator: Discriminator | None

    def texts(self, prompt: Prompt, group: list[Completion]) -> list[str]:  # G
        """The completions as answers, with the opening tag of reasoning that the prompt has."""
        stop = self.spec.rollout.stop
        return [prompt.row.answer(before_stop(self.policy.text(c.ids), stop)) for c in group]

    def score_in_background(self, prompt: Prompt, group: list[Completion]) -> GroupScores:
        """Verify one prompt's completions, and score them if another process computes the scores."""
        texts, scores = self.texts(prompt, group), None
        verdicts = self.rewards.verify(self.questions(prompt.row, texts)) if prompt.explored else []
        if self.discriminator is not None and self.discriminator.remote and self.is_scored(prompt):
            scores = self.discriminator.score(self.comparisons(prompt.row, texts))
        return GroupScores(verdicts, scores)

    def is_scored(self, prompt: Prompt) -> bool:
        """Whether a term or the reward needs the discriminator's scores of a prompt's completions."""
        in_reward = self.spec.reward.discriminator_weight > 0
        return bool(prompt.row.reference) and (prompt.compared or (in_reward and prompt.explored))

    def comparisons(self, row: EncodedRow, texts: list[str]) -> list[Comparison]:
        """G comparisons; with `bt_margin` one more, of the teacher's own answer."""
        options = self.spec.adversarial
        own = [row.reference or ""] if options.coef == "bt_margin" else []
        return [comparison(row, text, options) for text in [*texts, *own]]

    def scores(self, comparisons: dict[int, list[Comparison]], background: Mapping[int, GroupScores]) -> Tensor:
        """One row of scores per prompt; only those without background results are computed."""
        assert self.discriminator is not None
        rows = {i: s for i in comparisons if i in background and (s := background[i].scores) is not None}
        if rest := {i: group for i, group in comparisons.items() if i not in rows}:
            found = self.discriminator.score([c for group in rest.values() for c in group])
            rows |= dict(zip(rest, found.view(len(rest), -1), strict=True))
        return torch.stack([rows[i] for i in comparisons])

    def verdicts(
        self, questions: dict[int, list[Question]], background: Mapping[int, GroupScores]
    ) -> list[Verdict]:  # P'·G
        """Verdicts prompt by prompt; only those without background results are computed."""
        rest = {i: group for i, group in questions.items() if i not in background}
        found = iter(self.rewards.verify([q for group in rest.values() for q in group]) if rest else [])
        verdicts: list[Verdict] = []
        for i, group in questions.items():
            verdicts += [next(found) for _ in group] if i in rest else background[i].verdicts
        if all(verdict.value is None for verdict in verdicts):  # a single unusable row does not end the job
            check_failures(verdicts, [q for group in questions.values() for q in group], self.spec.reward)
        return verdicts

    def questions(self, row: EncodedRow, texts: list[str]) -> list[Question]:  # G
        """The verifier's inputs for one prompt's completions."""
        if row.reward is None:  # `check_mix` excludes it
            return []
        return [Question(final_answer(text), row.reward, row.id) for text in texts]
