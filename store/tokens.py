"""Counting the tokens of a registered student."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from store.models import Registry
from uniapl.data import token_count as tokens
from uniapl.errors import SpecError


def counter(registry: Registry, student: str) -> Callable[[str], int]:
    """How many tokens a text has for a student; see `uniapl.data.token_count`.

    Raises:
        SpecError: nobody knows the student, or its tokenizer is not on this machine.
    """
    return tokens.counter(_file(registry, student))


def _file(registry: Registry, student: str) -> Path:
    students = {name: source for name, kind, source in registry.list() if kind == "student"}
    here = {name: Path(source.path) / "tokenizer.json" for name, source in students.items() if source.path is not None}
    if student in here and here[student].is_file():
        return here[student]
    known = ", ".join(sorted(name for name, file in here.items() if file.is_file()))
    reason = "has no tokenizer.json on this machine" if student in students else "is not a registered student"
    raise SpecError(f"{student!r} {reason}", param="student", hint=f"tokens can be counted for: {known or 'none'}")
