"""Base classes and types of request bodies: unknown keys are rejected, instances are immutable."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("contains a NUL character, which databases cannot store; remove it")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
"""Text without NUL characters, which every supported database can store."""
Name = Annotated[Text, Field(min_length=1, max_length=200)]
"""Name of a model or dataset, an id, or a path; 1 to 200 characters."""
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""A positive 32-bit integer."""
ServerAddress = Annotated[Text, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$", max_length=500)]
"""HTTP or HTTPS address of a server, without user, password or query."""


def field_path(error: ErrorDetails, given: Any) -> str:
    """Dotted path of the field that a validation error refers to, as the caller wrote it.

    Pydantic's locations include the member of a union that was tried (`discriminator.polar.model`,
    `alpha.number`). Parts that `given` does not contain are dropped, except the missing key itself.
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
    """A part of a request. Docstrings below the fields become the OpenAPI descriptions."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    def model_post_init(self, context: Any) -> None:
        """Mark `type` as set: a dump with `exclude_unset` needs it to be parsed again."""
        if "type" in type(self).model_fields:
            self.__pydantic_fields_set__.add("type")
