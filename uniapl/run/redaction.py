"""Secrets are blacked out where text leaves the trainer: in its reports, and in what it prints.

What its log and the database hold has passed one of the two, so that nobody after it has to know a secret.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast
from urllib.parse import quote

BLACKED_OUT = "[secret]"


class Redactor:
    """Knows secrets, as they are and as JSON, Python and addresses write them. One without secrets changes nothing."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        self._pattern = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True)))) if forms else None

    def text(self, text: str) -> str:
        """The text with its secrets blacked out."""
        return self._pattern.sub(BLACKED_OUT, text) if self._pattern else text

    def json(self, value: Any) -> Any:
        """The same for every text in a value of JSON; numbers stay numbers."""
        match value:
            case str():
                return self.text(value)
            case list() | tuple():
                return [self.json(part) for part in value]
            case dict():
                return {self.json(key): self.json(part) for key, part in value.items()}
            case _:
                return value

    def guard_outputs(self) -> None:
        """Let everything that this process prints from now on, tracebacks included, pass through here."""
        if self._pattern is not None:
            sys.stdout, sys.stderr = _Guarded(sys.stdout, self), _Guarded(sys.stderr, self)


class _Guarded(io.TextIOWrapper):
    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        stream.flush()
        plain = cast(io.TextIOWrapper, stream)
        super().__init__(
            plain.buffer,
            encoding=plain.encoding,
            errors=plain.errors,
            line_buffering=plain.line_buffering,
            write_through=plain.write_through,
        )
        self._redactor = redactor

    def write(self, text: str) -> int:
        super().write(self._redactor.text(text))
        return len(text)


def _forms(secret: str) -> set[str]:
    return {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")}
