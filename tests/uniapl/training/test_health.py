"""Failure signatures: each fires on a run built to show it, and none fires on healthy runs."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.uniapl.bigram import Reward, taught_share, train, untaught_share
from uniapl.spec.health import Health, Signature
from uniapl.training.health import Finding, HealthMonitor
from uniapl.training.trend import change, mann_kendall, median_deviation

pytestmark = pytest.mark.integration

Metrics = Mapping[str, float]
REAL = Path(__file__).parent / "fixtures" / "healthy_runs.json"


def watch(steps: Iterable[Metrics], **options: Any) -> list[Finding]:
    """Everything found in a run's metrics."""
    monitor = HealthMonitor(Health(**options))
    return [finding for i, metrics in enumerate(steps, start=1) for finding in monitor.observe(i, metrics)]


def names(findings: Iterable[Finding]) -> list[str]:
    return [finding.signature for finding in findings]


def first(findings: Iterable[Finding], signature: str) -> Finding:
    return next(finding for finding in findings if finding.signature == signature)


def flat(number: int, **metrics: float) -> list[Metrics]:
    return [metrics] * number


def lengths(ratios: Iterable[float], spread: float = 1.0) -> list[Metrics]:
    """Steps with the given ratios of completion length to the teacher's 100 tokens."""
    return [
        {
            "completions/mean_length": 100 * ratio,
            "completions/reference_length": 100.0,
            "completions/std_length": 20 * spread,
            "completions/reference_std_length": 20.0,
        }
        for ratio in ratios
    ]


def noise(number: int, center: float, width: float) -> list[float]:
    random.seed(1)
    return [random.gauss(center, width) for _ in range(number)]


def hacking(rewards: Iterable[float], scores: Iterable[float]) -> list[Metrics]:
    return [
        {"reward": r, "disc/score_student": s, "disc/score_group_std": 0.1}
        for r, s in zip(rewards, scores, strict=True)
    ]


# Real runs: a bigram policy under the real objective (tests/uniapl/bigram.py).


@cache
def run(name: str, seed: int = 0) -> list[dict[str, float]]:
    """Metrics of a scripted run."""
    unified = {"alpha": 0.3, "lambda_adv": 0.3}
    explore = {"alpha": 0.0, "lambda_adv": 0.0}

    def rate(usual: float, at_60: float | None = None) -> Callable[[int], float]:
        return lambda step: at_60 if at_60 is not None and step == 60 else usual

    def of(reward: Reward, weights: dict[str, float], rate: Callable[[int], float]) -> list[dict[str, float]]:
        return train(reward, **weights, rate=rate, seed=seed)

    match name:
        case "healthy":
            return of(taught_share, unified, rate(0.02))
        case "short answers rewarded":
            return of(lambda answer: -float(len(answer)), explore, rate(0.03))
        case "long answers rewarded":
            return of(lambda answer: float(len(answer)), explore, rate(0.05))
        case "reward against the teacher":
            return of(untaught_share, explore, rate(0.03))
        case "reward against the teacher, anchored":
            return of(untaught_share, {"alpha": 0.3, "lambda_adv": 1.0}, rate(0.03))
        case "one token rewarded, high rate":
            return of(lambda answer: answer.count(4) / len(answer), explore, rate(0.3))
        case "one huge update":
            return of(taught_share, unified, rate(0.02, at_60=100.0))
        case "one endless update":
            return of(taught_share, unified, rate(0.02, at_60=3e38))
        case "constant reward":
            return of(lambda answer: 1.0, unified, rate(0.02))
    raise AssertionError(name)


@pytest.mark.parametrize("seed", range(3))
def test_a_run_of_all_three_terms_is_silent(seed: int) -> None:
    steps = run("healthy", seed)
    assert steps[-1]["reward"] > 0.85 > 0.7 > steps[0]["reward"]  # it did learn
    assert names(watch(steps)) == []


def test_a_reward_for_short_answers_collapses_lengths() -> None:
    steps = run("short answers rewarded")
    finding = first(watch(steps), "length_collapse")
    assert finding.evidence["ratio"] < 0.3
    assert steps[finding.step - 1]["completions/mean_length"] < 4  # the teacher's average is near 9


