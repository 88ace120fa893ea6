"""Python SDK of the UniAPL training service; it exports the names of `uniapl_client._public`.

They are imported on first use, which keeps `uniapl --help` fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uniapl_client._public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("uniapl_client._version").client_version()
    return getattr(import_module("uniapl_client._public"), name)
