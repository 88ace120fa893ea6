"""One step as a line: its terms add up to its loss."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from uniapl.run.progress import Progress
from uniapl.spec.steps import step_line

pytestmark = pytest.mark.unit

VALUES = {
    "loss": 0.3 * 2.0 + 0.7 * 0.5 + 0.001 * -19.7,
    "uniapl/alpha": 0.3,
    "uniapl/lambda_adv": 0.001,
    "uniapl/loss_sft": 2.0,
    "uniapl/loss_grpo": 0.5,
    "uniapl/loss_adv": -19.7,
    "reward": 0.25,
    "disc/score_student": 0.6,
    "grad_norm": 1.5,
    "step_time": 31.18,
}


def test_terms_are_shown_as_they_are_weighted_in_the_loss() -> None:
    line = step_line(3, 10, VALUES, 218.2)
    assert line == (
        "step    3/10  loss 0.9303  sft 0.6  grpo 0.35  adv -0.0197  |g| 1.5  reward 0.25  score 0.6  "
        "31.2 s  ETA 0:03:38"
    )
    loss, *terms = (float(number) for number in re.findall(r"(?:loss|sft|grpo|adv) (-?[\d.]+)", line))
    assert sum(terms) == pytest.approx(loss, abs=2e-4)


def test_what_a_mode_has_not_is_left_out_and_the_last_step_has_no_time_left() -> None:
    values = {"loss": 2.0, "uniapl/alpha": 1.0, "uniapl/lambda_adv": 0.0, "uniapl/loss_sft": 2.0, "step_time": 0.5}
    assert step_line(10, 10, values, 0.0) == "step   10/10  loss 2  sft 2  0.5 s"
    assert step_line(1, 10, {}, None) == "step    1/10  "


def test_the_time_left_goes_by_the_median_of_recent_steps(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    for step, seconds in enumerate([100.0, *[1.0] * 20, 2.0], start=1):
        progress.print_step(step, 24, {"step_time": seconds})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 22
    assert lines[0].endswith("100.0 s  ETA 0:38:20")
    assert lines[-1].endswith("2.0 s  ETA 0:00:02")
    assert all(a != b for a, b in pairwise(lines))
