"""The student's number of positions against the longest sequences of a job.

Beyond its positions, a student with a table of positions fails, and one with rotary positions computes with angles that
it never met in pretraining.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from uniapl.errors import SpecError
from uniapl.spec.job import JobSpec, Role

FIELDS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")
"""Names of the number of positions in configs."""
TABLES = ("gpt2", "gpt_bigcode", "gpt_neo", "gptj", "codegen", "opt", "openai-gpt", "biogpt", "xglm", "ctrl")
"""Model types with a table of positions."""


@dataclass(frozen=True)
class Excess:
    """A job with sequences that are longer than the student's positions."""

    longest: int
    """Tokens of the longest sequence."""
    positions: int
    fails: bool
    """Whether the student's forward fails then."""

    @property
    def message(self) -> str:
        """The finding, with its numbers."""
        then = "its forward fails beyond them" if self.fails else "it was not pretrained beyond them"
        return (
            f"the longest sequence of this job has {self.longest} tokens, prompt and answer together, and the student "
            f"has {self.positions} positions: {then}"
        )

    @property
    def remedy(self) -> str:
        """What to change."""
        return (
            "lower data.max_prompt_tokens, data.max_reference_tokens or rollout.max_new_tokens until prompt and answer "
            f"have at most {self.positions} tokens"
        )

    @property
    def error(self) -> SpecError:
        """The error of a job that would fail."""
        return SpecError(self.message, param="rollout.max_new_tokens", hint=self.remedy)


def positions_of(config: Any) -> int | None:
    """Number of positions in a parsed `config.json`, with those that scaling adds; `None` where it has no limit."""
    if not isinstance(config, Mapping):
        return None
    text = _text(config)
    found: int | None = next((text[name] for name in FIELDS if isinstance(text.get(name), int)), None)
    scaling = text.get("rope_parameters") or text.get("rope_scaling") or {}
    original, factor = scaling.get("original_max_position_embeddings"), scaling.get("factor")
    if found is None or not isinstance(original, int) or not isinstance(factor, (int, float)):
        return found
    return max(found, int(original * factor))


def excess(spec: JobSpec, config: Any, rows: Iterable[tuple[Role, int, int]]) -> Excess | None:
    """The sequences of a job beyond the student's positions; `None` where all fit.

    Args:
        spec: the job.
        config: the student's parsed `config.json`.
        rows: role, tokens of the prompt, and tokens of the reference (0 without one) of the mix's rows.
    """
    positions = positions_of(config)
    if positions is None:
        return None
    longest = max((_tokens(spec, *row) for row in rows), default=0)
    fails = _text(config).get("model_type") in TABLES
    return Excess(longest, positions, fails) if longest > positions else None


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of the language model, which is a part of that of some students."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def _tokens(spec: JobSpec, role: Role, prompt: int, reference: int) -> int:
    """Tokens of a row's longest sequence."""
    sampled = (spec.uses_grpo and role in ("rl", "both")) or (spec.uses_adv and role in spec.compared_roles())
    imitated = spec.uses_sft and role in ("sft", "both")
    return prompt + max(spec.rollout.max_new_tokens if sampled else 0, reference if imitated else 0)


def allowed_rows(spec: JobSpec) -> list[tuple[Role, int, int]]:
    """The longest row that `data` allows, for each entry of the mix."""
    longest = spec.data.max_prompt_tokens, spec.data.max_reference_tokens
    return [(entry.role, *longest) for entry in spec.dataset_mix]
