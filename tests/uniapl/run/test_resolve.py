"""Resolution of a run.json: models by the registry's names, datasets by paths."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from uniapl.errors import DatasetError, SpecError
from uniapl.run.config import ModelSource, RunConfig
from uniapl.run.registry import read_registry
from uniapl.run.resolve import resolve

pytestmark = pytest.mark.unit


def run(dataset: str = "rows.jsonl", **fields: Any) -> RunConfig:
    spec = {"student": "stu", "dataset_mix": [{"dataset": dataset}], "lambda_adv": 0.1, **fields.pop("spec", {})}
    return RunConfig.model_validate({"run_dir": "r", "spec": spec, **fields})


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The folder of run.json, and the working directory, which has a registry."""
    beside, here = tmp_path / "beside", tmp_path / "here"
    beside.mkdir()
    here.mkdir()
    models = {"stu": {"kind": "student", "path": "m/s"}, "all-MiniLM-L6-v2": {"kind": "discriminator", "path": "/d"}}
    (here / "models.json").write_text(json.dumps(models))
    monkeypatch.chdir(here)
    monkeypatch.delenv("UNIAPL_MODELS_FILE", raising=False)
    return beside, here


def test_models_have_the_names_of_the_registry_here_or_where_the_setting_says(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, here = folders
    (here / "rows.jsonl").write_text("")
    found = resolve(run(), beside).models
    assert found == {"stu": ModelSource(path=str(here / "m/s")), "all-MiniLM-L6-v2": ModelSource(path="/d")}
    (beside / "other.json").write_text(json.dumps({"stu": {"kind": "student", "hub": "x/y"}}))
    monkeypatch.setenv("UNIAPL_MODELS_FILE", str(beside / "other.json"))
    found = resolve(run(), beside).models
    assert found["stu"] == ModelSource(hub="x/y")
    assert found["all-MiniLM-L6-v2"] == ModelSource(hub="all-MiniLM-L6-v2")  # not registered there


def test_entries_of_the_launcher_are_kept_and_the_registry_is_not_read(folders: tuple[Path, Path]) -> None:
    beside, here = folders
    (here / "models.json").write_text("no registry")
    given = {"stu": {"path": "/s"}, "all-MiniLM-L6-v2": {"path": "/d"}}
    whole = run("ds_1", datasets={"ds_1": "/data/one.jsonl"}, models=given)
    dated = whole.spec.with_backend(vllm=False).with_date(datetime.now(UTC).date())
    assert resolve(whole, beside) == whole.model_copy(update={"spec": dated})
    with pytest.raises(SpecError, match="cannot read the model registry"):
        resolve(run("ds_1", datasets={"ds_1": "/x"}, models={"stu": {"path": "/s"}}), beside)


def test_a_resumed_run_has_the_date_of_its_checkpoint(folders: tuple[Path, Path], tmp_path: Path) -> None:
    beside, here = folders
    (here / "rows.jsonl").write_text("")
    first = run().spec.with_date(date(2024, 7, 26))
    (tmp_path / "spec.json").write_text(first.model_dump_json())
    assert resolve(run(resume_from=str(tmp_path)), beside).spec.data.date == date(2024, 7, 26)
    assert resolve(run(spec={"data": {"date": "2023-01-02"}}), beside).spec.data.date == date(2023, 1, 2)
    (tmp_path / "spec.json").write_text('{"data": {}}')
    assert resolve(run(resume_from=str(tmp_path)), beside).spec.data.date == datetime.now(UTC).date()


def test_a_name_of_the_other_kind_is_refused(folders: tuple[Path, Path]) -> None:
    beside, here = folders
    (here / "rows.jsonl").write_text("")
    with pytest.raises(SpecError, match="all-MiniLM-L6-v2 is a discriminator, not a student"):
        resolve(run(spec={"student": "all-MiniLM-L6-v2"}), beside)


def test_a_dataset_path_is_relative_to_the_file_then_to_the_working_directory(folders: tuple[Path, Path]) -> None:
    beside, here = folders
    with pytest.raises(DatasetError) as caught:
        resolve(run(spec={"evaluation": {"dataset": "rows.jsonl"}}), beside)
    assert str(beside / "rows.jsonl") in caught.value.message
    assert str(here / "rows.jsonl") in caught.value.message
    assert caught.value.param in ("dataset_mix.0.dataset", "evaluation.dataset")
    (here / "rows.jsonl").write_text("")
    assert resolve(run(), beside).dataset_path("rows.jsonl").resolve() == here / "rows.jsonl"
    (beside / "rows.jsonl").write_text("")
    assert resolve(run(), beside).dataset_path("rows.jsonl").resolve() == beside / "rows.jsonl"


def test_no_registry_is_an_empty_one(tmp_path: Path) -> None:
    assert read_registry(tmp_path / "models.json") == {}
