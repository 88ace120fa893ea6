"""A vLLM server that samples, managed by the worker's classes: hand-over of weights, sleep, health probe under load.

On a GPU it uses the trainer's card; without a GPU it is a vLLM for CPUs. The command is that of the setting
UNIAPL_VLLM_COMMAND, or the environment of `make install-vllm` (GPU) or `make vllm` (CPU) in this folder.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.gpu_check import models
from benchmarks.gpu_check.figures import Value
from benchmarks.gpu_check.phases.environment import installed
from benchmarks.gpu_check.phases.sampling import agreement
from benchmarks.gpu_check.report import Report
from uniapl.model.policy import Policy, load_policy
from uniapl.rollout.generator import Completion
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec

if TYPE_CHECKING:
    from benchmarks.gpu_check.vllm_server import Served
    from store.settings import Settings

TOKENIZER = "tiny-random-llama"
PROMPT, GROUP_SIZE = 512, 8
"""Tokens of a prompt, and completions of each."""
SERVER_BYTES = 12e9
"""Memory of the server on a card: too little for all sequences at once."""
PROMPTS, LOAD = {"cpu": 2, "cuda": 8}, {"cpu": 8, "cuda": 64}
TOKENS = {"cpu": 12, "cuda": 256}
PROBE_EVERY_S = 1.0
ENVIRONMENTS = {"cpu": Path(".venv-vllm/bin/vllm"), "cuda": Path(".venv-vllm-gpu/bin/vllm")}
"""vLLM as the Makefile installs it."""
CHANGE = 0.02
"""Standard deviation of the change of each weight between two versions."""


def run(report: Report) -> None:
    """Start a server, and measure it; without vLLM report that there is none."""
    try:
        from benchmarks.gpu_check.vllm_server import served
    except ImportError as error:
        found = "none" if (shutil.which("vllm") is None and installed("vllm") == "none") else "found"
        report.unchecked(f"vLLM ({found}): the worker's packages are not installed: {error}")
        return
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(report, Path(folder))
        if (version := version_of(report, settings)) is None:
            return
        policy, spec = policy_of(report), spec_of(report)
        with served(policy, spec, settings, shared_card=report.device == "cuda") as server:
            start = {"version": version, "torch": torch.__version__, "start s": server.start_s}
            report.figures("server", start)
            hand_over(report, server, policy)
            sleep(report, server, policy)
            probe_under_load(report, server, settings)
    if report.is_short:
        report.unchecked("weights handed over on a card, sleep, a full KV cache: no GPU")


def settings_of(report: Report, folder: Path) -> Settings:
    """A worker's settings; a vLLM for CPUs compiles nothing, and its first reply takes most of a minute.

    Its engine (0.32) fails when it computes a prompt of a seeded request in parts: a CPU's generator has no offset.
    """
    from store.settings import Settings

    found = Settings(data_dir=folder, sidecar_restarts=0, sidecar_probe_every_s=PROBE_EVERY_S)
    if shutil.which(found.vllm_command[0]) is None and (program := ENVIRONMENTS[report.device]).exists():
        found = found.model_copy(update={"vllm_command": [str(program.absolute())]})
    if report.device == "cuda":
        return found
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    options = ["--enforce-eager", "--no-enable-chunked-prefill"]
    return found.model_copy(update={"vllm_options": options, "sidecar_probe_s": 300.0})


def version_of(report: Report, settings: Settings) -> str | None:
    """The version of vLLM; `None`, and a line in the report, if the phase cannot run."""
    from worker.vllm.version import find_version

    found = find_version(settings.vllm_command)
    if found is None:
        report.unchecked(f"a vLLM server: none found (command {settings.vllm_command})")
    elif report.is_short and "cpu" not in found:
        report.unchecked(f"a vLLM server: {found} is not built for CPUs")
        return None
    return found


def policy_of(report: Report) -> Policy:
    """A student with a real tokenizer, which the server loads; on a GPU Qwen3-0.6B's layers with random weights."""
    tiny = load_policy(ModelSource(path=str(report.models / TOKENIZER)), torch.device("cpu"))
    if report.is_short:
        return tiny
    config = models.QWEN3_06B | {"vocab_size": tiny.model.config.vocab_size}
    return replace(models.random_policy(config, report.device, spread=0.03), tokenizer=tiny.tokenizer)


