"""Regular expressions in dataset rows, compiled with Python's `re` when the row is parsed."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from uniapl.spec.base import Text


def check_pattern(pattern: str) -> str:
    """The pattern, unchanged, if it compiles.

    Raises:
        ValueError: it is not a regular expression.
    """
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(
            f"{pattern[:80]!r} is not a regular expression: {error}; escape special characters with \\"
        ) from None
    return pattern


Pattern = Annotated[Text, Field(min_length=1, max_length=10_000), AfterValidator(check_pattern)]
"""A regular expression."""
