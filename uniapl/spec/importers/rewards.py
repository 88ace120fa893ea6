"""The reward of a row: its own, constraints of IFEval and IF-RLVR, or the ground truth of a named source."""

from __future__ import annotations

import json
import re
from typing import Any

from uniapl.spec.importers.fields import FieldReader, RowError
from uniapl.spec.importers.ground_truth import ifeval_reward, truth_reward

SOURCES = ("dataset", "data_source", "ability")
"""Fields with the source of a ground truth."""
_SOURCE = re.compile(r'\[?"[^"\s]{0,50}[A-Za-z]{2}[^"\s]{0,50}"\]?')
"""A name, or a list of one, as JSON."""


def row_reward(reader: FieldReader) -> dict[str, Any] | None:
    """Consume constraints or a ground truth with its source; `None` without any."""
    if "instruction_id_list" in reader:
        return ifeval_reward(reader.take("instruction_id_list"), reader.take("kwargs"), "kwargs")
    sources = {name: reader.peek(name) for name in SOURCES if name in reader}
    sources = {name: value for name, value in sources.items() if _SOURCE.fullmatch(json.dumps(value))}
    origins = list(sources.values())
    if "ground_truth" in reader:
        reward = truth_reward(reader.take("ground_truth"), "ground_truth", origins, reader.ignored)
    elif isinstance(model := reader.peek("reward_model"), dict) and model.get("ground_truth") is not None:
        reader.take("reward_model")
        reward = truth_reward(model["ground_truth"], "reward_model.ground_truth", origins, reader.ignored)
        reader.ignored |= {f"reward_model.{name}" for name in model if name != "ground_truth"}
    else:
        return None
    for name in sources:
        reader.take(name)
    return reward


def own_reward(reward: Any) -> dict[str, Any]:
    """A reward without the null keys that tables add; a JSON schema is unchanged.

    Raises:
        RowError: it is not an object.
    """
    if not isinstance(reward, dict):
        raise RowError(
            "reward: must be an object with a `type`; write it so, or drop it with ?map=reward:ignore if it is a score"
        )
    return _without_nulls(reward)


def _without_nulls(reward: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in reward.items() if value is not None}
    if isinstance(found.get("parts"), list):
        found["parts"] = [_part_without_nulls(part) for part in found["parts"]]
    return found


def _part_without_nulls(part: Any) -> Any:
    reward = part.get("reward") if isinstance(part, dict) else None
    return part | {"reward": _without_nulls(reward)} if isinstance(reward, dict) else part
