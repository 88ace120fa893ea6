"""The list of tests that `make field` runs."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT
from tests.field import SUBJECTS, subjects_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_tests_of_a_subject_exist(subject: str) -> None:
    for listed in SUBJECTS[subject]:
        file, _, name = listed.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {name or 'test_'}", text, re.MULTILINE), listed


def test_a_test_counts_for_the_subjects_that_list_it_or_its_file() -> None:
    math = "tests/uniapl/rewards/test_math.py::test_no_answer_takes_long[x-y::z]"
    assert subjects_of(math) == ["answers that hang the grader", "mathematical answers"]
    assert subjects_of("tests/uniapl/rewards/test_math.py::test_another") == ["mathematical answers"]
    assert subjects_of("tests/test_field.py::test_x") == []
