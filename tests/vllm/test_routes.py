"""The routes that the service requests exist in a real vLLM."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from worker.vllm.routes import missing_routes

pytestmark = pytest.mark.vllm


def test_an_installed_vllm_has_all_routes() -> None:
    vllm = ROOT / ".venv-vllm" / "bin" / "vllm"
    assert vllm.exists()
    assert missing_routes([str(vllm)]) == []
