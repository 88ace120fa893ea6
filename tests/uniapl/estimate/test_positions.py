"""The longest sequences of a job against the student's positions."""

from __future__ import annotations

from typing import Any

import pytest

from uniapl.estimate.positions import allowed_rows, excess, positions_of
from uniapl.spec.job import JobSpec, Role

pytestmark = pytest.mark.unit


def spec(role: Role = "both", **fields: Any) -> JobSpec:
    given = {"student": "s", "dataset_mix": [{"dataset": "d", "role": role}], "rollout": {"max_new_tokens": 40}}
    return JobSpec.model_validate(given | {"data": {"max_prompt_tokens": 24, "max_reference_tokens": 30}} | fields)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"n_positions": 64}, 64),
        ({"max_position_embeddings": 64}, 64),
        ({"text_config": {"max_position_embeddings": 64}}, 64),
        ({"vocab_size": 64}, None),
        (None, None),
        (
            {"max_position_embeddings": 64, "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 64}},
            256,
        ),
        (
            {"max_position_embeddings": 256, "rope_scaling": {"factor": 4, "original_max_position_embeddings": 64}},
            256,
        ),
        ({"max_position_embeddings": 64, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, 64),
    ],
)
def test_positions_of_configs(config: Any, expected: int | None) -> None:
    assert positions_of(config) == expected


def test_a_sequence_may_have_as_many_tokens_as_there_are_positions() -> None:
    assert excess(spec(), {"n_positions": 64}, [("both", 24, 30), ("both", 3, 30)]) is None
    found = excess(spec(), {"n_positions": 64, "model_type": "gpt2"}, [("both", 3, 0), ("both", 25, 0)])
    assert found is not None
    assert (found.longest, found.positions, found.fails) == (65, 64, True)
    assert "has 65 tokens, prompt and answer together, and the student has 64 positions" in found.error.message
    assert found.error.param == "rollout.max_new_tokens"


def test_rotary_positions_do_not_fail() -> None:
    found = excess(spec(), {"max_position_embeddings": 64, "model_type": "llama"}, [("both", 25, 0)])
    assert found is not None
    assert not found.fails


def test_only_sequences_that_are_used_count() -> None:
    config = {"n_positions": 60}
    assert excess(spec(), config, allowed_rows(spec())) is not None
    imitation = spec("sft", alpha=1, lambda_adv=0)  # 24 + 30 tokens
    assert excess(imitation, config, allowed_rows(imitation)) is None
    assert excess(imitation, {"n_positions": 53}, allowed_rows(imitation)) is not None
