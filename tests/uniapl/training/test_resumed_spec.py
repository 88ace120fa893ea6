"""A resumed run names the fields that differ from its checkpoint's spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uniapl.spec.job import JobSpec
from uniapl.training.resumed_spec import changed_fields

pytestmark = pytest.mark.integration


def spec(**fields: Any) -> JobSpec:
    given: dict[str, Any] = {"student": "s", "dataset_mix": [{"dataset": "a.jsonl"}], "lora": {"rank": 4}}
    return JobSpec.model_validate(given | fields)


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({}, []),
        ({"dataset_mix": [{"dataset": "b.jsonl"}]}, ["dataset_mix.0.dataset"]),
        ({"dataset_mix": [{"dataset": "a.jsonl"}, {"dataset": "b.jsonl"}]}, ["dataset_mix"]),
        ({"lora": {"rank": 4, "alpha": 8.5}}, ["lora.alpha"]),
        ({"student": "t", "seed": 1}, ["student", "seed"]),
        ({"schedule": {"steps": 7, "checkpoint_every": 2}, "name": "again", "resources": {"compile_blocks": True}}, []),
        ({"schedule": {"prompts_per_step": 2}}, ["schedule.prompts_per_step"]),
    ],
)
def test_the_fields_that_change_the_training_are_named(
    fields: dict[str, Any], paths: list[str], tmp_path: Path
) -> None:
    (tmp_path / "spec.json").write_text(spec().model_dump_json())
    found = changed_fields(tmp_path, spec(**fields))
    assert [sentence.partition(" differs from the checkpoint's: ")[0] for sentence in found] == paths


def test_a_field_that_the_checkpoints_release_did_not_have_is_no_difference(tmp_path: Path) -> None:
    saved = json.loads(spec().model_dump_json())
    del saved["health"], saved["data"]["thinking"], saved["grpo"]
    (tmp_path / "spec.json").write_text(json.dumps(saved))
    assert changed_fields(tmp_path, spec(data={"thinking": "on"})) == []
    (tmp_path / "spec.json").unlink()
    assert changed_fields(tmp_path, spec(seed=1)) == []