def test_a_reward_for_long_answers_collapses_lengths_upwards() -> None:
    assert first(watch(run("long answers rewarded")), "length_collapse").evidence["ratio"] > 3


@pytest.mark.parametrize("seed", range(2))
def test_a_reward_against_the_teacher_is_hacked_unless_anchored(seed: int) -> None:
    evidence = first(watch(run("reward against the teacher", seed)), "reward_hacking").evidence
    assert evidence["reward_change"] > 0 > evidence["score_change"]
    assert names(watch(run("reward against the teacher, anchored", seed))) == []


def test_a_high_learning_rate_collapses_the_entropy() -> None:
    finding = first(watch(run("one token rewarded, high rate")), "entropy_collapse")
    assert finding.evidence["mean"] < 0.1 * finding.evidence["entropy_at_start"] < math.log(6)


def test_one_huge_update_is_an_instability() -> None:
    finding = first(watch(run("one huge update")), "instability")
    assert finding.step in (62, 63)  # update 61 was the huge one
    assert finding.evidence["metric"] == "loss"


def test_one_endless_update_is_not_finite_and_ends_the_job() -> None:
    finding = watch(run("one endless update"))[0]
    assert (finding.signature, finding.step, finding.stop) == ("not_finite", 62, True)
    assert "loss" in finding.evidence["metrics"]


def test_a_constant_reward_has_no_variance() -> None:
    assert [(f.signature, f.step) for f in watch(run("constant reward"))] == [("no_reward_variance", 5)]


@pytest.mark.parametrize("name", json.loads(REAL.read_text()))
def test_language_models_training_as_they_should_are_silent(name: str) -> None:
    """Metrics of real runs with all three terms, each beside its spec; SmolLM2's is too short for a trend."""
    columns = json.loads(REAL.read_text())[name]["metrics"]
    steps = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert len(steps) > 20  # half a history, so that spikes are judged
    assert names(watch(steps)) == []


@pytest.mark.parametrize(
    "name", ["healthy", "one huge update", "reward against the teacher", "one token rewarded, high rate"]
)
def test_a_resumed_run_has_the_findings_of_an_uninterrupted_one(name: str) -> None:
    steps = run(name)
    whole = watch(steps)
    for cut in (0, 3, 19, 41, 62, 63, 70, 90):
        monitor = HealthMonitor(Health())
        before = [f for i in range(cut) for f in monitor.observe(i + 1, steps[i])]
        resumed = HealthMonitor(Health())
        resumed.restore(json.loads(json.dumps(monitor.state(), allow_nan=False)))
        after = [f for i in range(cut, len(steps)) for f in resumed.observe(i + 1, steps[i])]
        assert before + after == whole


def test_findings_are_serialisable_and_name_a_remedy() -> None:
    runs = ("one endless update", "one huge update", "reward against the teacher", "one token rewarded, high rate")
    findings = [finding for name in runs for finding in watch(run(name))] + watch(cut(1, 1.0))
    assert set(names(findings)) == set(get_args(Signature))
    for finding in findings:
        json.dumps(finding.evidence, allow_nan=False)
        assert any(word in finding.message for word in ("ower", "aise", "arder"))


# Exact edges, on made-up series.


def cut(number: int, share: float) -> list[Metrics]:
    """Steps in which a share of the completions reaches a limit of 64 tokens."""
    return flat(number, **{"completions/clipped_ratio": share, "completions/max_length": 64.0})


def test_completions_that_are_mostly_cut_are_reported_at_once_and_once() -> None:
    (finding,) = watch(cut(20, 0.6))
    assert (finding.signature, finding.step, finding.stop) == ("truncation", 1, False)
    assert "60 % of the completions" in finding.message
    assert "64 tokens" in finding.message
    assert "rollout.max_new_tokens" in finding.message
    assert names(watch(cut(40, 0.5))) == []
    assert names(watch(cut(1, 1.0) + cut(20, 0.0) + cut(20, 1.0))) == ["truncation"] * 2
    assert names(watch(cut(5, 0.8), truncated_high=0.9)) == []


