"""Generates `.env.example`: the hand-written part for docker compose is kept, the settings follow from their class."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from store.settings import Settings

FILE = Path(__file__).parent.parent / ".env.example"
MARK = "# --- Settings of the service; `make env-example` writes what follows ---\n"
FIXED = ("data_dir", "models_file", "database_password_file", "broker_password_file", "secret_key_file")
FIXED += ("metrics_token_file", "metrics_port", "log_format")
"""Set by docker-compose.yml itself."""


def example(present: str) -> str:
    """The new text of the file, from its present text."""
    head = present.partition(MARK)[0]
    return head + MARK + "".join(_entry(name, field) for name, field in Settings.model_fields.items())


def _entry(name: str, field: FieldInfo) -> str:
    text = " ".join((field.description or "").split())
    if name in FIXED:
        text += " (docker-compose.yml sets it.)"
    comment = textwrap.fill(text, 110, initial_indent="# ", subsequent_indent="# ")
    return f"\n{comment}\n# UNIAPL_{name.upper()}={_written(field.get_default(call_default_factory=True))}\n"


def _written(value: Any) -> str:
    """A value in the form of an environment variable."""
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (list, bool)) else str(value)


if __name__ == "__main__":
    FILE.write_text(example(FILE.read_text()))
