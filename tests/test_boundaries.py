"""Who may import whom, seen from a fresh interpreter: import-linter reads the code, this looks at what really loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.integration


def loaded_by(module: str) -> set[str]:
    """Top-level packages in `sys.modules` after a bare import."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    return set(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split())


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("uniapl", {"torch", "pydantic"}),
        ("uniapl.spec.job", {"torch", "transformers", "numpy", "httpx", "sqlalchemy", "fastapi", "celery"}),
        ("uniapl.run.manifest", {"torch", "transformers", "safetensors", "numpy"}),
        ("uniapl.run.gpus", {"torch", "pynvml"}),
        ("uniapl.estimate.plan", {"torch", "transformers", "peft", "sqlalchemy", "fastapi", "store", "api", "worker"}),
        ("uniapl_client", {"torch", "transformers", "sqlalchemy", "fastapi", "celery", "store", "api", "worker"}),
        ("uniapl.tracing", {"opentelemetry", "torch"}),
        ("api.main", {"torch", "transformers", "worker", "obstore"}),
        ("worker.app", {"torch", "transformers", "fastapi", "api", "obstore"}),
        ("uniapl.training.setup", {"sqlalchemy", "fastapi", "celery", "store", "api", "worker", "uniapl_client"}),
    ],
)
def test_an_import_does_not_drag_in(module: str, forbidden: set[str]) -> None:
    assert loaded_by(module) & forbidden == set()
