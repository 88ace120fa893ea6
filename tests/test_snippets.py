"""Every job that a reader can paste from the documentation ends within minutes: it is no larger than the demo's."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.examples import JOB_EXAMPLES
from api.openai.mapping import FineTuningRequest, to_spec
from tests.conftest import MODELS, ROOT
from uniapl.estimate import plan
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.unit

ROWS = ROOT / "examples" / "data" / "train.jsonl"
PAGES = [ROOT / "README.md", ROOT / "client" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
AT_MOST = 1.25
"""Of the demo's tokens."""


def tokens(spec: JobSpec) -> float:
    """Of all steps, on the demo's rows."""
    entries = plan.read_entries(
        spec, ModelSource(path=str(MODELS / "smollm2-135m-instruct")), [(ROWS, 201)] * len(spec.dataset_mix)
    )
    return spec.schedule.steps * plan.usual_step(spec, entries, None).tokens


def specs_in(page: Path) -> list[JobSpec]:
    """The jobs of a page: of its Python calls, of its JSON wherever it stands, of the spec files that it submits."""
    text = page.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    found = [spec for block in blocks for spec in _of_python(block)]
    found += [JobSpec.model_validate(given) for given in _of_json(text)]
    files = re.findall(r"uniapl submit (\S+\.json)", text)
    return found + [JobSpec.model_validate_json((ROOT / name).read_bytes()) for name in files if (ROOT / name).exists()]


def _of_python(block: str) -> Iterator[JobSpec]:
    for node in ast.walk(ast.parse(block, feature_version=(3, 11))):
        if not isinstance(node, ast.Call) or not re.search(r"jobs\.create(_and_wait)?$", ast.unparse(node.func)):
            continue
        given = {word.arg: _value(word.value) for word in node.keywords if word.arg is not None}
        if "fine_tuning" in ast.unparse(node.func):
            yield to_spec(FineTuningRequest.model_validate(given), rows=201)
        elif given:
            yield JobSpec.model_validate({name: given[name] for name in given if name in JobSpec.model_fields})


def _value(node: ast.expr) -> Any:
    """A literal; names, such as a dataset's id, become a word."""
    match node:
        case ast.Dict():
            return {ast.literal_eval(k): _value(v) for k, v in zip(node.keys, node.values, strict=True) if k}
        case ast.List():
            return [_value(part) for part in node.elts]
        case ast.Constant():
            return node.value
        case _:
            return "a-name"


def _of_json(text: str) -> Iterator[dict[str, Any]]:
    decoder, place = json.JSONDecoder(), 0
    while (place := text.find("{", place)) >= 0:
        try:
            given, place = decoder.raw_decode(text, place)
        except ValueError:
            place += 1
            continue
        given = given.get("spec", given)
        if "student" in given and "dataset_mix" in given:
            yield given


@pytest.fixture(scope="module")
def bound() -> float:
    return AT_MOST * tokens(JobSpec.model_validate_json((ROOT / "examples" / "uniapl.json").read_bytes()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_job_of_a_page_is_small(page: Path, bound: float) -> None:
    for spec in specs_in(page):
        assert tokens(spec) <= bound, spec.model_dump_json(include={"schedule", "rollout", "grpo"})


def test_the_jobs_of_the_guides_are_found() -> None:
    found = {str(page.relative_to(ROOT)): len(specs_in(page)) for page in PAGES}
    guides = {"README.md": 2, "client/README.md": 1, "docs/train.md": 3, "docs/api.md": 1}
    assert {name: count for name, count in found.items() if count} == guides


def test_a_job_by_the_defaults_is_large(bound: float) -> None:
    small = {"student": "s", "dataset_mix": [{"dataset": "d"}]}
    assert tokens(JobSpec.model_validate(small)) > 1000 * bound


@pytest.mark.parametrize("name", JOB_EXAMPLES)
def test_every_example_of_the_api_is_small(name: str, bound: float) -> None:
    assert tokens(JobSpec.model_validate(JOB_EXAMPLES[name]["value"])) <= bound
