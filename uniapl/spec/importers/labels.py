"""Id and tags of a row, as other tools write them."""

from __future__ import annotations

from uniapl.spec.importers.fields import FieldReader, RowError

MAX_ID = 128
"""Maximum length of an id, in characters."""


def row_tags(reader: FieldReader) -> list[str] | None:
    """Consume the labels of a row; `None` if the field is absent, or has another meaning and is ignored."""
    given = reader.peek("tags")
    given = [given] if isinstance(given, (str, int, float)) else given
    if not isinstance(given, list) or not all(isinstance(tag, (str, int, float)) for tag in given):
        return None
    reader.take("tags")
    return list(map(str, given))


def row_id(reader: FieldReader) -> str | None:
    """Consume the id of a row; `None` if it is absent or empty.

    Raises:
        RowError: it is neither a text nor a number, or too long.
    """
    name = "id" if "id" in reader else "key"
    given = reader.take(name)
    if given is None or given == "":
        return None
    if isinstance(given, bool) or not isinstance(given, (str, int, float)):
        raise RowError(f"{name}: must be a text or a number; write it so, or drop it with ?map={name}:ignore")
    text = str(given)
    if len(text) > MAX_ID:
        raise RowError(
            f"{name}: has {len(text)} characters, and at most {MAX_ID} are allowed; shorten it, or drop it with "
            f"?map={name}:ignore"
        )
    return text
