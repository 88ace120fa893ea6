"""Mathematical verdicts equal those of a person who marks exams, in bounded time."""

from __future__ import annotations

import time

import pytest

from tests.uniapl.rewards import math_verdicts
from tests.uniapl.rewards.math_verdicts_forms import FORMS
from tests.uniapl.rewards.math_verdicts_reports import REPORTED
from uniapl.errors import RewardError
from uniapl.rewards.math_answer import is_equal

pytestmark = pytest.mark.unit

VERDICTS = math_verdicts.VERDICTS | REPORTED | FORMS


@pytest.mark.parametrize("group", VERDICTS)
def test_every_verdict_is_that_of_an_examiner(group: str) -> None:
    wrong = [(gold, answer, right) for gold, answer, right in VERDICTS[group] if is_equal(answer, gold) != right]
    assert not wrong


def test_the_table_is_large_and_has_both_verdicts() -> None:
    pairs = [pair for group in VERDICTS.values() for pair in group]
    assert len(pairs) >= 600
    assert sum(right for *_, right in pairs) >= 250
    assert sum(not right for *_, right in pairs) >= 250


def test_every_gold_of_the_table_equals_itself() -> None:
    golds = {gold for group in VERDICTS.values() for gold, *_ in group}
    assert [gold for gold in golds if not is_equal(f"\\boxed{{{gold}}}", gold)] == []


@pytest.mark.parametrize("gold", ["}{", r"\boxed{", "$$", "?", "..."])
def test_a_gold_that_no_answer_can_equal_is_refused(gold: str) -> None:
    with pytest.raises(RewardError, match="is not mathematics"):
        is_equal("3", gold)


@pytest.mark.parametrize(
    "answer",
    [
        r"\boxed{9^{9^{9^{9}}}}",
        r"\boxed{" + "9^{" * 200 + "9" + "}" * 200 + "}",
        r"\boxed{99999999999999999999!}",
        r"\boxed{((((9!)!)!)!)!}",
        r"\boxed{\binom{10^{10}}{10^{9}}}",
        r"\boxed{e^{e^{e^{e^{99}}}}}",
        r"\boxed{\sin(10^{10^{10}})}",
        r"\boxed{10^{-10^{10^{10}}}}",
        r"\boxed{1e999999999}",
        r"\boxed{" + "(" * 5000 + "1" + ")" * 5000 + "}",
        r"\boxed{" + "1+" * 20000 + "1}",
        r"\boxed{" + "x, " * 20000 + "}",
        r"\boxed{\sum_{n=1}^{10^{12}} \frac{1}{n}}",
        r"\boxed{\int_0^{1} e^{e^{x^{x}}} \sin(x^{x}) dx}",
        r"\boxed{\prod_{n=1}^{10^9} n}",
        r"\boxed{\lim_{x \to 0} (\sin x / x)^{1/x^{2}}}",
        "the answer is " + "is " * 20000,
        "$" * 20000,
        r"\boxed{" * 3000,
        "<answer>" * 20000,
        "9" * 100_000,
        r"\boxed{" + "9" * 100_000 + "}",
    ],
    ids=lambda answer: answer[:24],
)
def test_no_answer_takes_long(answer: str) -> None:
    begun = time.process_time()
    assert not is_equal(answer, "72")
    assert not is_equal(answer, r"x^2+\frac{1}{3}")
    assert time.process_time() - begun < 2
