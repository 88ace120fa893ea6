"""Why a request is refused before a route has it."""

from __future__ import annotations


class Unauthenticated(Exception):
    """No valid key was presented; the message says what to do."""


class Forbidden(Exception):
    """The caller is known, and may not do this."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BodyRefused(Exception):
    """The body is not what it may be, or does not come."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code
