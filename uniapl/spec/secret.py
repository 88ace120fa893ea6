"""Request body that stores a secret."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from uniapl.spec.base import Input


def _fits_a_header(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("contains characters that an HTTP header cannot hold; use visible ASCII without spaces")
    return value


class NewSecret(Input):
    """Value of a secret to store."""

    value: Annotated[SecretStr, Field(min_length=8, max_length=4096), AfterValidator(_fits_a_header)]
    """8 to 4096 visible ASCII characters. Shorter values could not be redacted from logs reliably."""
