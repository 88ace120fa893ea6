"""The tiers of tests and the make targets that run them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import LONG, ROOT
from tests.tiers import TIERS

pytestmark = pytest.mark.integration
pytest_plugins = "pytester"

EXPRESSIONS = {
    "test-unit": {"unit"},
    "test": {"unit or integration"},
    "check": {"integration or full"},  # after `test-unit`
    "contract": {"contract"},
    "vllm": {"vllm"},
    "compose-test": {"engine or engine_short"},
    "faults": {"faults or faults_short"},
    "faults-short": {"faults_short"},
}
"""The tiers that each make target selects."""
PYTEST = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
FILES = sorted((ROOT / "tests").rglob("test_*.py"))


def recipes() -> dict[str, str]:
    """The commands of each make target."""
    found: dict[str, str] = {}
    target = ""
    for line in (ROOT / "Makefile").read_text().splitlines():
        if named := re.match(r"([a-z-]+):(?!=)", line):
            target = named[1]
        elif line.startswith("\t"):
            found[target] = found.get(target, "") + line + "\n"
    return found


def marker_names(node: ast.expr) -> set[str]:
    """The X of every `pytest.mark.X` in an expression."""
    attributes = [part for part in ast.walk(node) if isinstance(part, ast.Attribute)]
    return {part.attr for part in attributes if ast.unparse(part.value) == "pytest.mark"}


def tiers_of_module(file: Path) -> set[str]:
    """The tiers of the file's `pytestmark`."""
    body = ast.parse(file.read_text()).body
    given = [
        node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
    ]
    return {name for value in given for name in marker_names(value)} & set(TIERS)


def test_each_file_gives_its_tests_one_tier() -> None:
    assert [str(file.relative_to(ROOT)) for file in FILES if len(tiers_of_module(file)) != 1] == []


def expressions(recipe: str) -> set[str]:
    """The `-m` expressions of the pytest commands."""
    return set(re.findall(r"(?:pytest|PYTEST\)) .*?-m \"?([a-z_]+(?: or [a-z_]+)*)", recipe))


def test_each_target_selects_its_tiers_and_every_tier_has_a_target() -> None:
    found = {target: expressions(recipe) for target, recipe in recipes().items()}
    assert {target: selected for target, selected in found.items() if selected} == EXPRESSIONS
    assert {tier for selected in EXPRESSIONS.values() for one in selected for tier in one.split(" or ")} == set(TIERS)


def test_no_target_and_no_step_of_ci_selects_tests_by_name() -> None:
    commands = "".join(recipes().values()) + (ROOT / ".ci" / "run").read_text()
    assert not re.search(r"\s-k\b", commands)


def test_a_submission_runs_every_tier_that_needs_nothing_else() -> None:
    steps = [line.split()[1] for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make ")]
    assert steps[:2] == ["check", "faults-short"]
    assert {"gpu-check", "compose-test-or-skip"} <= set(steps)
    assert "$(MAKE) --no-print-directory test-unit" in recipes()["check"]


def test_the_long_files_exist() -> None:
    names = [str(file.relative_to(ROOT)) for file in FILES]
    assert [part for part in LONG if not any(part in name for name in names)] == []


def test_markers_are_documented() -> None:
    assert [marker.split(":")[0] for marker in PYTEST["markers"]] == list(TIERS)


TESTS = """
import pytest
UNIT, FULL, SHORT = pytest.mark.unit, pytest.mark.full, pytest.mark.faults_short

@UNIT
@pytest.mark.parametrize("kind", ["first", pytest.param("second", marks=FULL)])
def test_raised(kind): pass

@pytest.mark.faults
@SHORT
def test_short(): pass
"""


OPTIONS = ("-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "-v")


@pytest.fixture
def selected(pytester: pytest.Pytester) -> Callable[[str, str], str]:
    """The report of pytest about a source and a `-m` expression, with the hooks that select tests."""
    pytester.makeconftest("from tests.conftest import pytest_collection_modifyitems, pytest_ignore_collect")

    def run(source: str, expression: str) -> str:
        result = pytester.runpytest_inprocess(*OPTIONS, "-m", expression, pytester.makepyfile(test_it=source))
        return str(result.stdout) + str(result.stderr)

    return run


@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ("unit", ["test_raised[first]"]),
        ("unit or full", ["test_raised[first]", "test_raised[second]"]),
        ("full", ["test_raised[second]"]),
        ("faults", []),
        ("faults or faults_short", ["test_short"]),
        ("faults_short", ["test_short"]),
    ],
)
def test_of_several_tiers_the_last_counts(
    selected: Callable[[str, str], str], expression: str, passed: list[str]
) -> None:
    assert re.findall(r"::(\S+) PASSED", selected(TESTS, expression)) == passed


def test_a_test_without_a_tier_is_refused(selected: Callable[[str, str], str]) -> None:
    report = selected("def test_it(): pass", "unit")
    assert "test_it belongs to no tier. Add `pytestmark = pytest.mark.<tier>`" in report


def test_a_unit_test_with_torch_a_process_or_a_server_fails(tmp_path: Path) -> None:
    does = {
        "import torch": "imports torch",
        "import subprocess; subprocess.run(['true'])": "starts a process",
        "import os; os.fork() or os._exit(0)": "starts a process",
        "import socket; socket.create_server(('127.0.0.1', 0))": "opens a server",
    }
    tests = [
        f"@pytest.mark.unit\ndef test_{number}():\n    try:\n        {body}\n    except Exception: pass\n"
        for number, body in enumerate(does)
    ]
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_collection")
    (tmp_path / "test_it.py").write_text("import pytest\n\n" + "\n".join(tests))
    command = [sys.executable, "-m", "pytest", *OPTIONS, f"--rootdir={tmp_path}", "-m", "unit", str(tmp_path)]
    report = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    failed = re.findall(r"^E .*NotUnitError: a test of the unit tier (.*);", report, re.MULTILINE)
    assert failed == list(does.values())
