"""The OpenAPI document, from which SDKs are generated: names of operations and schemas, tags, and its language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from api.main import create_app
from store.settings import Settings
from tests.conftest import ROOT
from tests.plain_english import NOT_PLAIN

pytestmark = pytest.mark.unit
PAGE = ROOT / "docs" / "api.md"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_operation_ids_are_method_names_and_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert [name for name in ids if not re.fullmatch(r"[a-z][A-Za-z0-9]*", name)] == []
    assert len(ids) == len(set(ids)) > 40
    assert document["paths"]["/jobs"]["post"]["operationId"] == "createJob"


def test_schema_names_are_class_names(document: dict[str, Any]) -> None:
    names = set(document["components"]["schemas"])
    assert [name for name in names if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name)] == []
    assert {"Job", "JobSpec", "JobPage", "StoredRowPage", "NewUpload"} <= names


def test_every_tag_is_described_and_every_description_used(document: dict[str, Any]) -> None:
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    assert described == {tag for _, operation in operations(document) for tag in operation["tags"]}
    assert "OpenAI-compatible" in described


def test_every_operation_is_described_in_plain_english(document: dict[str, Any]) -> None:
    texts = {f"tag {tag['name']}": tag["description"] for tag in document["tags"]}
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        texts |= {name: f"{operation['summary']} {operation['description']}"}
        texts |= {f"{name} {p['name']}": p.get("description", "") for p in operation.get("parameters", [])}
    assert {name: found[0] for name, text in texts.items() if (found := NOT_PLAIN.search(text))} == {}


def documented() -> Iterator[tuple[str, str, str]]:
    """Method, path and scope of each route in the table of docs/api.md; `…` is any path below the same folder."""
    for cells, scope in re.findall(r"^\| (`(?:GET|POST|PUT).*?) \| `?([a-z:]+)`? \|", PAGE.read_text(), re.MULTILINE):
        method, folder = "", ""
        for given, path in re.findall(r"`(?:([A-Z]+) )?([^`]+)`", cells):
            method, folder = given or method, path.split("/")[1] if path.startswith("/") else folder
            yield method, path.replace("…", f"/{folder}(/.*)?"), scope


def test_the_table_of_routes_is_complete_and_has_their_scopes(document: dict[str, Any]) -> None:
    table = list(documented())
    missing = []
    for name, operation in operations(document):
        method, path = name.split()
        scope = next((scopes[0] for security in operation.get("security", []) for scopes in security.values()), "none")
        path = re.sub(r"\{(?!name)[a-z_]+\}", "{id}", path)
        if path.startswith("/v1/"):  # one line of the table for all
            continue
        if not any(
            (method.upper(), scope) == (m, s) and re.fullmatch(re.sub(r"([{}])", r"\\\1", p), path) for m, p, s in table
        ):
            missing.append(f"{method} {path} ({scope})")
    assert not missing
