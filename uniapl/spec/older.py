"""Stored specs of older versions, with the meaning that their fields had."""

from __future__ import annotations

from typing import Any

IFEVAL_READING = 5
"""First version with `reward.ifeval`; older jobs read constraints as published."""
SAMPLER_REFUSED = 6
"""First version whose jobs are refused a sampler in the trainer's process by workers with a GPU and vLLM."""


def with_old_meaning(spec: Any, version: int) -> Any:
    """A stored spec in which fields that its version lacks have the value that kept its meaning, not their default.

    Args:
        spec: the spec as stored; anything but an object is returned unchanged.
        version: its `SPEC_VERSION`.
    """
    if version >= IFEVAL_READING or not isinstance(spec, dict):
        return spec
    reward = spec.get("reward", {})
    return spec | {"reward": {"ifeval": "published"} | reward} if isinstance(reward, dict) else spec
