"""Why a caller is not let in."""

from __future__ import annotations


class Unauthenticated(Exception):
    """No valid key was presented; the message says what to do."""


class Forbidden(Exception):
    """The caller is known, and may not do this."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
