"""Rollout collection: advantages, coefficients, missing rewards and scores, and background scoring."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer

from tests.conftest import MODELS
from tests.uniapl.discriminators.polar_model import write_model
from tests.uniapl.discriminators.test_remote import asking, well
from uniapl.chat.frames import THINK
from uniapl.data.encoded_row import EncodedRow
from uniapl.discriminators.base import Comparison, FrozenDiscriminator
from uniapl.discriminators.remote import RemotePolar
from uniapl.errors import RewardError, ScoreError, ServerError
from uniapl.model.policy import Policy
from uniapl.rewards.pool import RewardPool
from uniapl.rollout.generator import Completion, OnGroup
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec
from uniapl.spec.reward import (
    IfevalReward,
    JsonSchemaReward,
    LengthBandReward,
    MathReward,
    RegexReward,
    RewardOptions,
    RewardPart,
    WeightedSumReward,
)
from uniapl.training.group_scoring import Prompt
from uniapl.training.rollout_collector import RolloutCollector

pytestmark = pytest.mark.integration

NO_COMMA = IfevalReward(instruction_id_list=["punctuation:no_comma"], kwargs=[{}])


class Scripted:
    """Answers with given texts, the same to every prompt."""

    def __init__(self, policy: Policy, texts: Seq[str], truncated: Seq[bool]) -> None:
        self._ids = [policy.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        self._truncated = truncated

    def release(self) -> None:
        """It holds no memory."""

    def sample(self, prompts: Seq[list[int]], **_: Any) -> list[list[Completion]]:
        return [
            [Completion(ids, [-1.0] * len(ids), cut) for ids, cut in zip(self._ids, self._truncated, strict=True)]
            for _ in prompts
        ]


class Table(FrozenDiscriminator):
    """Scores by output text; the rest is NaN, as when a server did not answer."""

    default_scale = 2.0

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores, self.asked = scores, list[Comparison]()

    def score(self, comparisons: Seq[Comparison]) -> Tensor:
        self.asked += comparisons
        return torch.tensor([self.scores.get(c.output, math.nan) for c in comparisons])


def row(reference: str | None = "the answer") -> EncodedRow:
    return EncodedRow("r1", "say it", [5, 6], reference, [7, 8, 2] if reference else None, NO_COMMA)


def explore(
    policy: Policy,
    scores: dict[str, float],
    *,
    texts: Seq[str] = ("one", "two, or", "three"),
    prompts: Seq[Prompt] | None = None,
    truncated: Seq[bool] | None = None,
    **fields: Any,
) -> tuple[list[Any], dict[str, float], Table]:
    given = {"student": "s", "dataset_mix": [{"dataset": "d"}], "grpo": {"group_size": len(texts)}, **fields}
    if len(texts) == 1:
        given["alpha"] = 1
    judge = Table(scores)
    generator = Scripted(policy, texts, truncated or [False] * len(texts))
    spec = JobSpec.model_validate(given)
    with RewardPool(spec.reward) as pool:
        collector = RolloutCollector(spec, policy, generator, pool, judge)
        sequences, metrics = collector.collect(prompts or [Prompt(row(), explored=True, compared=True)], 0)
    return sequences, metrics, judge


SCORES = {"one": 1.0, "two, or": 2.0, "three": 6.0}


def test_every_rollout_gets_its_advantage_and_its_coefficient(policy: Policy) -> None:
    sequences, metrics, _ = explore(policy, SCORES, grpo={"group_size": 3, "scale_rewards": False})
    # rewards 1, 0, 1 less their mean 2/3; scores, times 2, less the siblings' mean: 2·(1 - 4), 2·(2 - 3.5), 2·(6 - 1.5)
    assert [s.advantage for s in sequences] == pytest.approx([1 / 3, -2 / 3, 1 / 3], abs=1e-6)
    assert [s.coef for s in sequences] == pytest.approx([-6, -3, 9])
    assert metrics["reward"] == pytest.approx(2 / 3)
    assert metrics["disc/score_student"] == pytest.approx(3)
    assert metrics["completions/reference_length"] == 3


def test_a_score_that_is_missing_is_left_out_and_counted(policy: Policy) -> None:
    options = {"max_failed_fraction": 0.4}
    sequences, metrics, _ = explore(policy, {"one": 1.0, "three": 6.0}, adversarial=options)
    assert [s.coef for s in sequences] == [pytest.approx(-10), None, pytest.approx(10)]
    assert [s.advantage is None for s in sequences] == [False, False, False]
    assert metrics["disc/failed"] == 1


def test_too_many_missing_scores_end_the_job_and_name_a_row(policy: Policy) -> None:
    with pytest.raises(ScoreError, match=r"for 1 of 3 answers.*row: r1"):
        explore(policy, {"one": 1.0, "three": 6.0}, adversarial={"max_failed_fraction": 0.3})


def test_rollouts_enter_only_the_terms_of_their_prompt(policy: Policy) -> None:
    prompts = [Prompt(row(), explored=True, compared=False), Prompt(row(), explored=False, compared=True)]
    sequences, metrics, judge = explore(policy, SCORES, prompts=prompts)
    assert [(s.advantage is None, s.coef is None) for s in sequences] == [(False, True)] * 3 + [(True, False)] * 3
    assert len(judge.asked) == 3
    assert metrics["reward"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("option", "coef"), [("score", [-6, -3, 9]), ("mask", [-2, 2, None])])
def test_a_truncated_rollout_is_compared_or_left_out(policy: Policy, option: str, coef: list[float | None]) -> None:
    sequences, _, _ = explore(policy, SCORES, truncated=[False, False, True], adversarial={"truncated": option})
    assert [s.coef for s in sequences] == [c if c is None else pytest.approx(c) for c in coef]


def test_a_truncated_rollout_is_left_out_of_exploration_but_counts_in_the_mean(policy: Policy) -> None:
    grpo = {"group_size": 3, "scale_rewards": False, "truncated": "mask"}
    sequences, metrics, _ = explore(policy, SCORES, truncated=[False, False, True], grpo=grpo)
    assert [s.advantage for s in sequences] == [pytest.approx(1 / 3), pytest.approx(-2 / 3), None]
    assert metrics["reward"] == pytest.approx(2 / 3)
    assert metrics["completions/clipped_ratio"] == pytest.approx(1 / 3)


def test_a_long_answer_loses_reward_within_the_last_tokens_before_the_limit(policy: Policy) -> None:
    texts = ["one", "two", "three, " * 40]  # the last one earns 0 and is longer than the limit
    length = len(policy.tokenizer(texts[2], add_special_tokens=False)["input_ids"])
    options: dict[str, Any] = {
        "grpo": {"group_size": 3, "scale_rewards": False},
        "prompts": [Prompt(row(), explored=True, compared=False)],
    }
    reward = {"overlong_tokens": 20, "overlong_penalty": 0.5}
    rollout = {"max_new_tokens": length + 10}  # ten tokens beyond the free part, half of the penalty
    sequences, metrics, _ = explore(policy, {}, texts=texts, reward=reward, rollout=rollout, **options)
    mean = (1 + 1 - 0.25) / 3
    assert [s.advantage for s in sequences] == pytest.approx([1 - mean, 1 - mean, -0.25 - mean])
    assert metrics["reward"] == pytest.approx(2 / 3)  # of the verifier alone
    assert metrics["reward/overlong_penalty"] == pytest.approx(-0.25 / 3)


@pytest.mark.parametrize(("option", "compared"), [("strip", "one"), ("keep", "<think>hm</think> one")])
def test_reasoning_is_stripped_or_kept(policy: Policy, option: str, compared: str) -> None:
    texts = ["<think>hm</think> one", "two, or"]
    _, _, judge = explore(policy, {compared: 1.0, "two, or": 2.0}, texts=texts, adversarial={"think": option})
    assert judge.asked[0].output == compared


def test_the_discriminator_as_a_reward_enters_the_advantage_alone(policy: Policy) -> None:
    prompts = [Prompt(row(), explored=True, compared=False), Prompt(row(None), explored=True, compared=False)]
    sequences, metrics, _ = explore(
        policy,
        SCORES,
        prompts=prompts,
        lambda_adv=0,
        alpha=0,
        grpo={"group_size": 3, "scale_rewards": False},
        reward={"discriminator_weight": 0.5},
    )
    # rewards 1, 0, 1 plus half of 2·(1, 2, 6): 2, 2, 7 with mean 11/3; without a reference rewards stay alone
    assert [s.advantage for s in sequences[:3]] == pytest.approx([-5 / 3, -5 / 3, 10 / 3], abs=1e-6)
    assert [s.advantage for s in sequences[3:]] == pytest.approx([1 / 3, -2 / 3, 1 / 3], abs=1e-6)
    assert all(s.coef is None for s in sequences)
    assert metrics["reward"] == pytest.approx(2 / 3)  # what the verifier says


def test_the_teachers_answer_may_carry_the_weight_instead(policy: Policy) -> None:
    options = {"target": "teacher_response", "coef": "sigmoid", "surrogate": "reinforce"}
    sequences, _, _ = explore(policy, dict.fromkeys(SCORES, 0.0), adversarial=options)
    *rollouts, teacher = sequences
    assert [s.coef for s in rollouts] == [None] * 3
    assert (teacher.completion_ids, teacher.demonstration) == ([7, 8, 2], False)
    assert teacher.coef == pytest.approx(0.5)


def test_the_teachers_own_answer_is_scored_only_for_bt_margin(policy: Policy) -> None:
    scores = {**SCORES, "the answer": 6.0}
    for coef, asked in (("loo", 3), ("bt_margin", 4)):
        sequences, _, judge = explore(policy, scores, adversarial={"coef": coef})
        assert len(judge.asked) == asked
        assert sequences[2].coef > sequences[0].coef


def test_a_single_answer_per_prompt_is_compared_with_those_to_other_prompts(policy: Policy) -> None:
    prompts = [Prompt(row(), explored=False, compared=True)] * 2
    sequences, _, _ = explore(policy, {"one": 1.0}, texts=["one"], prompts=prompts)
    assert [s.coef for s in sequences] == [0.0, 0.0]


def test_a_teachers_score_that_is_missing_is_counted_too(policy: Policy) -> None:
    options = {"coef": "bt_margin", "max_failed_fraction": 0.2}
    with pytest.raises(ScoreError, match=r"for 1 of 4 answers.*row: r1"):
        explore(policy, SCORES, adversarial=options)  # the teacher's own answer has no score
    sequences, metrics, _ = explore(policy, SCORES, adversarial={**options, "max_failed_fraction": 0.3})
    assert metrics["disc/failed"] == 1
    assert [s.coef for s in sequences] == [None] * 3


def test_what_the_discriminator_adds_counts_as_variance_of_the_reward(policy: Policy) -> None:
    texts = ["one", "three"]  # both earn 1
    given: dict[str, Any] = {"texts": texts, "alpha": 0, "lambda_adv": 0, "grpo": {"group_size": 2}}
    _, metrics, _ = explore(policy, SCORES, **given)
    assert metrics["frac_reward_zero_std"] == 1
    _, metrics, _ = explore(policy, SCORES, **given, reward={"discriminator_weight": 0.5})
    assert metrics["frac_reward_zero_std"] == 0
    assert metrics["reward_std"] == 0


def test_a_group_that_earns_thirds_has_no_variance(policy: Policy) -> None:
    third = LengthBandReward(at_least=3)  # each answer is one word of three
    summed = [RewardPart(weight=0.1, reward=third), RewardPart(weight=0.6, reward=LengthBandReward(at_least=1))]
    rewards = [third, WeightedSumReward(parts=summed)]
    prompts = [Prompt(replace(row(), reward=reward), explored=True, compared=False) for reward in rewards]
    given: dict[str, Any] = {"texts": [letter * 3 for letter in "abcdefgh"], "prompts": prompts}
    sequences, metrics, _ = explore(policy, SCORES, **given, alpha=0, lambda_adv=0)
    assert metrics["reward"] == pytest.approx((1 / 3 + (0.1 / 3 + 0.6) / 0.7) / 2, abs=1e-12)
    assert metrics["frac_reward_zero_std"] == 1
    assert metrics["reward_std"] == 0
    assert [s.advantage for s in sequences] == [0] * 16


def test_answers_that_cannot_be_verified_earn_nothing_and_are_counted(policy: Policy) -> None:
    """However many they are: all but one of this step's."""
    slow = replace(row(), reward=RegexReward(pattern="^(a+)+$"))
    broken = replace(row(), reward=JsonSchemaReward(json_schema={"type": "array", "items": {"$ref": "#"}}))
    prompts = [Prompt(slow, explored=True, compared=False), Prompt(broken, explored=True, compared=False)]
    texts = ["a" * 60 + "!", "aa", "[" * 400 + "]" * 400]
    options = {"time_limit_s": 1, "max_failed_fraction": 0}
    given: dict[str, Any] = {"texts": texts, "prompts": prompts, "reward": options, "alpha": 0, "lambda_adv": 0}
    sequences, metrics, _ = explore(policy, SCORES, **given)
    assert (metrics["reward/timeouts"], metrics["reward/failed"]) == (1, 1)
    assert metrics["reward"] == pytest.approx(1 / 6)
    assert [s.advantage is not None and s.advantage > 0 for s in sequences] == [False, True, False, *[False] * 3]


