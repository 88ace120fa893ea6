"""Forward-compatible types: specs and rows of another release, kept as they are if this release cannot parse them.

`JobSpec` and `DatasetRow` reject unknown keys in requests. For stored objects a rejection would fail every response
that contains one.
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
    """A JSON object that this release cannot parse, unchanged; its keys are attributes."""

    model_config = ConfigDict(extra="allow", frozen=True)

    __pydantic_extra__: dict[str, Annotated[Any, AfterValidator(_raw)]] = Field(init=False)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def _as_object(given: Any) -> Any:
    return given if isinstance(given, dict | BaseModel) else {"unreadable": given}


StoredSpec = Annotated[JobSpec | RawObject, Field(union_mode="left_to_right"), BeforeValidator(_as_object)]
"""A `JobSpec` if this release can parse it, else a `RawObject`."""
StoredRow = Annotated[DatasetRow | RawObject, Field(union_mode="left_to_right"), BeforeValidator(_as_object)]
"""A `DatasetRow` if this release can parse it, else a `RawObject`."""
STORED_SPEC: TypeAdapter[JobSpec | RawObject] = TypeAdapter(StoredSpec)
STORED_ROW: TypeAdapter[DatasetRow | RawObject] = TypeAdapter(StoredRow)
