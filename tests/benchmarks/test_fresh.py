"""What a comparison of two sides refuses to tell."""

from __future__ import annotations

import math

import pytest

from benchmarks.fresh import TOLERANCE, alternate, require_agreement

pytestmark = pytest.mark.unit


def test_gradients_that_agree_in_every_step_are_told_by_how_much_they_differ() -> None:
    norms = {"TRL": [2.0, 3.0], "ours": [2.0, 3.0 * (1 + TOLERANCE / 2)]}
    assert require_agreement(norms, "a case") == pytest.approx(TOLERANCE / 2, rel=1e-6)


@pytest.mark.parametrize("later", [3.0 * (1 + 2 * TOLERANCE), 3.0 * (1 - 2 * TOLERANCE), math.nan, math.inf])
def test_no_speed_is_told_where_a_later_step_differs(later: float) -> None:
    with pytest.raises(SystemExit, match="a case: the gradients disagree, so no speed is told"):
        require_agreement({"TRL": [2.0, 3.0], "TRL again": [2.0, 3.0], "ours": [2.0, later]}, "a case")


def test_no_speed_is_told_where_a_side_made_fewer_steps() -> None:
    with pytest.raises(ValueError, match="shorter"):
        require_agreement({"TRL": [2.0, 3.0], "ours": [2.0]}, "a case")


def test_sides_take_turns_so_that_a_tiring_machine_is_fair_to_both() -> None:
    seen = iter(range(4))
    runs = alternate(("a", "b"), lambda kind: {"kind": kind, "at": next(seen)})
    assert {kind: [run["at"] for run in found] for kind, found in runs.items()} == {"a": [0, 3], "b": [1, 2]}