def test_a_row_with_an_unreadable_gold_is_named(policy: Policy) -> None:
    prompts = [Prompt(replace(row(), reward=MathReward(answer="$$")), explored=True, compared=False)]
    with pytest.raises(RewardError, match=r"row r1: .*'\$\$' is not mathematics"):
        explore(policy, SCORES, prompts=prompts, alpha=0, lambda_adv=0)


def test_one_such_row_among_others_does_not_end_the_job(policy: Policy) -> None:
    unusable, usable = replace(row(), reward=MathReward(answer="$$")), replace(row(), reward=RegexReward(pattern="a"))
    prompts = [Prompt(each, explored=True, compared=False) for each in (unusable, usable)]
    sequences, metrics, _ = explore(policy, SCORES, prompts=prompts, alpha=0, lambda_adv=0)
    assert len(sequences) > 0
    assert metrics["reward"] >= 0


def test_reasoning_that_the_template_opens_is_no_answer_while_it_is_open(policy: Policy) -> None:
    thinking = replace(row(), frame=THINK)
    prompts = [Prompt(thinking, explored=True, compared=True)]
    texts = ["no comma, not yet closed", "hm, well</think>one"]
    _, metrics, judge = explore(policy, {"": 0.0, "one": 1.0}, texts=texts, prompts=prompts)
    assert [c.output for c in judge.asked] == ["", "one"]
    assert metrics["reward"] == 0.5