def spec_of(report: Report) -> JobSpec:
    """A job that samples from a server; on a CPU in float32, as the trainer computes there."""
    backend = {"type": "vllm", "max_model_tokens": 1024, "gpu_memory_fraction": share_of(report)}
    backend |= {"dtype": "float32"} if report.is_short else {}
    return models.spec_of(
        rollout={"max_new_tokens": TOKENS[report.device], "backend": backend},
        grpo={"group_size": GROUP_SIZE},
        data={"max_prompt_tokens": PROMPT},
        schedule={"prompts_per_step": LOAD[report.device], "steps": 1},
    )


def share_of(report: Report) -> float:
    """The server's share of the card; without a card it is not used."""
    return 0.1 if report.is_short else min(0.6, round(SERVER_BYTES / torch.cuda.mem_get_info()[1], 3))


def prompts_of(policy: Policy, count: int) -> list[list[int]]:
    """Random prompts."""
    draw = random.Random(0)
    return [draw.choices(range(10, policy.model.config.vocab_size), k=PROMPT) for _ in range(count)]


def hand_over(report: Report, server: Served, policy: Policy, transport: str = "DeviceIpc") -> None:
    """Sample from the first weights, change them, send them twice by the expected transport, and sample again."""
    prompts = prompts_of(policy, PROMPTS[report.device])
    timed_sync(server, 0)
    before = sample(report, server, policy, prompts, "weights of the start")
    change(policy)
    first = timed_sync(server, 1)
    seconds = timed_sync(server, 2)  # the first has initialised the transport
    moved = agreement(policy, prompts, before)["mean difference"]
    values: dict[str, Value] = {"transport": server.transport, "first hand-over s": first, "hand-over s": seconds}
    values |= {"warnings": "; ".join(server.warnings) or "none", "moved": moved}
    report.figures("hand-over", {**values, "on the card": float(server.transport == transport)})
    sample(report, server, policy, prompts, "weights handed over")


def sleep(report: Report, server: Served, policy: Policy) -> None:
    """Put the server to sleep and wake it with new weights; only a server on the trainer's card sleeps."""
    if report.is_short:
        return
    free, _ = torch.cuda.mem_get_info()
    started = time.monotonic()
    server.generator.release()
    seconds, (freed, total) = time.monotonic() - started, torch.cuda.mem_get_info()
    change(policy)
    wake = timed_sync(server, 3)
    share = (freed - free) / (share_of(report) * total)
    report.figures("sleep", {"sleep s": seconds, "freed of the share": share, "wake and hand-over s": wake})
    sample(report, server, policy, prompts_of(policy, PROMPTS[report.device]), "weights after sleep")


def probe_under_load(report: Report, server: Served, settings: Settings) -> None:
    """Probe a server while it has more sequences than fit."""
    from worker.vllm.probe import pulse

    seconds, problems = [], []
    prompts = prompts_of(server.generator._policy, LOAD[report.device])
    with ThreadPoolExecutor(1) as thread:
        began = time.monotonic()
        work: Future[list[list[Completion]]] = thread.submit(
            server.generator.sample, prompts, group_size=GROUP_SIZE, seed=1
        )
        while not work.done():
            started = time.monotonic()
            problems.append(asyncio.run(pulse(server.plan, server.address, settings.sidecar_probe_s)))
            seconds.append(time.monotonic() - started)
            time.sleep(PROBE_EVERY_S / 2)
        tokens = sum(len(completion.ids) for group in work.result() for completion in group)
    figures: dict[str, Value] = {"tokens/s": tokens / (time.monotonic() - began), "probes": float(len(seconds))}
    figures |= {"slowest probe s": max(seconds), "problem": next((text for text in problems if text), "none")}
    failed = sum(bool(text) for text in problems) + (server.sidecar.state != "ready")
    report.figures("probe under load", {**figures, "failed probes": float(failed)})


def timed_sync(server: Served, version: int) -> float:
    """Seconds until the server has the policy's weights."""
    started = time.monotonic()
    server.generator.sync(version)
    return time.monotonic() - started


def sample(
    report: Report, server: Served, policy: Policy, prompts: list[list[int]], group: str
) -> list[list[Completion]]:
    """Completions; reports the agreement of their log-probabilities with the trainer's."""
    found = server.generator.sample(prompts, group_size=GROUP_SIZE, seed=0)
    report.figures(group, agreement(policy, prompts, found))
    return found


@torch.no_grad()
def change(policy: Policy) -> None:
    """Change all weights, by more than rounding."""
    for parameter in policy.model.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=CHANGE)
