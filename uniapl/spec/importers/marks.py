"""Marks of whole rows: answers that are labelled as bad, or excluded from training."""

from __future__ import annotations

from uniapl.spec.importers.fields import FieldReader, RowError
from uniapl.spec.importers.shapes import CONVERSATIONS
from uniapl.spec.importers.turns import MASKED, TRAINED, refuse_untrained, switch

ANSWERS = ("reference", "completion", "chosen")
"""Fields with an answer to imitate."""
MARKS = (
    *("label", "kto_tag", "desirable", "is_desirable", "is_correct", "correct", "thumbs_up", "is_good", "accepted"),
    *("is_safe", "is_valid", "verified", "passed", "resolved", "success"),
)
"""Fields that mark an answer as good or bad; the first two as in KTO."""


def refuse_marks(reader: FieldReader) -> None:
    """Reject answers that are marked as bad, or as not to be trained.

    Raises:
        RowError: the row has such a mark.
    """
    for name in MARKS:
        value = reader.peek(name)
        is_bad = switch(value) is False if name in MARKS[:2] else value in (False, "false", "False")
        if is_bad and (name == "label" or _imitates(reader)):
            raise RowError(
                f"{name}: {str(value).lower():.60} marks a bad completion, which must not be imitated; remove the "
                f"row, or drop the field with ?map={name}:ignore if it has another meaning"
            )
    if "completion" in reader and (given := reader.peek("label")) is not None:
        if switch(given) is None:
            raise RowError(f"label: {given!r:.60} is neither true nor false; write true, or remove the row")
        reader.take("label")
    for name in (*TRAINED, *MASKED):
        if switch(reader.peek(name)) is (name in MASKED):
            refuse_untrained({name: reader.peek(name)}, "")


def _imitates(reader: FieldReader) -> bool:
    """Whether a row may have an answer to imitate."""
    return any(name in reader for name in (*ANSWERS, *CONVERSATIONS))