class OneByOne(Scripted):
    """As a server: the first prompt's answers are there long before the last's."""

    def sample(self, prompts: Seq[list[int]], *, on_group: OnGroup | None = None, **_: Any) -> list[list[Completion]]:
        groups = super().sample(prompts)
        for i, group in enumerate(groups):
            if on_group is not None:
                on_group(i, group)
            time.sleep(1.0)
        return groups


def test_background_scoring_changes_nothing_but_the_time(
    policy: Policy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "tiny-random-llama")
    write_model(folder := tmp_path_factory.mktemp("judge"), tokenizer)
    given = {"student": "s", "dataset_mix": [{"dataset": "d"}], "grpo": {"group_size": 3}}
    spec = JobSpec.model_validate(given)
    prompts = [Prompt(row(), explored=True, compared=True), Prompt(row("another"), explored=True, compared=True)]
    texts = ["one", "two, or", "three"]

    def explored(generator: Scripted) -> tuple[list[Any], dict[str, float], list[float]]:
        with asking(well) as (server, running), RewardPool(spec.reward) as pool:
            judge = RemotePolar(ModelSource(path=str(folder)), server, api="vllm", wrapper="sft", batch_size=8)
            when: list[float] = []
            verify = pool.verify
            pool.verify = lambda questions: (when.append(len(questions)), verify(questions))[1]  # type: ignore[method-assign]
            collector = RolloutCollector(spec, policy, generator, pool, judge)
            sequences, metrics = collector.collect(prompts, 0)
            assert len(running.seen) == 5 if isinstance(generator, OneByOne) else 4  # three of the check, then ours
            return sequences, metrics, when

    at_the_end, plain, asked_at_once = explored(Scripted(policy, texts, [False] * 3))
    ahead, hidden, asked_by_group = explored(OneByOne(policy, texts, [False] * 3))
    assert ahead == at_the_end
    assert plain["time/scoring_hidden"] == 0
    assert 0 < hidden["time/scoring_hidden"] <= hidden["time/generate"]
    assert asked_at_once == [6]
    assert asked_by_group == [3, 3]


