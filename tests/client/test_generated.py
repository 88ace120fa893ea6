"""The sync client is what the async one generates."""

from __future__ import annotations

import importlib.util

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.integration

CLIENT = ROOT / "client"


def test_the_generated_files_are_not_stale() -> None:
    found = importlib.util.spec_from_file_location("generate", CLIENT / "generate.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    there = {path.name: path.read_text() for path in (CLIENT / "uniapl_client" / "_sync").glob("*.py")}
    assert there == module.generate(), "run `make client`"
