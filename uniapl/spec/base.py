"""The base of everything a caller may send: unknown keys are refused, values never change."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("NUL characters cannot be stored; remove them")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
"""Text that every database can store."""
Name = Annotated[Text, Field(min_length=1, max_length=200)]
"""Name of a model or dataset, an id, or a path."""
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""A number of things."""
ServerAddress = Annotated[Text, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$", max_length=500)]
"""Address of a server, without user, password or query."""


def field_path(error: ErrorDetails, given: Any) -> str:
    """Dotted name of the field that a validation error is about, as the caller wrote it.

    Pydantic's locations also name the member of a union that was tried (`discriminator.polar.model`,
    `alpha.number`); what `given` does not contain is left out, unless it is the missing key itself.
    """
    parts: list[str] = []
    for i, part in enumerate(error["loc"]):
        missing = error["type"] == "missing" and i == len(error["loc"]) - 1
        try:
            given = given[part]
        except (KeyError, IndexError, TypeError):
            if not missing:
                continue
        parts.append(str(part))
    return ".".join(parts)


class Input(BaseModel):
    """A part of a request. Docstrings under the fields become the OpenAPI text."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    def model_post_init(self, context: Any) -> None:
        """Count `type` as given: without it a dump of what was given could not be read back."""
        if "type" in type(self).model_fields:
            self.__pydantic_fields_set__.add("type")