class Remote(Table):
    """As on a server, whose first replies fail or lack values."""

    remote, failing, lacking = True, 0, 0

    def score(self, comparisons: Seq[Comparison]) -> Tensor:
        if self.failing:
            self.failing -= 1
            raise ServerError("no answer for 60 s")
        scores = super().score(comparisons)
        if self.lacking:
            self.lacking -= 1
            scores[0] = torch.nan
        return scores


class Announcing(Scripted):
    """Announces some groups while it samples, and every group that it samples anew after a restart of its server."""

    def __init__(self, policy: Policy, texts: Seq[str], announced: Seq[int], restarted_with: Seq[str] = ()) -> None:
        super().__init__(policy, texts, [False] * len(texts))
        self._announced = announced
        self._restarted = Scripted(policy, restarted_with, [False] * len(texts)) if restarted_with else None

    def sample(self, prompts: Seq[list[int]], *, on_group: OnGroup | None = None, **_: Any) -> list[list[Completion]]:
        assert on_group is not None
        for source in (super(), *([self._restarted] if self._restarted else [])):
            groups = source.sample(prompts)
            for i in self._announced:
                on_group(i, groups[i])
        return groups


@pytest.fixture(scope="module")
def pool() -> Iterator[RewardPool]:
    with RewardPool(RewardOptions(processes=1)) as pool:
        yield pool


