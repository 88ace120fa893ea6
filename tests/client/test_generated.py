"""The sync client is what the async one generates, and the typed keywords are the fields of the job spec."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from uniapl_client import JobFields, JobSpec

from tests.conftest import ROOT

pytestmark = pytest.mark.integration

CLIENT = ROOT / "client"


def generator() -> ModuleType:
    found = importlib.util.spec_from_file_location("generate", CLIENT / "generate.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_generated_files_are_not_stale() -> None:
    there = {path.name: path.read_text() for path in (CLIENT / "uniapl_client" / "_sync").glob("*.py")}
    assert there == generator().generate(), "run `make client`"


def test_the_typed_keywords_are_the_fields_of_the_spec() -> None:
    module = generator()
    assert module.FIELDS.read_text() == module.generate_fields(), "run `make client`"
    assert JobFields.__annotations__.keys() == JobSpec.model_fields.keys()
