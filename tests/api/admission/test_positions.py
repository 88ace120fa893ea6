"""Validation of a job against the student's number of positions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.main import create_app
from store.settings import Settings
from tests.api.admission.conftest import SMALL, train_rows, validation
from tests.api.conftest import new_key
from tests.api.routes.test_jobs import body
from tests.conftest import MODELS

pytestmark = pytest.mark.integration


@pytest.fixture
def students(database_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """The application with two students of 200 positions."""
    registry: dict[str, Any] = {"all-MiniLM-L6-v2": {"kind": "discriminator", "path": str(MODELS / "all-minilm-l6-v2")}}
    for name, config in (
        ("table", {"model_type": "gpt2", "n_positions": 200}),
        ("rotary", {"model_type": "llama", "max_position_embeddings": 200}),
    ):
        folder = tmp_path / name
        shutil.copytree(MODELS / "tiny-random-llama", folder)
        (folder / "config.json").write_text(json.dumps(config))
        registry[name] = {"kind": "student", "path": str(folder)}
    (tmp_path / "models.json").write_text(json.dumps(registry))
    settings = Settings(data_dir=tmp_path, database_url=database_url, models_file=tmp_path / "models.json")
    with TestClient(create_app(settings)) as client:
        client.headers["authorization"] = f"Bearer {new_key(client)}"
        yield client


def found(client: TestClient, student: str, tokens: int) -> Any:
    rollout = {"max_new_tokens": tokens}
    return validation(client, body(train_rows(client), **SMALL | {"student": student, "rollout": rollout}))


def test_a_student_with_a_table_of_positions_is_refused_with_the_numbers(students: TestClient) -> None:
    (problem,) = found(students, "table", 190)["problems"]
    assert problem["param"] == "rollout.max_new_tokens"
    assert "prompt and answer together, and the student has 200 positions: its forward fails" in problem["message"]
    assert found(students, "table", 16)["problems"] == []


def test_a_student_with_rotary_positions_gets_a_warning(students: TestClient) -> None:
    answer = found(students, "rotary", 190)
    assert answer["valid"]
    assert any("the student has 200 positions: it was not pretrained beyond them" in w for w in answer["warnings"])
    assert not any("positions" in w for w in found(students, "rotary", 16)["warnings"])
