"""The list of tests that `make field` runs."""

from __future__ import annotations

import re
from typing import Literal

import pytest

from tests.conftest import ROOT
from tests.field import SUBJECTS, Table, subjects_of

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


def test_a_subject_is_complete_with_tests_that_pass_and_none_that_fails() -> None:
    table = Table()
    assert not table.complete
    for listed in SUBJECTS.values():
        table.pytest_runtest_logreport(report(listed[0], "passed"))
        table.pytest_runtest_logreport(report(listed[0], "skipped"))
    assert table.complete
    table.pytest_runtest_logreport(report("tests/uniapl/rewards/test_math.py::test_x", "failed"))
    assert not table.complete
    [line] = [line for line in table.lines() if line.startswith("mathematical answers")]
    assert line.split()[-3:] == ["1", "1", "1"]


def report(test: str, outcome: Literal["passed", "failed", "skipped"]) -> pytest.TestReport:
    return pytest.TestReport(test, (test, 1, test), {}, outcome, None, "call")