def test_lengths_fire_beyond_the_band_only_and_once_the_window_is_full() -> None:
    assert names(watch(lengths([1.0] * 20 + [0.31] * 20))) == []
    assert [(f.signature, f.step) for f in watch(lengths([1.0] * 20 + [0.2] * 20))] == [
        ("length_collapse", 29)  # nine steps at 0.2 and one at 1 average 0.28
    ]
    assert names(watch(lengths([1.0] * 20 + [2.99] * 20))) == []
    assert names(watch(lengths([1.0] * 20 + [3.01] * 20))) == ["length_collapse"]


def test_one_odd_step_is_no_collapse() -> None:
    assert names(watch(lengths([1.0] * 20 + [0.01] + [1.0] * 20))) == []
    assert names(watch(lengths([0.01] + [1.0] * 20))) == []
    # nor does it say where the run began: the first window averages 1.4, so that 3 stays the bound
    assert names(watch(lengths([5.0] + [1.0] * 20 + [4.0] * 20))) == ["length_collapse"]


def test_a_student_that_begins_outside_the_band_is_held_to_where_it_began() -> None:
    assert names(watch(lengths([5.0] * 30 + [1.0] * 30))) == []
    assert names(watch(lengths([5.0] * 30 + [9.9] * 30))) == []
    assert names(watch(lengths([5.0] * 30 + [10.1] * 30))) == ["length_collapse"]
    assert names(watch(lengths([0.2] * 30 + [0.09] * 30))) == ["length_collapse"]


def test_answers_that_all_become_equally_long_are_a_collapse_at_the_teachers_mean_too() -> None:
    steps = lengths([1.0] * 20) + lengths([1.0] * 20, spread=0.1)
    assert "standard deviation" in first(watch(steps), "length_collapse").message
    assert names(watch(lengths([1.0] * 20) + lengths([1.0] * 20, spread=9.0))) == []  # no longer uniform: no sign
    assert names(watch(lengths([1.0] * 40, spread=0.0))) == []  # cut at the limit from the first step on


def test_a_signature_on_the_edge_fires_once_and_again_only_after_it_has_cleared() -> None:
    edge = [0.29, 0.32] * 3
    steps = lengths([1.0] * 10 + edge * 10 + [1.0] * 10 + [0.2] * 10)
    assert [f.step for f in watch(steps, window=1)] == [11, 81]


def test_returning_into_the_band_is_not_enough_to_clear() -> None:
    assert len(watch(lengths([1.0, 0.2, 0.5, 0.2]), window=1)) == 1  # cleared from 0.6 on
    assert len(watch(lengths([1.0, 0.2, 0.7, 0.2]), window=1)) == 2


UP, DOWN = [i / 40 for i in range(40)], [-i / 40 for i in range(40)]


def test_only_a_rising_reward_with_a_falling_score_is_hacking() -> None:
    assert [(f.signature, f.step) for f in watch(hacking(UP, DOWN))] == [("reward_hacking", 40)]
    for rewards, scores in ((DOWN, UP), (UP, UP), (DOWN, DOWN), (UP, [0.0] * 40), ([0.5] * 40, DOWN)):
        assert names(watch(hacking(rewards, scores))) == []


def test_a_trend_of_two_points_is_no_trend() -> None:
    assert names(watch(hacking([0.5] * 39 + [1.0], [0.5] * 39 + [-5.0]))) == []


def test_a_certain_fall_that_is_too_small_to_matter_is_no_hacking() -> None:
    # over 40 steps the score falls by 0.975 of its factor; the threshold is a quarter of the spread 0.1
    assert names(watch(hacking(UP, [0.025 * x for x in DOWN]))) == []
    assert names(watch(hacking(UP, [0.026 * x for x in DOWN]))) == ["reward_hacking"]