def background(
    policy: Policy, pool: RewardPool, judge: Table, generator: Scripted, **fields: Any
) -> tuple[list[Any], list[str]]:
    """Rollouts of three prompts, and the answers that were verified."""
    mix = {"student": "s", "dataset_mix": [{"dataset": "d"}], "grpo": {"group_size": 3}}
    spec, verified, verify = JobSpec.model_validate(mix | fields), list[str](), pool.verify
    prompts = [Prompt(replace(row(), id=name, prompt=name), explored=True, compared=True) for name in "abc"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            pool, "verify", lambda asked: (verified.extend(q.row + q.answer for q in asked), verify(asked))[1]
        )
        return RolloutCollector(spec, policy, generator, pool, judge).collect(prompts, 0)[0], verified


@pytest.mark.parametrize("announced", [(), (2, 0), (0, 1, 2)])
def test_every_answer_is_verified_and_scored_exactly_once(
    policy: Policy, pool: RewardPool, announced: tuple[int, ...]
) -> None:
    options = {"adversarial": {"coef": "bt_margin"}}
    scores = {**SCORES, "the answer": 6.0}
    expected, _ = background(policy, pool, Table(scores), Scripted(policy, list(SCORES), [False] * 3), **options)
    judge = Remote(scores)
    sequences, verified = background(policy, pool, judge, Announcing(policy, list(SCORES), announced), **options)
    assert sequences == expected
    assert sorted(verified) == sorted(name + text for name in "abc" for text in SCORES)
    assert sorted(c.prompt + c.output for c in judge.asked) == sorted(name + text for name in "abc" for text in scores)


def test_a_group_that_is_sampled_anew_is_scored_anew(policy: Policy, pool: RewardPool) -> None:
    judge = Remote({**SCORES, "four": 5.0})
    generator = Announcing(policy, list(SCORES), (0, 1), restarted_with=["one", "two, or", "four"])
    sequences, verified = background(policy, pool, judge, generator)
    assert [s.coef for s in sequences] == [pytest.approx(c) for c in [-5, -2, 7]] * 3
    stale = [name + text for name in "ab" for text in SCORES]
    assert sorted(verified) == sorted(stale + [name + text for name in "abc" for text in ("one", "two, or", "four")])


def test_an_error_that_persists_is_raised(policy: Policy, pool: RewardPool) -> None:
    judge = Remote(SCORES)
    judge.failing = 2
    with pytest.raises(ServerError, match="no answer"):
        background(policy, pool, judge, Announcing(policy, list(SCORES), (2,)))


@pytest.mark.parametrize("fault", ["failing", "lacking"])
def test_a_server_that_was_away_while_others_were_sampled_costs_no_score(
    policy: Policy, pool: RewardPool, fault: str
) -> None:
    expected, _ = background(policy, pool, Table(SCORES), Scripted(policy, list(SCORES), [False] * 3))
    judge = Remote(SCORES)
    setattr(judge, fault, 1)
    sequences, _ = background(policy, pool, judge, Announcing(policy, list(SCORES), (2,)))
    assert sequences == expected
