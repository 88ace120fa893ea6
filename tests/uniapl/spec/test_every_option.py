"""Every option of the spec, in every mode: it acts, or validation refuses it or names it as one without effect."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from uniapl.spec.dead_options import dead_options
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.unit

Acts = Callable[[JobSpec], bool]
TAUGHT = {"dataset": "t", "role": "sft"}
EXPLORED = {"dataset": "r", "role": "rl"}
VLLM, HERE = {"type": "vllm"}, {"type": "transformers"}

MODES: dict[str, dict[str, Any]] = {
    "sft": {"alpha": 1, "lambda_adv": 0, "dataset_mix": [TAUGHT]},
    "grpo": {"alpha": 0, "lambda_adv": 0, "dataset_mix": [EXPLORED]},
    "chord": {"alpha": 0.1, "lambda_adv": 0, "dataset_mix": [TAUGHT, EXPLORED]},
    "a_sft": {"alpha": 1, "lambda_adv": 1e-3},
    "a_sft alone": {"alpha": 1, "lambda_adv": 1e-3, "grpo": {"group_size": 1}},
    "a_grpo": {"alpha": 0, "lambda_adv": 1e-3, "dataset_mix": [EXPLORED]},
    "unified": {},
    "unified, separate rows": {"dataset_mix": [TAUGHT, EXPLORED]},
    "reward by discriminator": {"alpha": 0, "lambda_adv": 0, "reward": {"discriminator_weight": 0.1}},
    "sft, then grpo": {"schedule": {"stages": [{"steps": 100, "alpha": 1}, {"steps": 100, "alpha": 0}]}},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "evaluated": {"evaluation": {"dataset": "e"}},
    "evaluated greedily": {"evaluation": {"dataset": "e", "profile_completions": 0}},
    "evaluated and scored": {"evaluation": {"dataset": "e", "score": True}},
    "in process": {"rollout": {"backend": HERE}},
    "vllm": {"rollout": {"backend": VLLM}},
    "two updates": {"grpo": {"updates_per_rollout": 2}, "rollout": {"backend": HERE}},
    "reinforce": {"adversarial": {"surrogate": "reinforce"}, "grpo": {"updates_per_rollout": 2}},
    "teacher's answers": {
        "adversarial": {"target": "teacher_response", "coef": "sigmoid", "surrogate": "reinforce"},
        "rollout": {"backend": HERE},
    },
    "whitened": {"adversarial": {"coef": "group_whiten"}},
    "adapters": {"lora": {}},
    "dr_grpo": {"grpo": {"loss": "dr_grpo", "scale_rewards": False}},
    "learned": {"discriminator": {"type": "learned"}},
    "penalties": {"grpo": {"kl_coef": 0.1}, "reward": {"overlong_tokens": 9}},
    "filtered": {"data": {"filter_teacher": True}},
    "short": {"schedule": {"steps": 4}},
    "one step": {"schedule": {"steps": 1}},
}

JOBS = [*((mode, "plain") for mode in MODES), *(("unified", variant) for variant in VARIANTS)]
JOBS += [("sft", variant) for variant in VARIANTS if variant not in ("learned", "penalties")]
JOBS += [("a_sft alone", "evaluated"), ("a_sft", "reinforce"), ("grpo", "evaluated"), ("a_grpo", "two updates")]


def always(spec: JobSpec) -> bool:
    return True


def sft(spec: JobSpec) -> bool:
    return spec.alpha != 0


def grpo(spec: JobSpec) -> bool:
    return spec.alpha != 1 or len(spec.schedule.stages) > 1


def adv(spec: JobSpec) -> bool:
    return spec.lambda_adv != 0


def rollouts(spec: JobSpec) -> bool:
    return grpo(spec) or adv(spec)


def evaluated(spec: JobSpec) -> bool:
    return spec.evaluation is not None


def sampled(spec: JobSpec) -> bool:
    return rollouts(spec) or evaluated(spec)


def drawn(spec: JobSpec) -> bool:
    return rollouts(spec) or (spec.evaluation is not None and spec.evaluation.profile_completions > 0)


def scored_rollouts(spec: JobSpec) -> bool:
    return adv(spec) or spec.reward.discriminator_weight > 0


def scored(spec: JobSpec) -> bool:
    return scored_rollouts(spec) or (spec.evaluation is not None and spec.evaluation.score)


def references(spec: JobSpec) -> bool:
    return sft(spec) or scored_rollouts(spec)


def verified(spec: JobSpec) -> bool:
    return grpo(spec) or (references(spec) and spec.data.filter_teacher)


def repeated(spec: JobSpec) -> bool:
    return rollouts(spec) and spec.grpo.updates_per_rollout > 1


def with_ratio(spec: JobSpec) -> bool:
    return adv(spec) and spec.adversarial.surrogate == "ppo_clip"


def place(spec: JobSpec, name: str) -> bool:
    return spec.rollout.backend is not None and spec.rollout.backend.type == name


def coef(spec: JobSpec, *names: str) -> bool:
    return adv(spec) and spec.adversarial.coef in names


def of_the_teacher(spec: JobSpec) -> bool:
    return spec.adversarial.target == "teacher_response"


def long_enough(steps: int) -> Acts:
    return lambda spec: spec.schedule.steps >= steps


def both(*conditions: Acts) -> Acts:
    return lambda spec: all(condition(spec) for condition in conditions)


def some(*conditions: Acts) -> Acts:
    return lambda spec: any(condition(spec) for condition in conditions)


def hacking(spec: JobSpec) -> bool:
    return grpo(spec) and scored_rollouts(spec) and not spec.discriminator.trained


def compared_lengths(spec: JobSpec) -> bool:
    """Some rows are both sampled and have their references read."""
    return rollouts(spec) and (adv(spec) or scored_rollouts(spec) or (sft(spec) and len(spec.dataset_mix) == 1))


FIELDS: dict[str, tuple[Any, Acts]] = {
    "student": ("other", always),
    "teacher.openai.base_url": ("http://b/v1", some(references, evaluated)),
    "teacher.openai.model": ("n", some(references, evaluated)),
    "teacher.openai.api_key_secret": ("s", some(references, evaluated)),
    "teacher.openai.api_key_env": ("A_API_KEY", some(references, evaluated)),
    "teacher.openai.temperature": (0.7, some(references, evaluated)),
    "teacher.openai.max_tokens": (99, some(references, evaluated)),
    "teacher.openai.concurrency": (3, some(references, evaluated)),
    "teacher.openai.max_requests": (3, some(references, evaluated)),
    "teacher.openai.max_total_tokens": (3, some(references, evaluated)),
    "teacher.openai.timeout_s": (3, some(references, evaluated)),
    "teacher.openai.max_retries": (3, some(references, evaluated)),
    "dataset_mix.0.weight": (2.0, lambda spec: len(spec.dataset_mix) > 1),
    "alpha": ({"type": "linear", "start": 0.9, "end": 0.1, "steps": 9}, always),
    "lambda_adv": (5e-3, always),
    "sft.token_weight": ("phi", sft),
    "grpo.loss": (
        "grpo",
        some(grpo, both(adv, lambda spec: spec.adversarial.aggregate == "relative")),
    ),
    "grpo.group_size": (4, rollouts),
    "grpo.updates_per_rollout": (3, rollouts),
    "grpo.extra_batches": (1, grpo),
    "grpo.truncated": ("mask", grpo),
    "grpo.clip_low": (0.1, both(grpo, repeated)),
    "grpo.clip_high": (0.1, both(grpo, repeated)),
    "grpo.scale_rewards": (False, some(grpo, lambda spec: spec.grpo.loss == "dr_grpo")),
    "grpo.kl_coef": (0.2, grpo),
    "grpo.kl_estimator": ("k2", both(grpo, lambda spec: spec.grpo.kl_coef > 0)),
    "adversarial.target": ("teacher_response", adv),
    "adversarial.coef": ("raw", adv),
    "adversarial.score_center": (0.1, lambda spec: coef(spec, "sigmoid")),
    "adversarial.score_temperature": (2.0, lambda spec: coef(spec, "sigmoid")),
    "adversarial.single_baseline": (
        "ema",
        lambda spec: coef(spec, "loo", "bt_margin") and spec.grpo.group_size == 1,
    ),
    "adversarial.surrogate": (
        "reinforce",
        both(adv, some(repeated, lambda spec: not place(spec, "transformers"), of_the_teacher)),
    ),
    "adversarial.clip_low": (0.1, both(with_ratio, repeated)),
    "adversarial.clip_high": (0.1, both(with_ratio, repeated)),
    "adversarial.aggregate": ("seq_sum", adv),
    "adversarial.constraint.score": (0.5, both(adv, lambda spec: not spec.discriminator.trained)),
    "adversarial.constraint.rate": (0.5, both(adv, lambda spec: not spec.discriminator.trained)),
    "adversarial.constraint.max_factor": (5, both(adv, lambda spec: not spec.discriminator.trained)),
    "adversarial.score_scale": (
        3.0,
        both(scored_rollouts, lambda spec: not coef(spec, "group_whiten") or spec.reward.discriminator_weight > 0),
    ),
    "adversarial.coef_clip": (5.0, lambda spec: coef(spec, "loo", "raw", "bt_margin")),
    "adversarial.rows": ("both", both(adv, lambda spec: any(entry.role == "sft" for entry in spec.dataset_mix))),
    "adversarial.think": ("keep", scored),
    "adversarial.truncated": ("mask", adv),
    "adversarial.max_failed_fraction": (0.5, scored_rollouts),
    "discriminator.embedding.model": ("d", scored),
    "discriminator.embedding.batch_size": (3, scored),
    "discriminator.polar.model": ("d", scored),
    "discriminator.polar.wrapper": ("pretrain", scored),
    "discriminator.polar.batch_size": (3, scored),
    "discriminator.learned.model": ("d", scored),
    "discriminator.learned.learning_rate": (1e-3, scored),
    "discriminator.learned.warmup_steps": (3, scored),
    "discriminator.learned.batch_size": (3, scored),
    "reward.aggregate": ("strict", some(verified, evaluated)),
    "reward.ifeval": ("published", verified),
    "reward.loose": (True, some(verified, evaluated)),
    "reward.discriminator_weight": (0.2, grpo),
    "reward.overlong_tokens": (8, grpo),
    "reward.overlong_penalty": (0.5, both(grpo, lambda spec: spec.reward.overlong_tokens > 0)),
    "reward.processes": (3, some(verified, evaluated)),
    "reward.time_limit_s": (3, some(verified, evaluated)),
    "reward.max_failed_fraction": (0.5, grpo),
    "rollout.temperature": (0.7, drawn),
    "rollout.top_p": (0.9, drawn),
    "rollout.top_k": (9, drawn),
    "rollout.min_p": (0.1, drawn),
    "rollout.stop": (["x"], sampled),
    "rollout.max_new_tokens": (99, sampled),
    "rollout.batch_size": (99, both(sampled, lambda spec: not place(spec, "vllm"))),
    "rollout.sync_s": (9, both(sampled, lambda spec: not place(spec, "transformers"))),
    "rollout.max_ratio": (
        3,
        both(some(grpo, with_ratio), some(repeated, lambda spec: not place(spec, "transformers"))),
    ),
    "data.max_prompt_tokens": (99, always),
    "data.max_reference_tokens": (99, some(references, evaluated)),
    "data.chat_template": ("plain", always),
    "data.thinking": ("auto", always),
    "data.trained_turns": ("all_answers", sft),
    "data.date": ("2026-07-01", always),
    "data.filter_teacher": (True, references),
    "lora.rank": (4, always),
    "lora.alpha": (4.0, always),
    "lora.target_modules": (["q_proj"], always),
    "optimizer.learning_rate": (3e-4, always),
    "optimizer.warmup_steps": (2, always),
    "optimizer.decay": ("linear", long_enough(2)),
    "optimizer.beta1": (0.8, always),
    "optimizer.beta2": (0.99, always),
    "optimizer.eps": (1e-6, always),
    "optimizer.weight_decay": (0.1, always),
    "optimizer.max_grad_norm": (0.5, always),
    "optimizer.moments": ("8bit", always),
    "schedule.steps": (7, always),
    "schedule.prompts_per_step": (6, always),
    "schedule.checkpoint_every": (7, always),
    "schedule.keep_checkpoints": (3, long_enough(101)),
    "schedule.checkpoint_dtype": ("student", always),
    "schedule.eval_every": (7, evaluated),
    "schedule.term_norms_every": (7, always),
    "schedule.stages": ([{"steps": 3, "alpha": 0.5}], always),
    "evaluation.dataset": ("f", always),
    "evaluation.rows": (3, always),
    "evaluation.samples": (3, always),
    "evaluation.profile_completions": (3, always),
    "evaluation.at_start": (False, always),
    "evaluation.score": (True, lambda spec: not scored_rollouts(spec)),
    "resources.micro_batch_tokens": (99, always),
    "resources.gradient_checkpointing": (True, always),
    "resources.compile_blocks": (True, always),
    "health.stop_on": (["reward_hacking"], both(hacking, long_enough(40))),
    "health.window": (3, rollouts),
    "health.history": (30, long_enough(16)),
    "health.length_low": (0.2, both(compared_lengths, long_enough(10))),
    "health.length_high": (4.0, both(compared_lengths, long_enough(10))),
    "health.hacking_z": (4.0, both(hacking, long_enough(40))),
    "health.hacking_fall": (0.5, both(hacking, long_enough(40))),
    "health.spike_mads": (20.0, long_enough(21)),
    "health.entropy_low": (0.2, both(rollouts, long_enough(10))),
    "health.truncated_high": (0.7, rollouts),
    "health.no_variance_steps": (3, both(grpo, long_enough(3))),
    "seed": (1, always),
    "name": ("n", always),
    "tags": ({"a": "b"}, always),
}
"""Another value of each option, and where it acts."""
REQUIRED: dict[str, dict[str, Any]] = {
    "teacher.openai": {"base_url": "http://a/v1", "model": "m"},
    "discriminator.polar": {"model": "p"},
    "adversarial.constraint": {"score": 0.4},
    "adversarial.target": {"coef": "sigmoid", "surrogate": "reinforce"},
    "evaluation": {"dataset": "e"},
}
ELSEWHERE = ("discriminator.embedding.backend", "discriminator.polar.backend", "rollout.backend")
"""Options of servers, which act wherever their server is used."""


def models_of(annotation: Any) -> list[type[BaseModel]]:
    if get_origin(annotation) in (Annotated, Union, types.UnionType, list):
        return [model for part in get_args(annotation) for model in models_of(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        path, parts = prefix + name, models_of(field.annotation)
        if name == "type" or path in ELSEWHERE:
            continue
        if not parts or path in ("alpha", "lambda_adv", "schedule.stages"):
            yield path
        elif path == "dataset_mix":
            yield f"{path}.0.weight"
        else:
            for part in parts:
                member = part.model_fields.get("type")
                yield from leaves(part, f"{path}.{member.default}." if member else f"{path}.")


def merged(fields: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both_dicts = {k for k in fields.keys() & other.keys() if isinstance(fields[k], dict) and isinstance(other[k], dict)}
    return fields | other | {k: merged(fields[k], other[k]) for k in both_dicts}


def changed(fields: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The fields with one option changed, and what it requires."""
    if path == "dataset_mix.0.weight":
        first, *rest = fields.get("dataset_mix", [{"dataset": "d"}])
        return fields | {"dataset_mix": [first | {"weight": value}, *rest]}
    section, _, name = path.rpartition(".")
    parent, _, member = section.rpartition(".")
    change = REQUIRED.get(section, {}) | REQUIRED.get(path, {}) | {name: value}
    if parent in ("teacher", "discriminator"):
        return fields | {parent: {"type": member, **change}}
    for part in reversed(section.split(".") if section else []):
        change = {part: change}
    return merged(fields, change)


