"""What another release may have stored or answered: read as it is where this one does not know it.

Requests are read by `JobSpec` and `DatasetRow`, which refuse unknown keys. What is stored is a fact: to refuse it would
take down every answer that shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from uniapl.spec.dataset import DatasetRow
from uniapl.spec.job import JobSpec


def _raw(given: Any) -> Any:
    if isinstance(given, dict):
        return RawObject.model_validate(given)
    return [_raw(item) for item in given] if isinstance(given, list) else given


class RawObject(BaseModel):
    """An object that this release does not know all of, with everything that it holds; its keys are attributes."""

    model_config = ConfigDict(extra="allow", frozen=True)

    __pydantic_extra__: dict[str, Annotated[Any, AfterValidator(_raw)]] = Field(init=False)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def _as_object(given: Any) -> Any:
    return given if isinstance(given, dict | BaseModel) else {"unreadable": given}


StoredSpec = Annotated[JobSpec | RawObject, Field(union_mode="left_to_right"), BeforeValidator(_as_object)]
"""A `JobSpec` where this release knows every part of it, else `RawObject`."""
StoredRow = Annotated[DatasetRow | RawObject, Field(union_mode="left_to_right"), BeforeValidator(_as_object)]
"""A `DatasetRow` where this release knows every part of it, else `RawObject`."""
STORED_SPEC: TypeAdapter[JobSpec | RawObject] = TypeAdapter(StoredSpec)
STORED_ROW: TypeAdapter[DatasetRow | RawObject] = TypeAdapter(StoredRow)