def test_a_rising_reward_beside_a_noisy_score_is_no_hacking() -> None:
    """By chance the score falls by more than a quarter of its spread; only the certainty of its trend is evidence."""
    rewards, scores = [i / 400 for i in range(400)], noise(400, 0.0, 0.1)
    assert min(change(scores[i : i + 40]) for i in range(360)) < -0.05
    assert names(watch(hacking(rewards, scores))) == []


def test_a_hacked_reward_that_levels_off_is_reported_once() -> None:
    steps = hacking(UP, DOWN) + hacking([1.0] * 100, [-1.0] * 100)
    assert names(watch(steps)) == ["reward_hacking"]


@pytest.mark.parametrize("correlation", [0.0, -1.0])
def test_noise_is_seldom_taken_for_hacking(correlation: float) -> None:
    """1000 steps without any trend, at worst with every good reward at the price of a bad score."""
    random.seed(0)
    rewards = [random.gauss(0.5, 0.1) for _ in range(1000)]
    scores = [correlation * (r - 0.5) + (1 - abs(correlation)) * random.gauss(0, 0.1) for r in rewards]
    assert names(watch(hacking(rewards, scores))) == []


@pytest.mark.parametrize("metric", ["loss", "grad_norm", "disc/score_group_std"])
def test_spikes_of_loss_gradient_and_score_spread_are_instabilities(metric: str) -> None:
    steady = [{metric: value} for value in noise(200, 2.0, 0.1)]
    assert names(watch(steady)) == []
    finding = watch([*steady, {metric: 4.0}, *steady[:40]])[0]
    assert (finding.signature, finding.step) == ("instability", 201)
    assert finding.evidence["metric"] == metric
    assert names(watch([*steady, {metric: 0.0}, *steady[:40]])) == []  # downwards is no failure
    assert names(watch([*steady, {metric: 2.7}, *steady[:40]])) == []  # seven standard deviations


def test_a_spike_needs_half_a_history_before_it() -> None:
    assert names(watch([{"loss": 2.0}] * 19 + [{"loss": 9.0}])) == []
    assert names(watch([{"loss": 2.0}] * 20 + [{"loss": 9.0}])) == ["instability"]


def test_a_loss_that_stays_high_is_reported_once_and_then_is_usual() -> None:
    assert names(watch(flat(30, loss=1.0) + flat(100, loss=9.0))) == ["instability"]


def test_updates_without_a_gradient_do_not_make_the_others_spikes() -> None:
    """With few prompts most steps of pure exploration have none: the median and its deviation are 0."""
    random.seed(2)
    steps = [{"grad_norm": random.uniform(0.8, 1.2) if random.random() < 0.3 else 0.0} for _ in range(300)]
    assert names(watch(steps)) == []


def test_a_new_stage_with_other_weights_is_no_spike() -> None:
    explore = {"loss": 0.01, "grad_norm": 0.3, "uniapl/alpha": 0.0, "uniapl/lambda_adv": 0.001}
    imitate = {"loss": 2.5, "grad_norm": 4.0, "uniapl/alpha": 1.0, "uniapl/lambda_adv": 0.0}
    assert names(watch([explore] * 40 + [imitate] * 40)) == []
    assert names(watch([explore] * 40 + [imitate | {"uniapl/alpha": 0.0, "uniapl/lambda_adv": 0.001}])) == [
        "instability"
    ]
    gradual = [{"loss": 1.0, "uniapl/alpha": 0.9 - 0.02 * i} for i in range(40)]
    assert names(watch([*gradual, {"loss": 9.0, "uniapl/alpha": 0.1}])) == ["instability"]


def test_entropy_fires_below_a_tenth_of_its_start() -> None:
    assert names(watch(flat(1, entropy=2.0) + flat(40, entropy=0.21))) == []
    found = watch(flat(1, entropy=2.0) + flat(40, entropy=0.19))
    assert [(f.signature, f.step) for f in found] == [("entropy_collapse", 11)]  # the first step has left the window
    assert names(watch(flat(40, entropy=0.05))) == []  # a student that is sharp from the start


def test_entropy_is_held_to_its_start_however_long_ago() -> None:
    # 0.98 to the 114th is a tenth; over a history of 40 steps it is no less than 0.44
    found = watch([{"entropy": 2.0 * 0.98**i} for i in range(200)])
    assert [(f.signature, 114 < f.step < 125) for f in found] == [("entropy_collapse", True)]


