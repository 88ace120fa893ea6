"""The base of everything a caller may send: unknown keys are refused, values never change."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("NUL characters cannot be stored; remove them")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
"""Text that every database can store."""
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""A number of things."""


class Input(BaseModel):
    """A part of a request. Docstrings under the fields become the OpenAPI text."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
