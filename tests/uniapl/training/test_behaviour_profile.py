"""Behaviour profile: exact distances, atomic files, and the measurements in the plot."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniapl.errors import DivergedError
from uniapl.training.behaviour_profile import LOGPROBS_KEPT, Profile, draw, measure, save, wasserstein

pytestmark = pytest.mark.integration

VALUES = st.lists(st.integers(-50, 50), min_size=1, max_size=12)


def profile(step: int, shift: int = 0) -> Profile:
    """Student answers `shift` tokens longer than the teacher's 10, 20 and 30."""
    return measure(step, [10 + shift, 20 + shift, 30 + shift], [10, 20, 30], [-1.0, -2.0], [-1.5, -3.5])


@given(VALUES, VALUES)
def test_the_distance_is_that_of_the_sorted_samples_repeated_to_one_size(a: list[int], b: list[int]) -> None:
    size = math.lcm(len(a), len(b))
    stretched = [sorted(values * (size // len(values))) for values in (a, b)]
    expected = sum(abs(x - y) for x, y in zip(*stretched, strict=True)) / size
    assert wasserstein(a, b) == pytest.approx(expected)
    assert wasserstein(b, a) == pytest.approx(expected)


def test_shifting_a_distribution_puts_it_as_far_away_as_the_shift() -> None:
    assert wasserstein([1.0, 5.0, 9.0], [3.5, 7.5, 11.5]) == pytest.approx(2.5)


def test_a_measurement_has_both_distances_the_ratio_and_the_quantiles() -> None:
    metrics = profile(step=5, shift=10).metrics()
    assert metrics == pytest.approx(
        {
            "profile/length_distance": 10,  # every answer is 10 tokens longer
            "profile/length_ratio": 1.5,  # 90 / 60
            "profile/student_length_p50": 30,  # of 20, 30, 40
            "profile/student_length_p95": 39,  # 0.9 of the way from 30 to 40
            "profile/logprob_distance": 1.0,  # -2 to -3.5 and -1 to -1.5: (1.5 + 0.5) / 2
            "profile/student_logprob_mean": -1.5,
            "profile/teacher_logprob_mean": -2.5,
        }
    )


def test_a_student_like_the_teacher_is_at_no_distance() -> None:
    same = measure(0, [3, 4], [4, 3], [-1.0, -2.0], [-2.0, -1.0])
    assert (same.length_distance, same.length_ratio, same.logprob_distance) == (0, 1, 0)


def test_few_log_probabilities_are_kept_and_their_distances_are_of_all() -> None:
    many = [-i / 1000 for i in range(20_000)]  # evenly spread over 0 to -20 nats
    measured = measure(0, [1], [1], many, [x - 0.25 for x in many])
    kept = measured.student.logprobs
    assert len(kept) == LOGPROBS_KEPT
    assert measured.logprob_distance == pytest.approx(0.25)
    assert measured.student.logprob_quantiles["p25"] == pytest.approx(-15, abs=0.01)
    assert wasserstein(kept, many) < 0.01  # thinned out evenly, both ends included
    assert (kept[0], kept[-1]) == (min(many), 0)
    assert measure(0, [1], [1], many[::-1], many).student.logprobs == kept


def test_log_probabilities_that_are_not_finite_end_the_run_with_advice() -> None:
    with pytest.raises(DivergedError, match="step 7") as caught:
        measure(7, [1], [1], [-1.0, math.nan], [-1.0])
    assert caught.value.param == "optimizer.learning_rate"


def test_a_saved_measurement_is_read_back_as_it_was(tmp_path: Path) -> None:
    path = save(profile(step=10, shift=3), tmp_path / "profile")
    assert path == tmp_path / "profile" / "step-00000010.json"
    assert Profile.model_validate_json(path.read_bytes()) == profile(step=10, shift=3)
    assert json.loads(path.read_text())["student"]["lengths"] == [13, 23, 33]


def test_a_step_measured_again_replaces_the_file_and_a_crash_while_writing_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(profile(step=1), tmp_path)
    path = save(profile(step=1, shift=2), tmp_path)
    before = path.read_bytes()
    assert Profile.model_validate_json(before).length_distance == 2

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        save(profile(step=1, shift=4), tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_one_measurement_is_enough_for_a_picture(tmp_path: Path) -> None:
    save(profile(step=0), tmp_path)
    picture = draw(tmp_path)
    assert picture == tmp_path / "profile.png"
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (1500, 750)  # 10 by 5 inches at 150 dots


def test_the_picture_shows_the_first_the_middle_and_the_last_measurement(tmp_path: Path) -> None:
    for step in range(5):
        save(profile(step), tmp_path)
    drawn = draw(tmp_path).read_bytes()
    changes = []
    for step in range(5):
        save(profile(step, shift=9), tmp_path)
        changes.append(draw(tmp_path).read_bytes() != drawn)
        save(profile(step), tmp_path)
    assert changes == [True, False, True, False, True]


def test_profiles_need_neither_torch_nor_matplotlibs_global_state() -> None:
    loaded = "'torch' in sys.modules or 'matplotlib.pyplot' in sys.modules"
    code = f"import sys, uniapl.training.behaviour_profile; sys.exit({loaded})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
