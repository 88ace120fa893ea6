"""TRL's names for options of a job spec, for the error about an unknown key."""

from __future__ import annotations

from typing import cast

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

FIELDS = {
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
"""The field of `JobSpec` by the name in TRL's `GRPOConfig`."""
_SECTIONS = {field.partition(".")[0] for field in FIELDS.values()}


def with_fields_named(error: ValidationError) -> ValidationError:
    """The same error, with the corresponding field in the message of each unknown key that is a name of TRL's.

    Keys are recognised at the top level of a spec and in the sections that hold these fields.
    """
    return ValidationError.from_exception_data(error.title, [_named(each) for each in _details(error)])


def _details(error: ValidationError) -> list[InitErrorDetails]:
    return [cast(InitErrorDetails, each) for each in error.errors(include_url=False)]


def _named(error: InitErrorDetails) -> InitErrorDetails:
    if error["type"] != "extra_forbidden":
        return error
    *sections, key = error["loc"]
    known_place = not sections or (len(sections) == 1 and sections[0] in _SECTIONS)
    field = FIELDS.get(str(key)) if known_place else None
    if field is None:
        return error
    return {**error, "type": PydanticCustomError("unknown_key", "unknown key; use {field}", {"field": field})}
