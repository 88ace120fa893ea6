"""The OpenAPI document, from which SDKs are generated: names of operations and schemas, tags, and its language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from api.main import create_app
from store.settings import Settings
from tests.plain_english import NOT_PLAIN

pytestmark = pytest.mark.unit


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
