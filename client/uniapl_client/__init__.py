"""Python SDK of the UniAPL training service. Its names are those of `uniapl_client._public`.

They are loaded when the first of them is used, so that the command line can show its help at once.
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
