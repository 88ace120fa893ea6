"""Errors of rendering that a row causes."""

from __future__ import annotations


class RenderError(ValueError):
    """A row cannot be rendered as tokens, or a reference not as the continuation of its prompt."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint
        """Suggested fix."""
