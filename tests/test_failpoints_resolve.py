"""Failpoints and sabotages of `tests/faults` name functions of the service; each must exist.

The tests that use them run for hours and elsewhere, and a hook on a missing name never fires.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from functools import reduce
from pathlib import Path
from types import ModuleType

import pytest

from tests.faults.inject import sitecustomize

pytestmark = pytest.mark.integration

FAULTS = Path(__file__).parent / "faults"
FAILPOINT = re.compile(r'"(?P<module>[a-z_.]+):(?P<function>[A-Za-z_.]+):(?:before|after)(?=[":])')
HOOKS = [(module, hook) for sabotage in sitecustomize.SABOTAGES.values() for module, hook in sabotage.items()]


def failpoints() -> list[tuple[str, str]]:
    """Module and function of every failpoint that a test sets."""
    found = {
        match.group("module", "function")
        for file in FAULTS.glob("*.py")
        for match in FAILPOINT.finditer(file.read_text())
    }
    return sorted(found)


def patched(hook: sitecustomize.Hook, module: ModuleType) -> list[tuple[ModuleType, str]]:
    """Attributes of modules that a hook reads or replaces, with their modules."""
    function = ast.parse(inspect.getsource(hook)).body[0]
    assert isinstance(function, ast.FunctionDef)
    modules = {function.args.args[0].arg: module}
    for node in ast.walk(function):
        if isinstance(node, ast.ImportFrom):
            source = importlib.import_module(node.module or "")
            found = {name.name: getattr(source, name.name) for name in node.names}
            modules |= {name: value for name, value in found.items() if isinstance(value, ModuleType)}
    return [
        (modules[node.value.id], node.attr)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
    ]


@pytest.mark.parametrize(("module", "function"), failpoints())
def test_every_failpoint_names_a_function(module: str, function: str) -> None:
    found = reduce(getattr, function.split("."), importlib.import_module(module))
    assert callable(found)


@pytest.mark.parametrize(("module", "hook"), [*HOOKS, ("worker.attempt", sitecustomize._swap_trainer)])
def test_every_sabotage_replaces_what_exists(module: str, hook: sitecustomize.Hook) -> None:
    replaced = patched(hook, importlib.import_module(module))
    assert replaced
    missing = [f"{owner.__name__}.{name}" for owner, name in replaced if not hasattr(owner, name)]
    assert missing == []


def test_the_failpoints_are_found() -> None:
    """A pattern that matches nothing would pass too."""
    named = {module.split(".")[0] for module, _ in failpoints()}
    assert named == {"api", "store", "uniapl", "worker"}
    assert ("worker.attempt", "_Attempt._record_outcome") in failpoints()