def validated(fields: dict[str, Any]) -> JobSpec:
    return JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], **fields})


def is_named(path: str, sentences: list[str]) -> bool:
    """Whether a sentence is about the option, or about the section that it belongs to."""
    subjects = {sentence.split()[0] for sentence in sentences}
    return any(path == subject or path.startswith(f"{subject}.") for subject in subjects)


def test_every_option_of_the_spec_is_here() -> None:
    assert list(FIELDS) == list(leaves(JobSpec))


@pytest.mark.parametrize(("mode", "variant"), JOBS)
def test_an_option_acts_or_is_refused_or_named(mode: str, variant: str) -> None:
    fields = merged(MODES[mode], VARIANTS[variant])
    validated(fields)
    wrong = {}
    for path, (value, acts) in FIELDS.items():
        try:
            spec = validated(changed(fields, path, value))
        except ValidationError:
            continue
        if is_named(path, dead_options(spec)) == acts(spec):
            wrong[path] = "is named, and acts" if acts(spec) else "has no effect, and is not named"
    assert not wrong


def test_every_sentence_has_a_field_a_reason_and_a_remedy() -> None:
    found = {
        sentence
        for mode in ("sft", "grpo", "unified")
        for path, (value, _) in FIELDS.items()
        for sentence in _sentences(changed(MODES[mode], path, value))
    }
    assert len(found) > 40
    assert not [
        text for text in found if not re.fullmatch(r"[a-z0-9_.]+ .*(has no effect|is never reached).*: .+; .+", text)
    ]


def _sentences(fields: dict[str, Any]) -> list[str]:
    try:
        return dead_options(validated(fields))
    except ValidationError:
        return []
