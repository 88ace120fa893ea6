"""Parts of prompts that students cannot read: images, sounds, and tools among the arguments of chat templates."""

from __future__ import annotations

import re
from typing import Any

from uniapl.spec.importers.fields import FieldReader, RowError

MEDIA = re.compile(
    r"(image|picture|photo|audio|sound|video)s?(_\d+)?(_(path|url|file|bytes)s?)?", re.IGNORECASE
)  # fmt: skip
"""Names of fields with pictures or sounds."""
TEMPLATE_ARGUMENTS = "chat_template_kwargs"
_USED = {"xml_tools": "tools", "python_tools": "tools", "tools": "tools", "custom_instructions": "system"}
"""Arguments of chat templates that change the prompt, and the field of a row that replaces each."""


def refuse_unsupported(reader: FieldReader) -> None:
    """Reject pictures, sounds, and tools or instructions among the arguments of the chat template.

    Raises:
        RowError: the row has such a part.
    """
    for name in reader.unread():
        if MEDIA.fullmatch(name) and _has_value(reader.peek(name)):
            raise RowError(
                f"{name}: students read text, and this belongs to the prompt; remove the row, or drop the field with "
                f"?map={name}:ignore if the prompt is complete without it"
            )
    arguments = reader.peek(TEMPLATE_ARGUMENTS)
    for name, to in _USED.items() if isinstance(arguments, dict) else ():
        if _has_value(arguments.get(name)):
            field = f"{TEMPLATE_ARGUMENTS}.{name}"
            raise RowError(
                f"{field}: belongs to the prompt and would be lost; map it with ?map={field}:{to}, or drop it with "
                f"?map={field}:ignore"
            )


def _has_value(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return any(map(_has_value, value)) if isinstance(value, list) else bool(value)
