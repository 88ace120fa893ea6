"""Validation of job specs: errors have the field and the fix."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from tests.conftest import ROOT
from uniapl.errors import SpecError
from uniapl.run.config import ModelSource, RunConfig
from uniapl.spec.base import field_path
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.discriminator import LearnedDiscriminator
from uniapl.spec.job import JobSpec, MixEntry
from uniapl.spec.requirements import DatasetContents, check_mix
from uniapl.spec.teacher import OpenAITeacher
from uniapl.spec.weights import Cosine

pytestmark = pytest.mark.unit

MIX = [{"dataset": "ds_1"}]
SFT_AND_RL = [{"dataset": "ds_1", "role": "sft"}, {"dataset": "ds_2", "role": "rl"}]
OPENAI = {"type": "openai", "base_url": "https://host/v1", "model": "m"}


def spec(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"student": "tiny", "dataset_mix": MIX, **fields})


def test_defaults_are_those_of_the_method() -> None:
    given = spec()
    assert (given.alpha, given.lambda_adv, given.grpo.group_size) == (0.1, 1e-3, 8)
    assert (given.grpo.clip_low, given.grpo.clip_high, given.rollout.temperature) == (0.2, 0.2, 1.0)
    assert (given.optimizer.learning_rate, given.optimizer.max_grad_norm) == (1e-6, 1.0)
    assert (given.schedule.prompts_per_step, given.adversarial.coef_clip, given.reward.aggregate) == (
        64,
        10,
        "fraction",
    )


SFT, THEN = {"alpha": 1, "lambda_adv": 0}, [{"steps": 2, "alpha": 1}, {"steps": 2, "alpha": 0}]


@pytest.mark.parametrize(
    ("fields", "full", "adapters"),
    [
        (SFT, 2e-5, 2e-4),
        ({"schedule": {"stages": THEN[:1]}}, 2e-5, 2e-4),
        ({}, 1e-6, 1e-5),
        ({"alpha": 0, "lambda_adv": 0}, 1e-6, 1e-5),
        ({"alpha": 1}, 1e-6, 1e-5),  # the adversarial term samples too
        ({"alpha": {"type": "linear", "start": 1, "end": 0.5, "steps": 9}, "lambda_adv": 0}, 1e-6, 1e-5),
        ({"schedule": {"stages": THEN}}, 1e-6, 1e-5),
    ],
)
def test_the_learning_rate_follows_the_mode(fields: dict[str, Any], full: float, adapters: float) -> None:
    for lora, rate in ((None, full), ({"rank": 4}, adapters)):
        given = spec(**fields, lora=lora, optimizer={"warmup_steps": 3})
        assert (given.optimizer.learning_rate, given.optimizer.warmup_steps) == (rate, 3)
        assert spec(**fields, lora=lora).optimizer.learning_rate == rate
        assert given.model_dump()["optimizer"]["learning_rate"] == rate
        assert spec(**fields, lora=lora, optimizer={"learning_rate": 1e-6}).optimizer.learning_rate == 1e-6
    assert spec().optimizer.learning_rate == 1e-6  # nothing of it is left in the defaults


def test_a_learning_rate_that_was_resolved_once_stays() -> None:
    given = spec(**SFT)
    sent = given.model_dump(mode="json", exclude_unset=True)
    assert "optimizer" not in sent  # the service decides alike
    assert JobSpec.model_validate(sent) == given
    stored = given.model_dump(mode="json")
    stored["optimizer"]["learning_rate"] = 1e-6  # as a job of old has it
    assert JobSpec.model_validate(stored).optimizer.learning_rate == 1e-6
    assert JobSpec.model_validate({**stored, "lora": {}}).optimizer.learning_rate == 1e-6


def test_the_schema_names_the_rule_of_the_learning_rate_and_no_number_as_its_default() -> None:
    schema = JobSpec.model_json_schema()
    rate = schema["$defs"]["Optimizer"]["properties"]["learning_rate"]
    assert "default" not in rate
    for number in ("2e-5", "2e-4", "1e-6", "1e-5"):
        assert number in rate["description"]
    assert "default" not in schema["properties"]["optimizer"]  # which would hold one
    assert "optimizer" not in schema["required"]
    assert "learning_rate" not in schema["$defs"]["Optimizer"].get("required", [])


@pytest.mark.parametrize(
    ("fields", "where", "expected"),
    [
        ({"alpha": 1.5}, "alpha", "less than or equal to 1"),
        ({"alpha": -0.1}, "alpha", "greater than or equal to 0"),
        ({"lambda_adv": -1}, "lambda_adv", "greater than or equal to 0"),
        ({"alpha": float("nan")}, "alpha", "finite"),
        ({"dataset_mix": []}, "dataset_mix", "at least 1"),
        ({"lr": 1}, "lr", "Extra inputs"),
        ({"alpha": {"type": "linear", "start": 0, "end": 2, "steps": 9}}, "", "alpha: linear 0→2 exceeds 1"),
        ({"alpha": {"type": "cosine", "start": 0.9, "end": 0.05}}, "alpha.steps", "Field required"),
        ({"grpo": {"group_size": 1}}, "", "grpo.group_size: GRPO needs at least 2 completions per prompt"),
        (
            {"alpha": 1, "grpo": {"group_size": 1}, "adversarial": {"coef": "group_whiten"}},
            "",
            "adversarial.coef: 'group_whiten' needs at least 2 completions",
        ),
        ({"alpha": 1, "grpo": {"kl_coef": 0.1}}, "", "grpo.kl_coef: 0.1 has no effect"),
        ({"alpha": 1, "reward": {"discriminator_weight": 1}}, "", "reward.discriminator_weight: 1 has no effect"),
        ({"alpha": 0, "sft": {"token_weight": "phi"}}, "", "sft.token_weight: 'phi' has no effect"),
        (
            {"adversarial": {"target": "teacher_response"}},
            "adversarial",
            "target: 'teacher_response' has no group",
        ),
        ({"adversarial": {"score_center": 1}}, "adversarial", "require coef 'sigmoid', not 'loo'"),
        ({"discriminator": {"type": "polar"}}, "discriminator.model", "Field required"),
        (
            {"discriminator": {"type": "learned"}, "schedule": {"steps": 10}},
            "",
            "discriminator.warmup_steps: 10 is not less than 10",
        ),
        (
            {"discriminator": {"type": "learned"}, "lambda_adv": 0, "evaluation": {"dataset": "e", "score": True}},
            "",
            "discriminator.warmup_steps: 10 is not less than 0",
        ),
        (
            {"alpha": 1, "grpo": {"group_size": 1}, "schedule": {"prompts_per_step": 1}},
            "",
            "adversarial.single_baseline: 'batch_loo' needs at least 2 scored rollouts per step",
        ),
        (
            {"rollout": {"batch_size": 8}, "evaluation": {"dataset": "e", "profile_completions": 16}},
            "",
            "evaluation.profile_completions: 16 exceeds rollout.batch_size=8",
        ),
        (
            {"schedule": {"stages": [{"steps": 2, "alpha": 1}], "steps": 3}},
            "schedule",
            "steps: 3 differs from 2, the sum of the stages",
        ),
        ({"schedule": {"stages": [{"steps": 2, "alpha": 1}]}, "alpha": 0.5}, "", "alpha: differs from the first stage"),
        ({"grpo": {"loss": "dr_grpo"}}, "grpo", "scale_rewards: true is not allowed with loss 'dr_grpo'"),
        ({"grpo": {"loss": "gspo"}}, "grpo", "clip_high: GSPO's sequence-level ratio"),
        ({"rollout": {"batch_size": 4}}, "", "rollout.batch_size: 4 is less than grpo.group_size=8"),
        (
            {"rollout": {"max_new_tokens": 100, "backend": {"type": "vllm", "max_model_tokens": 1123}}},
            "",
            "rollout.backend.max_model_tokens: 1123 is less than 1124",
        ),
        (
            {"dataset_mix": [{"dataset": "d", "role": "rl"}]},
            "",
            "imitates references, but no entry has role 'sft' or 'both'",
        ),
        (
            {"dataset_mix": [{"dataset": "d", "role": "sft"}]},
            "",
            "samples the student, but no entry has role 'rl' or 'both'",
        ),
        ({"alpha": 0, "dataset_mix": [*MIX, {"dataset": "d", "role": "sft"}]}, "", "dataset_mix.1.role"),
        (
            {"alpha": 1, "lambda_adv": 0, "dataset_mix": [*MIX, {"dataset": "d", "role": "rl"}]},
            "",
            "dataset_mix.1.role: no term uses rows of role 'rl' with alpha=1, lambda_adv=0",
        ),
        (
            {"dataset_mix": [*MIX, {"dataset": "d", "weight": 0.1}], "schedule": {"prompts_per_step": 4}},
            "",
            "dataset_mix.1.weight: 0.1 of 1.1 gives 0.36 of the 4 prompts",
        ),
    ],
)
def test_a_contradiction_is_refused(fields: dict[str, Any], where: str, expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        spec(**fields)
    error = caught.value.errors()[0]
    assert field_path(error, {"student": "tiny", "dataset_mix": MIX, **fields}) == where
    assert expected in error["msg"]


@pytest.mark.parametrize(
    ("fields", "contents", "param"),
    [
        ({}, DatasetContents(rows=3, references=2, rewards=3), "dataset_mix.0.dataset"),
        ({}, DatasetContents(rows=3, references=3, rewards=0), "dataset_mix.0.dataset"),
        ({"alpha": 1, "lambda_adv": 0}, DatasetContents(3, 0, 3), "dataset_mix.0.dataset"),
        ({"alpha": 0}, DatasetContents(3, 0, 3), "lambda_adv"),
        ({"teacher": OPENAI}, DatasetContents(3, 0, 2), "dataset_mix.0.dataset"),  # a teacher writes no rewards
        (
            {"alpha": {"type": "linear", "start": 0, "end": 0.5, "steps": 9}},
            DatasetContents(3, 2, 3),
            "dataset_mix.0.dataset",
        ),
        (
            {"alpha": 0, "lambda_adv": {"type": "warmup", "value": 0.1, "steps": 9}},
            DatasetContents(3, 0, 3),
            "lambda_adv",
        ),
        (
            {"alpha": 0, "lambda_adv": 0, "reward": {"discriminator_weight": 1}},
            DatasetContents(3, 0, 3),
            "reward.discriminator_weight",
        ),
    ],
)
def test_datasets_must_feed_every_term(fields: dict[str, Any], contents: DatasetContents, param: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_mix(spec(**fields), [contents])
    assert caught.value.param == param
    assert caught.value.hint


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        # the references of ds_1 (sft) do not help a term that reads rows of role rl, and only those
        ({}, "lambda_adv"),
        ({"lambda_adv": 0, "reward": {"discriminator_weight": 1}}, "reward.discriminator_weight"),
        ({"adversarial": {"rows": "sft"}, "reward": {"discriminator_weight": 1}}, "reward.discriminator_weight"),
        ({"adversarial": {"rows": "sft"}}, None),
        ({"adversarial": {"rows": "both"}}, None),
        ({"lambda_adv": 0}, None),
        ({"teacher": OPENAI, "reward": {"discriminator_weight": 1}}, None),
    ],
)
def test_what_is_compared_with_references_must_have_some(fields: dict[str, Any], param: str | None) -> None:
    given = spec(dataset_mix=SFT_AND_RL, **fields)
    contents = [DatasetContents(rows=3, references=3, rewards=0), DatasetContents(rows=3, references=0, rewards=3)]
    if param is None:
        return check_mix(given, contents)
    with pytest.raises(SpecError) as caught:
        check_mix(given, contents)
    assert caught.value.param == param
    assert caught.value.hint


@pytest.mark.parametrize(
    ("fields", "contents"),
    [
        ({}, DatasetContents(3, 3, 3)),
        ({"alpha": 0, "lambda_adv": 0}, DatasetContents(3, 0, 3)),
        ({"alpha": 0}, DatasetContents(3, 1, 3)),  # rows without reference are left out of the adversarial term
        ({"alpha": 1}, DatasetContents(3, 3, 0)),  # A-SFT needs no verifier
        ({"alpha": 1, "lambda_adv": 0}, DatasetContents(3, 3, 0)),
        ({"teacher": OPENAI}, DatasetContents(3, 0, 3)),  # the teacher writes what is missing
        ({"teacher": OPENAI, "alpha": 1, "lambda_adv": 0}, DatasetContents(3, 2, 0)),
    ],
)
def test_what_a_mode_does_not_use_is_not_asked_for(fields: dict[str, Any], contents: DatasetContents) -> None:
    check_mix(spec(**fields), [contents])


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.json")), ids=lambda p: p.stem)
def test_every_example_spec_is_valid_and_survives_a_round_trip(path: Any) -> None:
    given = JobSpec.model_validate(json.loads(path.read_text()))
    assert JobSpec.model_validate_json(given.model_dump_json()) == given


def test_every_field_is_documented() -> None:
    def undocumented(schema: dict[str, Any]) -> list[str]:
        return [
            f"{name}.{field}"
            for name, part in {"JobSpec": schema, **schema["$defs"]}.items()
            for field, about in part.get("properties", {}).items()
            if "description" not in about and "const" not in about
        ]

    assert undocumented(JobSpec.model_json_schema()) == []


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": []}, "at least 1"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "role 'user'"),
        ({"messages": [{"role": "user", "content": "hi"}], "reference": ""}, "at least 1"),
        ({"messages": [{"role": "user", "content": "hi"}], "answer": "x"}, "Extra inputs"),
    ],
)
def test_a_bad_row_is_refused(row: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        DatasetRow.model_validate(row)


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        ({"instruction_id_list": ["no:such"], "kwargs": [{}]}, "unknown constraint 'no:such'"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "kwargs has 0 entries for 1"),
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{}]}, "keywords: Field required"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"n": 1}]}, "n: Extra inputs"),
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": ["("]}]}, "not a regular expression"),
        (
            {"instruction_id_list": ["keywords:forbidden_words"], "kwargs": [{"forbidden_words": ["*"]}]},
            "forbidden_words: .* is not a regular expression",
        ),
        (
            {
                "instruction_id_list": ["keywords:letter_frequency"],
                "kwargs": [{"letter": "ab", "let_frequency": 1, "let_relation": "at least"}],
            },
            "single character",
        ),
        (
            {
                "instruction_id_list": ["length_constraints:nth_paragraph_first_word"],
                "kwargs": [{"num_paragraphs": 1, "nth_paragraph": 3, "first_word": "x"}],
            },
            "larger than num_paragraphs",
        ),
        (
            {
                "instruction_id_list": ["length_constraints:number_words"],
                "kwargs": [{"num_words": 3, "relation": "over"}],
            },
            "relation",
        ),
    ],
)
def test_a_bad_constraint_is_refused(reward: dict[str, Any], expected: str) -> None:
    row = {"messages": [{"role": "user", "content": "hi"}], "reward": {"type": "ifeval", **reward}}
    with pytest.raises(ValidationError, match=expected):
        DatasetRow.model_validate(row)


def test_null_arguments_are_ignored() -> None:
    # The public IFEval files carry every argument of every constraint, null where it does not apply.
    reward = {"type": "ifeval", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"num_words": None}]}
    row = DatasetRow.model_validate({"messages": [{"role": "user", "content": "hi"}], "reward": reward})
    assert row.reward is not None
    assert row.reward.constraints() == [("punctuation:no_comma", {})]


def test_a_run_finds_its_parts_by_name_path_or_hub_id(tmp_path: Any) -> None:
    run = RunConfig(
        spec=spec(), run_dir="r", datasets={"ds_1": "/data/one.jsonl"}, models={"m": ModelSource(path="/m")}
    )
    assert str(run.dataset_path("ds_1")) == "/data/one.jsonl"
    assert str(run.dataset_path("two.jsonl")) == "two.jsonl"
    assert run.model_source("m").path == "/m"
    assert run.model_source(str(tmp_path)).path == str(tmp_path)
    assert run.model_source("Qwen/Qwen3-0.6B").hub == "Qwen/Qwen3-0.6B"


def test_answers_are_kept_in_the_run_unless_a_shared_folder_is_given() -> None:
    assert str(RunConfig(spec=spec(), run_dir="r").teacher_cache_path()) == "r/teacher_cache"
    assert str(RunConfig(spec=spec(), run_dir="r", teacher_cache="/shared").teacher_cache_path()) == "/shared"


def test_what_was_given_can_be_sent_without_the_defaults() -> None:
    given = JobSpec(
        student="tiny",
        dataset_mix=[MixEntry(dataset="d")],
        alpha=Cosine(start=0.9, end=0.05, steps=10),
        discriminator=LearnedDiscriminator(warmup_steps=3),
        teacher=OpenAITeacher(base_url="https://teacher.test/v1", model="big"),
    )
    assert JobSpec.model_validate_json(given.model_dump_json(exclude_unset=True)) == given


def test_stages_set_the_first_weights_and_the_steps() -> None:
    stages = [{"steps": 3, "alpha": 1}, {"steps": 4, "alpha": 0, "lambda_adv": 0.01}]
    given = spec(schedule={"stages": stages})
    assert (given.alpha, given.lambda_adv, given.schedule.steps) == (1, 0, 7)
    assert [given.weights_at(step).alpha for step in range(8)] == [1, 1, 1, 0, 0, 0, 0, 0]
    assert given.weights_at(3).lambda_adv == 0.01
    for dumped in (given.model_dump_json(), given.model_dump_json(exclude_unset=True)):
        assert JobSpec.model_validate_json(dumped) == given


def test_schedules_go_from_start_to_end() -> None:
    # linear 0.9 -> 0.1 over 4 steps: 0.9, 0.7, 0.5, 0.3, 0.1, 0.1; a cosine is half way at half time
    linear = {"type": "linear", "start": 0.9, "end": 0.1, "steps": 4}
    assert [spec(alpha=linear).weights_at(i).alpha for i in range(6)] == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1, 0.1])
    cosine = spec(alpha={"type": "cosine", "start": 0.9, "end": 0.1, "steps": 4})
    assert [cosine.weights_at(i).alpha for i in (0, 2, 4, 9)] == pytest.approx([0.9, 0.5, 0.1, 0.1])
    # a warm-up of 3 steps: 1/4, 2/4, 3/4 of the value, then all of it
    warmup = spec(lambda_adv={"type": "warmup", "value": 0.8, "steps": 3})
    assert [warmup.weights_at(i).lambda_adv for i in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1]),
        ("linear", [1 / 3, 2 / 3, 1, 0.75, 0.5, 0.25]),
        ("cosine", [1 / 3, 2 / 3, 1, 0.8535534, 0.5, 0.1464466]),
    ],
)
def test_the_learning_rate_rises_and_decays(decay: str, expected: list[float]) -> None:
    optimizer = spec(optimizer={"learning_rate": 0.5, "warmup_steps": 2, "decay": decay}).optimizer
    assert [optimizer.rate_at(step, 6) for step in range(6)] == pytest.approx([0.5 * rate for rate in expected])


def test_a_warm_up_as_long_as_the_run_has_no_decay() -> None:
    optimizer = spec(optimizer={"learning_rate": 1, "warmup_steps": 3, "decay": "cosine"}).optimizer
    assert [optimizer.rate_at(step, 3) for step in range(3)] == [0.25, 0.5, 0.75]
