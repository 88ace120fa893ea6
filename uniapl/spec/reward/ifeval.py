"""Reward for following verifiable instructions, and validation of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from uniapl.spec.base import Input
from uniapl.spec.reward.constraints import IF_RLVR, IFBENCH, IFEVAL
from uniapl.spec.reward.pattern import check_pattern

IFEVAL_ARGUMENTS: dict[str, TypeAdapter[Any]] = IFEVAL | IF_RLVR | IFBENCH
"""Arguments of every constraint type."""


PATTERNS: dict[str, Callable[[str], str]] = {
    "keywords": lambda keyword: keyword,
    "keyword": lambda keyword: keyword.strip(),
    "forbidden_words": lambda word: rf"\b{word}\b",
    "section_spliter": lambda splitter: rf"\s?{splitter.strip()}\s?\d+\s?",
    "postscript_marker": lambda marker: rf"\s*{marker.strip().lower()}.*$",
}
"""Arguments that the original checkers insert unescaped into a regular expression, and that expression."""


def _check_arguments(name: str, arguments: dict[str, Any]) -> None:
    """Check argument values beyond their types.

    Raises:
        ValueError: a pattern is not a regular expression, or the arguments contradict each other.
    """
    for key, as_used in PATTERNS.items():
        given = arguments.get(key, [])
        for text in [given] if isinstance(given, str) else given:
            try:
                check_pattern(as_used(text))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
    if "letter" in arguments and len(arguments["letter"].strip()) != 1:
        raise ValueError(f"letter: {arguments['letter']!r:.60} must be a single character")
    if (
        name == "length_constraints:nth_paragraph_first_word"
        and arguments["nth_paragraph"] > arguments["num_paragraphs"]
    ):
        raise ValueError("nth_paragraph: is larger than num_paragraphs; lower it")


class IfevalReward(Input):
    """Verifiable instruction following: constraints of IFEval, IF-RLVR and IFBench on the answer."""

    type: Literal["ifeval"] = "ifeval"
    instruction_id_list: Annotated[list[str], Field(min_length=1, max_length=32)]
    """Constraint types, such as `length_constraints:number_words`."""
    kwargs: list[dict[str, Any]]
    """Arguments of each constraint, in the same order; `null` values are ignored."""

    @model_validator(mode="after")
    def _every_constraint_is_known(self) -> Self:
        if len(self.kwargs) != len(self.instruction_id_list):
            raise ValueError(
                f"kwargs has {len(self.kwargs)} entries for {len(self.instruction_id_list)} constraints; "
                "write one object per constraint, {} for a constraint without arguments"
            )
        for i, (name, arguments) in enumerate(self._given()):
            validator = IFEVAL_ARGUMENTS.get(name)
            if validator is None:
                raise ValueError(
                    f"instruction_id_list[{i}]: unknown constraint {name!r}; use one of {', '.join(IFEVAL_ARGUMENTS)}"
                )
            try:
                _check_arguments(name, validator.validate_python(arguments))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                raise ValueError(f"kwargs[{i}] of {name}: {where}: {first['msg']}") from None
            except ValueError as error:
                raise ValueError(f"kwargs[{i}] of {name}: {error}") from None
        return self

    def constraints(self) -> list[tuple[str, dict[str, Any]]]:
        """Type and validated arguments of each constraint."""
        return [(name, IFEVAL_ARGUMENTS[name].validate_python(arguments)) for name, arguments in self._given()]

    def _given(self) -> list[tuple[str, dict[str, Any]]]:
        """Type and unvalidated arguments of each constraint, without nulls."""
        given = [{k: v for k, v in arguments.items() if v is not None} for arguments in self.kwargs]
        return list(zip(self.instruction_id_list, given, strict=True))
