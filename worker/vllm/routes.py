"""Routes that the service requests from vLLM, searched in the sources of an installed vLLM; nothing of it is run."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Sequence

from worker.vllm.command import environment_of_vllm
from worker.vllm.version import python_of

ROUTES = (
    *("/v1/models", "/v1/completions", "/v1/embeddings", "/pooling", "/metrics"),
    *("/v1/load_lora_adapter", "/v1/unload_lora_adapter"),
    *("/collective_rpc", "/reset_prefix_cache", "/update_weight_version", "/weight_info"),
    *("/init_weight_transfer_engine", "/start_weight_update", "/update_weights", "/finish_weight_update"),
    *("/sleep", "/wake_up"),
    *("/get_world_size", "/pause", "/resume"),
)
"""Requested by `uniapl.inference`, `uniapl.rollout` and the health probes of a server."""
SEARCH = """
import json, sys
from importlib.util import find_spec
from pathlib import Path
found = find_spec("vllm")
folders = found.submodule_search_locations if found else []
texts = [file.read_text(errors="replace") for folder in folders for file in Path(folder, "entrypoints").rglob("*.py")]
print(json.dumps([route for route in sys.argv[1:] if not any(f'"{route}"' in text for text in texts)]))
"""
LIMIT_S = 60.0
logger = logging.getLogger(__name__)


def missing_routes(command: Sequence[str], limit_s: float = LIMIT_S) -> list[str]:
    """Routes that this vLLM does not have; none where its sources cannot be searched."""
    python = python_of(command)
    if python is None:
        return []
    search = [python, "-c", SEARCH, *ROUTES]
    environment = environment_of_vllm(os.environ)
    try:
        done = subprocess.run(
            search, capture_output=True, text=True, timeout=limit_s, env=environment, check=True, cwd="/"
        )
        return list(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        logger.warning("the routes of vLLM cannot be searched: %s", error)
        return []
