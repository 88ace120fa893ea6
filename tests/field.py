"""Tests of other people's inputs, by subject: `python -m tests.field` runs them and prints a table.

Each subject lists files of tests, or single tests as `file::test`. `make field` reads 5,000 random rows beside them.
"""

from __future__ import annotations

import sys
from collections import Counter

import pytest

IMPORTERS = "tests/uniapl/spec/importers"
EXPORT = "tests/uniapl/model/test_export.py"
SUBJECTS: dict[str, tuple[str, ...]] = {
    "rows of other tools": (f"{IMPORTERS}/test_other_tools.py", f"{IMPORTERS}/test_published_sets.py"),
    "rows in other layouts": (f"{IMPORTERS}/test_layouts.py",),
    "random rows of these formats": (f"{IMPORTERS}/test_field_rows.py",),
    "files of other kinds": (
        "tests/store/datasets/test_ingest.py::test_a_file_of_another_kind_is_refused_with_what_converts_it",
        "tests/store/datasets/test_ingest.py::test_an_array_is_refused_with_the_command_that_converts_it",
        "tests/store/datasets/test_ingest.py::test_a_column_of_pictures_is_refused_and_an_empty_one_is_not",
        "tests/store/datasets/test_ingest.py::test_every_packing_gives_the_same_rows",
    ),
    "answers that hang the grader": (
        "tests/uniapl/rewards/test_pool.py::test_a_step_of_which_a_quarter_hangs_is_judged_rightly",
        "tests/uniapl/rewards/test_pool.py::test_an_answer_that_takes_too_long_fails_alone",
        "tests/uniapl/rewards/test_math.py::test_no_answer_takes_long",
    ),
    "golds that cannot be judged": ("tests/uniapl/rewards/test_gold_check.py",),
    "mathematical answers": ("tests/uniapl/rewards/test_math.py",),
    "IFEval's constraints": ("tests/uniapl/rewards/test_ifeval.py", "tests/uniapl/rewards/test_constraints.py"),
    "LoRA on a tied output head": (
        f"{EXPORT}::test_tied_weights_that_differ_are_not_declared_tied",
        f"{EXPORT}::test_a_head_that_is_not_the_embeddings_is_saved_although_the_config_ties_them",
        f"{EXPORT}::test_merged_weights_are_the_adapted_student",
    ),
    "tokens of prompts and references": ("tests/uniapl/data/test_encoding.py", "tests/uniapl/chat/test_renderer.py"),
    "references under thinking templates": ("tests/uniapl/data/test_reasoning.py",),
    "references of SentencePiece students": ("tests/uniapl/chat/test_sentencepiece.py",),
    "students' folders": ("tests/uniapl/model/test_student_folders.py",),
    "students' vocabularies and stop tokens": (
        "tests/uniapl/model/test_end_of_turn.py",
        "tests/uniapl/model/test_policy.py::test_a_completion_ends_at_the_end_token_or_is_marked_truncated",
        "tests/uniapl/model/test_vocabulary.py",
    ),
    "resumed runs and their reports": (
        "tests/uniapl/training/test_resumed_spec.py",
        "tests/uniapl/model/test_policy.py::test_supervised_fine_tuning_teaches_at_the_default_learning_rate",
    ),
    "teachers that refuse max_tokens": ("tests/uniapl/teachers/test_parameters.py",),
}


class Table:
    """A pytest plugin that counts the outcomes of each subject's tests."""

    def __init__(self) -> None:
        self._found: dict[str, Counter[str]] = {subject: Counter() for subject in SUBJECTS}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the report of a test, or of its failed setup."""
        if report.when == "call" or not report.passed:
            for subject in subjects_of(report.nodeid):
                self._found[subject][report.outcome] += 1

    def lines(self) -> list[str]:
        """The table, with a line for each subject."""
        width = max(map(len, SUBJECTS))
        outcomes = ("passed", "failed", "skipped")
        rows = ("".join(f"{found[outcome]:9}" for outcome in outcomes) for found in self._found.values())
        head = f"{'subject':{width}}" + "".join(f"{outcome:>9}" for outcome in outcomes)
        return [head, *(f"{subject:{width}}{row}" for subject, row in zip(self._found, rows, strict=True))]

    @property
    def complete(self) -> bool:
        """Whether each subject has tests that passed, and none that failed."""
        return all(found["passed"] and not found["failed"] for found in self._found.values())


def subjects_of(test: str) -> list[str]:
    """The subjects that list a test, or its file."""
    name = test.partition("[")[0]
    return [subject for subject, listed in SUBJECTS.items() if name in listed or name.split("::")[0] in listed]


def main(arguments: list[str]) -> int:
    """Run the tests, print the table, and return the exit status."""
    table = Table()
    listed = sorted({test for tests in SUBJECTS.values() for test in tests})
    status = pytest.main([*listed, *arguments], plugins=[table])
    print("", *table.lines(), sep="\n")
    return int(status) or int(not table.complete)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
