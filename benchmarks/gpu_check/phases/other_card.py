"""Weights by NCCL: the library on one GPU, and the hand-over to a vLLM server on a second one."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch

from benchmarks.gpu_check.phases.vllm_sampler import hand_over, policy_of, settings_of, spec_of, version_of
from benchmarks.gpu_check.report import Report
from uniapl.rollout.nccl import GroupError, Nccl

SECOND = "1"
"""The server's GPU; the trainer uses the first."""


def run(report: Report) -> None:
    """Check the library, then the hand-over; without two GPUs report what is left out."""
    if report.is_short:
        report.unchecked("weights by NCCL to a sampler on another card: no GPU")
        return
    library(report)
    if (cards := torch.cuda.device_count()) < 2:
        report.unchecked(f"weights by NCCL to a sampler on another card: it needs two GPUs, and there is {cards}")
        return
    with tempfile.TemporaryDirectory() as folder:
        hand_over_to_second_card(report, Path(folder))


def library(report: Report) -> None:
    """Load NCCL and make a group without other members."""
    nccl, device = Nccl(), torch.device("cuda", 0)
    tensor = torch.arange(1000, device=device, dtype=torch.bfloat16)
    before, started = tensor.clone(), time.monotonic()
    try:
        group = nccl.join(nccl.new_id(), 1, device)
        group.broadcast([tensor])
        group.abort()
    except GroupError as error:
        report.figures("library", {"group of one": 0.0, "error": str(error)})
        return
    same = float(torch.equal(before, tensor))
    report.figures("library", {"group of one": same, "join, broadcast and abort s": time.monotonic() - started})


def hand_over_to_second_card(report: Report, folder: Path) -> None:
    """Send weights to a server on the second GPU, and compare its log-probabilities with the trainer's."""
    try:
        from benchmarks.gpu_check.vllm_server import served
    except ImportError as error:
        report.unchecked(f"a vLLM server on another card: the worker's packages are not installed: {error}")
        return
    settings = settings_of(report, folder)
    if version_of(report, settings) is None:
        return
    settings = settings.model_copy(update={"rollout_devices": SECOND})
    policy, spec = policy_of(report), spec_of(report)
    with served(policy, spec, settings, shared_card=False, other_card=True) as server:
        hand_over(report, server, policy, transport="NcclTransfer")
