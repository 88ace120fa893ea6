"""A key for somebody else's server, as it is handed to the service."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from uniapl.spec.base import Input


def _fits_a_header(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a secret is made of visible ASCII characters, without blanks or line ends")
    return value


class NewSecret(Input):
    """A secret to store."""

    value: Annotated[SecretStr, Field(min_length=8, max_length=4096), AfterValidator(_fits_a_header)]
    """Visible ASCII characters; at least 8, so that it can be told from other text where it must not be shown."""
