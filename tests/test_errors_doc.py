"""docs/errors.md lists every code that the sources can answer with, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from tests.conftest import ROOT
from uniapl import errors

pytestmark = pytest.mark.unit

TRAINERS = {value.code for value in vars(errors).values() if isinstance(value, type) and hasattr(value, "code")}
TRAINERS -= {errors.UniaplError.code, errors.MisfitError.code}
ANSWERED = {errors.SpecError.code, errors.DatasetError.code, errors.MisfitError.code}
ANSWERED |= {errors.VllmMissingError.code, errors.SamplerRefusedError.code, errors.LibraryMissingError.code}
"""Errors of the library that the API, too, answers with."""


def documented(part: str) -> set[str]:
    text = (ROOT / "docs" / "errors.md").read_text().split("## ")
    [section] = [section for section in text if section.startswith(part)]
    return set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))


def literals(folders: Iterable[str], *patterns: str) -> set[str]:
    sources = [path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return {code for source in sources for pattern in patterns for code in re.findall(pattern, source)}


def test_codes_of_answers() -> None:
    name = r'"([a-z_]+)"'
    raised = literals(["api", "store"], rf"(?:Conflict|Forbidden|Gone)\(\s*{name}", rf"\bproblem\(\s*\d+,\s*{name}")
    raised |= literals(["api"], r'\(4\d\d, "([a-z]+_[a-z_]+)"', r'40\d: "([a-z_]+)"', r'_status_code, "([a-z_]+)"')
    raised |= {f"{kind}_not_found" for kind in literals(["api", "store"], r'NotFound\("([a-z]+)"')} - {"key_not_found"}
    assert documented("Codes of answers") == raised | ANSWERED | {"http_error"}


def test_codes_of_jobs_that_failed() -> None:
    raised = literals(["worker"], r'_failure\(\s*"([a-z_]+)"', r'code="([a-z_]+)"', r'else "([a-z]+_error)"')
    assert documented("Codes of jobs") == raised | TRAINERS | literals(["store"], r'"code": "([a-z_]+)"')
