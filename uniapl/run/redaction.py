"""Redaction of secrets in all text that leaves the trainer: its reports and its output.

Log and database receive text through one of the two only, so no later component needs the secrets.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast
from urllib.parse import quote

REDACTED = "[secret]"


class Redactor:
    """Replaces secrets, and their forms in JSON, Python literals and URLs. Without secrets it changes nothing."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        self._pattern = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True)))) if forms else None

    def text(self, text: str) -> str:
        """The text with its secrets replaced."""
        return self._pattern.sub(REDACTED, text) if self._pattern else text

    def json(self, value: Any) -> Any:
        """A JSON value with the secrets in all its strings and keys replaced."""
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
        """Redact all further output of this process, tracebacks included."""
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
