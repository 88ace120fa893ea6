"""Python SDK of the UniAPL training service; it exports the names of `uniapl_client._public`.

They are imported on first use, which keeps `uniapl --help` fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uniapl_client._public import *  # noqa: F403

    __version__: str

else:  # hidden from type checkers, which would accept any name

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            return import_module("uniapl_client._version").client_version()
        try:
            return getattr(import_module("uniapl_client._public"), name)
        except AttributeError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None

    def __dir__() -> list[str]:
        return sorted({*globals(), *import_module("uniapl_client._public").__all__, "__version__"})
