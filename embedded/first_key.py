"""API key created at the first start of the embedded service, in a file readable only by its user."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import select

from store.access import api_keys, keyring
from store.db import make_engine, unit_of_work
from store.settings import Settings
from store.tables import Key
from store.tenants import DEFAULT


def key_file(data_dir: Path) -> Path:
    """Path of the key file."""
    return data_dir / "api_key"


def first_key(settings: Settings) -> str | None:
    """Create a key with all scopes if no key exists; returns the content of the key file, or `None` without one."""
    path = key_file(settings.data_dir)
    engine = make_engine(settings.database)
    with unit_of_work(engine) as session:
        if session.scalar(select(Key.id).limit(1)) is None:
            _, made = api_keys.create(session, keyring.load(settings), tenant=DEFAULT, name="first")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(made + "\n")  # before the commit: a stored key without a file could never be used
    engine.dispose()
    return path.read_text().strip() if path.exists() else None
