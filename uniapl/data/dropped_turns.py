"""Turns that a chat template leaves out of a prompt."""

from __future__ import annotations

import json
import re

from uniapl.errors import DatasetError
from uniapl.spec.dataset import DatasetRow

ENDS = 20
"""Characters at each end of a content, of which a template keeps one where it edits the rest."""
_COMMANDS = re.compile(r"/(?:no_?)?think\b|/system_override\b")
"""Commands that templates take out of a content."""


def refuse_dropped(row: DatasetRow, prompt: str, name: str) -> None:
    """Check that a rendered prompt contains the system turns and the turns of the user.

    Raises:
        DatasetError: the chat template leaves one out.
    """
    for i, message in enumerate(row.messages):
        if message.role in ("system", "user") and not _is_rendered(message.content, prompt):
            raise DatasetError(
                f"row {name}: messages.{i}: the student's chat template does not render this turn of role "
                f"{message.role!r}: {message.content.strip()!r:.100}",
                param="data.chat_template",
                hint="set data.chat_template to a template that renders it, or put its text into another turn",
            )


def _is_rendered(content: str, prompt: str) -> bool:
    """Whether the beginning, the end or the longest line of a content is in the prompt."""
    whole, edited = content.strip(), _COMMANDS.sub("", content).strip()
    pieces = [
        piece.strip()
        for text in {whole, edited}
        for piece in (text[:ENDS], text[-ENDS:], max(text.splitlines(), key=len, default=""))
    ]
    return any(piece in prompt or json.dumps(piece, ensure_ascii=False)[1:-1] in prompt for piece in pieces)