def groups(*shares: float) -> list[Metrics]:
    return [{"frac_reward_zero_std": share, "reward": 0.0} for share in shares]


def test_five_steps_without_variance_fire_and_four_do_not() -> None:
    assert names(watch(groups(1, 1, 1, 1, 0.99, 1, 1, 1, 1))) == []
    assert [f.step for f in watch(groups(0.5, 1, 1, 1, 1, 1, 1))] == [6]
    # one informative step does not clear it, three do
    assert [f.step for f in watch(groups(*[1] * 5, 0, *[1] * 9))] == [5]
    assert [f.step for f in watch(groups(*[1] * 5, 0, 0, 0, *[1] * 5))] == [5, 13]


def test_what_is_not_finite_fires_at_once_and_is_fatal_for_loss_and_gradient() -> None:
    for metric, fatal in (("loss", True), ("grad_norm", True), ("eval/score", False)):
        (finding,) = watch([{metric: 1.0}, {metric: math.inf}, {metric: math.nan}])
        assert (finding.signature, finding.step, finding.stop) == ("not_finite", 2, fatal)
        assert finding.evidence == {"metrics": {metric: "inf"}}
        assert f"{metric} is inf" in finding.message


def test_a_number_that_is_not_finite_does_not_reach_the_medians() -> None:
    steps = flat(30, loss=1.0) + flat(1, loss=math.nan) + flat(1, loss=9.0)
    assert names(watch(steps)) == ["not_finite", "instability"]
    # the window is ten finite steps: had the NaN been one of them, the average would be none until step 17
    gap = flat(1, entropy=2.0) + flat(5, entropy=0.1) + flat(1, entropy=math.nan) + flat(10, entropy=0.1)
    assert [(f.signature, f.step) for f in watch(gap)] == [("not_finite", 7), ("entropy_collapse", 12)]


def test_stop_on_marks_the_findings_that_end_the_job() -> None:
    steps = lengths([1.0] * 20 + [0.2] * 20)
    assert [f.stop for f in watch(steps)] == [False]
    assert [f.stop for f in watch(steps, stop_on=["length_collapse"])] == [True]
    assert [f.stop for f in watch(steps, stop_on=["instability"])] == [False]


def test_a_run_without_rollouts_is_checked_on_its_own_metrics() -> None:
    steps = [{"loss": 2.0, "grad_norm": 1.0}] * 50
    assert names(watch(steps)) == []
    assert names(watch([*steps, {"loss": 20.0, "grad_norm": 1.0}])) == ["instability"]


# The statistics.


def test_mann_kendall_gives_the_published_scores() -> None:
    # n=5 rising: S = 10, var S = 5·4·15/18
    assert mann_kendall([1, 2, 3, 4, 5]) == pytest.approx(9 / math.sqrt(300 / 18))
    assert mann_kendall([5, 4, 3, 2, 1]) == pytest.approx(-9 / math.sqrt(300 / 18))
    # one tie of two: S = 5, var S = (4·3·13 - 2·1·9)/18
    assert mann_kendall([1, 1, 2, 3]) == pytest.approx(4 / math.sqrt(138 / 18))
    assert mann_kendall([7, 7, 7]) == 0


def test_outliers_move_neither_the_change_nor_the_deviation() -> None:
    assert change([0, 1, 2, 3, 4]) == 4
    assert change([0, 1, 200, 3, 4]) == change([100, 1, 2, 3, 4]) == 4
    assert median_deviation([1, 2, 3, 4, 100]) == pytest.approx(1.4826)  # of 2, 1, 0, 1, 97


def test_scores_of_a_learned_discriminator_are_no_evidence_of_hacking() -> None:
    steps = hacking([i / 40 for i in range(60)], [1 - i / 40 for i in range(60)])
    assert "reward_hacking" in names(watch(steps))
    assert watch([{**step, "disc/version": float(i)} for i, step in enumerate(steps)]) == []
