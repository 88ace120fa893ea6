"""Option names of TRL in a job spec: the error names the field that corresponds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from uniapl_client.spec_file import InvalidSpecFile, read_spec

from uniapl.spec.base import field_path
from uniapl.spec.job import JobSpec
from uniapl.spec.stored import STORED_SPEC, RawObject
from uniapl.spec.trl_names import FIELDS

pytestmark = pytest.mark.unit

SPEC: dict[str, Any] = {"student": "tiny", "dataset_mix": [{"dataset": "ds_1"}]}
EXPECTED = {
    "num_generations": "grpo.group_size",
    "max_completion_length": "rollout.max_new_tokens",
    "epsilon": "grpo.clip_low",
    "epsilon_high": "grpo.clip_high",
    "beta": "grpo.kl_coef",
    "mask_truncated_completions": "grpo.truncated",
    "temperature": "rollout.temperature",
    "top_p": "rollout.top_p",
    "top_k": "rollout.top_k",
    "min_p": "rollout.min_p",
    "num_iterations": "grpo.updates_per_rollout",
    "lr_scheduler_type": "optimizer.decay",
    "optim": "optimizer.moments",
    "learning_rate": "optimizer.learning_rate",
    "max_steps": "schedule.steps",
    "num_train_epochs": "schedule.steps",
}


def problems(given: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(given)
    return [f"{field_path(error, given)}: {error['msg']}" for error in caught.value.errors()]


@pytest.mark.parametrize(("name", "field"), EXPECTED.items())
def test_an_unknown_key_of_trl_names_the_field(name: str, field: str) -> None:
    assert problems({**SPEC, name: 1}) == [f"{name}: unknown key; use {field}"]
    section = field.partition(".")[0]
    if f"{section}.{name}" != field:
        assert problems({**SPEC, section: {name: 1}}) == [f"{section}.{name}: unknown key; use {field}"]


def test_every_field_of_the_table_exists() -> None:
    assert FIELDS == EXPECTED
    for field in FIELDS.values():
        kind: Any = JobSpec
        for part in field.split("."):
            assert issubclass(kind, BaseModel)
            kind = kind.model_fields[part].annotation


def test_other_errors_stay_beside_it() -> None:
    given = {**SPEC, "alpha": 2, "beta": 0.1, "lr": 1, "discriminator": {"type": "embedding", "beta": 1}}
    assert problems(given) == [
        "alpha: Input should be less than or equal to 1",
        "discriminator.beta: Extra inputs are not permitted",
        "beta: unknown key; use grpo.kl_coef",
        "lr: Extra inputs are not permitted",
    ]
    with pytest.raises(ValidationError, match=r"unknown key; use grpo\.group_size"):
        JobSpec(**SPEC, num_generations=8)
    with pytest.raises(ValidationError, match="valid dictionary or instance of JobSpec"):  # an error of the whole spec
        JobSpec.model_validate("num_generations")
    assert isinstance(STORED_SPEC.validate_python({**SPEC, "beta": 0.1}), RawObject)


def test_a_spec_file_with_such_a_key_is_refused_with_the_field(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text('{"student": "s", "dataset_mix": [{"dataset": "ds_1"}], "num_generations": 8}')
    with pytest.raises(InvalidSpecFile, match=r"num_generations: unknown key; use grpo\.group_size"):
        read_spec(path)
