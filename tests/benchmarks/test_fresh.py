"""Comparability checks and run order of benchmarks."""

from __future__ import annotations

import math

import pytest

from benchmarks.fresh import TOLERANCES, alternate, require_agreement

pytestmark = pytest.mark.unit
TOLERANCE = TOLERANCES["cpu"]


def test_the_difference_of_gradients_within_the_tolerance_is_returned() -> None:
    norms = {"TRL": [2.0, 3.0], "ours": [2.0, 3.0 * (1 + TOLERANCE / 2)]}
    assert require_agreement(norms, "a case") == pytest.approx(TOLERANCE / 2, rel=1e-6)


@pytest.mark.parametrize("later", [3.0 * (1 + 2 * TOLERANCE), 3.0 * (1 - 2 * TOLERANCE), math.nan, math.inf])
def test_a_difference_in_a_later_step_ends_the_comparison(later: float) -> None:
    with pytest.raises(SystemExit, match="a case: the gradient norms differ, so the speeds are not comparable"):
        require_agreement({"TRL": [2.0, 3.0], "TRL again": [2.0, 3.0], "ours": [2.0, later]}, "a case")


def test_fewer_steps_of_one_side_are_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        require_agreement({"TRL": [2.0, 3.0], "ours": [2.0]}, "a case")


def test_sides_take_turns_so_that_a_tiring_machine_is_fair_to_both() -> None:
    seen = iter(range(4))
    runs = alternate(("a", "b"), lambda kind: {"kind": kind, "at": next(seen)})
    assert {kind: [run["at"] for run in found] for kind, found in runs.items()} == {"a": [0, 3], "b": [1, 2]}
