"""Counting a student's tokens without torch: by the `tokenizer.json` beside its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from store.models import Registry
from uniapl.errors import SpecError

_PIECE = 65_536
"""Characters counted at once; a tokenizer takes some hundred times the memory of its text."""


def counter(registry: Registry, student: str) -> Callable[[str], int]:
    """How many tokens a text has for a registered student, without special ones; exact up to 65,536 characters.

    Raises:
        SpecError: nobody knows the student, or its tokenizer is not on this machine.
    """
    tokenizer = Tokenizer.from_file(str(_file(registry, student)))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(text: str) -> int:
        pieces = (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
        return sum(len(tokenizer.encode(piece, add_special_tokens=False).ids) for piece in pieces)

    return count


def _file(registry: Registry, student: str) -> Path:
    students = {name: source for name, kind, source in registry.list() if kind == "student"}
    here = {name: Path(source.path) / "tokenizer.json" for name, source in students.items() if source.path is not None}
    if student in here and here[student].is_file():
        return here[student]
    known = ", ".join(sorted(name for name, file in here.items() if file.is_file()))
    reason = "has no tokenizer.json on this machine" if student in students else "is not a registered student"
    raise SpecError(f"{student!r} {reason}", param="student", hint=f"tokens can be counted for: {known or 'none'}")
