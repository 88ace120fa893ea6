"""Model registry: the names that a spec may use, and the sources of their weights.

`models.json` maps a name to `{"kind": "student" | "discriminator", …ModelSource}`. A hub id is accepted as it is when
it matches `hub_models` and exists on the hub; its commit is pinned, so that every attempt uses the same weights.
"""

from __future__ import annotations

import os
import re
from fnmatch import fnmatch
from typing import Any

import httpx

from store.settings import Settings
from uniapl.errors import SpecError
from uniapl.run.config import ModelSource
from uniapl.run.registry import Kind, read_registry

CONFIGS = 256
"""Size of the cache of model configurations."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


class Registry:
    """The models of one deployment."""

    def __init__(self, settings: Settings) -> None:
        """
        Raises:
            SpecError: the registry file cannot be read.
        """
        self._settings = settings
        found = read_registry(settings.models_file)
        self._entries = {name: (model.kind, model.source) for name, model in found.items()}
        self._configs: dict[ModelSource, Any] = {}

    def list(self) -> list[tuple[str, Kind, ModelSource]]:
        """Every registered model, by name."""
        return [(name, kind, source) for name, (kind, source) in sorted(self._entries.items())]

    def resolve(self, name: str, kind: Kind, param: str) -> ModelSource:
        """The source behind a name in a spec.

        Args:
            name: a registered name or a hub id.
            kind: the required kind of model.
            param: the spec's field, for the error.

        Raises:
            SpecError: the name is unknown, or the model is of the other kind.
        """
        if name in self._entries:
            known_as, source = self._entries[name]
            if known_as != kind:
                raise SpecError(f"{name} is a {known_as}, not a {kind}", param=param, hint=self._hint(kind))
            return source
        if _HUB_ID.fullmatch(name) and any(fnmatch(name, pattern) for pattern in self._settings.hub_models):
            return self._from_hub(name, kind, param)
        raise SpecError(f"unknown {kind} {name!r}", param=param, hint=self._hint(kind))

    def _hint(self, kind: Kind) -> str:
        names = [name for name, known_as, _ in self.list() if known_as == kind]
        return f"registered {kind}s: {', '.join(names) or 'none'}; or a hub id such as Qwen/Qwen3-0.6B"

    def hub_config(self, source: ModelSource) -> Any:
        """The `config.json` of a hub model at its pinned commit; `None` if it cannot be downloaded."""
        if source not in self._configs:
            if os.environ.get("HF_HUB_OFFLINE") == "1":
                return None
            try:
                answer = _get(f"{source.hub}/resolve/{source.revision or 'main'}/config.json")
                if len(self._configs) >= CONFIGS:
                    self._configs.clear()
                self._configs[source] = answer.raise_for_status().json()
            except (httpx.HTTPError, ValueError):
                return None
        return self._configs[source]

    def _from_hub(self, name: str, kind: Kind, param: str) -> ModelSource:
        if os.environ.get("HF_HUB_OFFLINE") == "1":
            raise SpecError(
                f"{name!r} is not registered, and the model hub is disabled (HF_HUB_OFFLINE=1)",
                param=param,
                hint=self._hint(kind),
            )
        try:
            answer = _get(f"api/models/{name}")
        except httpx.HTTPError as error:
            raise SpecError(
                f"{name!r} is not registered, and the model hub cannot be reached ({type(error).__name__})",
                param=param,
                hint=f"try again later, or register a local copy; {self._hint(kind)}",
            ) from None
        if answer.status_code != 200:
            raise SpecError(
                f"model {name!r} is not on the model hub, or it is gated (HTTP {answer.status_code})",
                param=param,
                hint="check the spelling; for a gated model set HF_TOKEN for the service",
            )
        return ModelSource(hub=name, revision=answer.json()["sha"])


def _get(path: str) -> httpx.Response:
    """Send a GET request to the model hub."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    token = os.environ.get("HF_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.get(f"{endpoint}/{path}", headers=headers, timeout=5, follow_redirects=True)
