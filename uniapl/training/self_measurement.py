"""Self-measurement of a box: tokens per second of updates and of sampling, with a model of random weights.

`python -m uniapl.training.self_measurement --out FILE` writes `uniapl.spec.estimate.Speed` as JSON. It gives way to
every other process, and takes about 20 seconds. Nothing is compiled, which alone would take longer.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from uniapl.batching.batch import Sequence
from uniapl.model.device import find_device
from uniapl.model.kernels import kernels_for
from uniapl.model.policy import Policy
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.run import atomic
from uniapl.run.signals import die_with_parent
from uniapl.spec.estimate import Speed
from uniapl.spec.job import JobSpec
from uniapl.training.learner import Learner

UPDATE_S = 6.0
"""Seconds of updates; at least one is measured."""
COPIED = 2**30
"""Bytes of a copy that measures the memory of a GPU."""
COPIES = 10
NO_END = -1
"""End token that is never sampled, so that all completions have the full length."""


@dataclass(frozen=True)
class Workload:
    """A model, and what it is measured with."""

    config: dict[str, Any]
    """Entries of a transformers config, `model_type` included."""
    sequences: int
    """Sequences of an update, half prompt and half answer."""
    length: int
    """Tokens of each."""
    prompts: int
    """Prompts that answers are sampled for, in one batch."""
    group_size: int
    answer: int
    """Tokens of each sampled answer."""


SMOLLM2_135M = {
    "model_type": "llama", "vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192, "tie_word_embeddings": True,
}  # fmt: skip
QWEN3_06B = {
    "model_type": "qwen3", "vocab_size": 151_936, "hidden_size": 1024, "intermediate_size": 3072,
    "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 40_960, "tie_word_embeddings": True,
}  # fmt: skip
WORKLOADS = {
    "cpu": Workload(SMOLLM2_135M, sequences=4, length=64, prompts=1, group_size=8, answer=24),
    "cuda": Workload(QWEN3_06B, sequences=16, length=2048, prompts=8, group_size=8, answer=64),
}


def measure(workload: Workload, device: torch.device, *, update_s: float = UPDATE_S) -> Speed:
    """Measure the trainer's parts on a device, each after a run that warms it up.

    Args:
        workload: the model, and the sizes of update and batch.
        device: that of a trainer.
        update_s: seconds of updates.
    """
    policy = _policy(workload, device)
    update = _update_rate(policy, workload, update_s)
    return Speed(
        device="gpu" if device.type == "cuda" else "cpu",
        parameters=sum(p.numel() for p in policy.model.parameters()),
        update=update,
        sampling=_sampling_rate(policy, workload),
        memory=_memory_rate(device) if device.type == "cuda" else None,
    )


def _policy(workload: Workload, device: torch.device) -> Policy:
    """A policy with random float32 weights on the device, prepared as a student is."""
    entries = {name: value for name, value in workload.config.items() if name != "model_type"}
    config = AutoConfig.for_model(workload.config["model_type"], **entries)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    kernels_for(device).prepare_model(model)
    model.eval()
    tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=NO_END)
    return Policy(model, tokenizer)


def _update_rate(policy: Policy, workload: Workload, seconds: float) -> float:
    """Tokens per second of supervised updates."""
    fields = {"student": "s", "dataset_mix": [{"dataset": "d"}], "alpha": 1.0, "lambda_adv": 0.0}
    learner = Learner(policy, JobSpec.model_validate(fields))
    sequences = [
        Sequence(ids[: len(ids) // 2], ids[len(ids) // 2 :], demonstration=True)
        for ids in _random_ids(workload, workload.sequences, workload.length)
    ]
    learner.update(sequences[:1], 0, measure_terms=False)
    done, spent = 0, 0.0
    while done == 0 or spent < seconds:
        spent += _timed(policy, lambda: learner.update(sequences, 0, measure_terms=False))
        done += workload.sequences * workload.length
    return done / spent


def _sampling_rate(policy: Policy, workload: Workload) -> float:
    """Tokens per second of sampling in the trainer's process."""
    prompts = _random_ids(workload, workload.prompts, workload.length // 2)

    def sample(tokens: int) -> None:
        rows = workload.prompts * workload.group_size
        sampler = TransformersGenerator(policy, temperature=1.0, max_new_tokens=tokens, batch_size=rows)
        sampler.sample(prompts, group_size=workload.group_size, seed=0)

    sample(2)
    seconds = _timed(policy, lambda: sample(workload.answer))
    return workload.prompts * workload.group_size * workload.answer / seconds


def _memory_rate(device: torch.device) -> float:
    """Bytes per second that the device's memory reads and writes in copies."""
    source = torch.zeros(COPIED, dtype=torch.uint8, device=device)
    target = source.clone()
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    for _ in range(COPIES):
        target.copy_(source)
    torch.cuda.synchronize(device)
    return 2 * COPIED * COPIES / (time.perf_counter() - started)


def _random_ids(workload: Workload, count: int, length: int) -> list[list[int]]:
    draw = random.Random(0)
    return [draw.choices(range(workload.config["vocab_size"]), k=length) for _ in range(count)]


def _timed(policy: Policy, run: Callable[[], Any]) -> float:
    """Seconds of a run on the policy's device."""
    _wait(policy.device)
    started = time.perf_counter()
    run()
    _wait(policy.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(workloads: dict[str, Workload] = WORKLOADS, *, update_s: float = UPDATE_S) -> None:
    """Measure the device of a trainer, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file of the result")
    parser.add_argument("--parent-pid", type=int, help="exit when this parent process dies")
    arguments = parser.parse_args()
    if arguments.parent_pid is not None:
        die_with_parent(arguments.parent_pid)
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    device = find_device().device
    kernels_for(device).prepare_process()
    found = measure(workloads[device.type], device, update_s=update_s)
    atomic.write(arguments.out, found.model_dump_json().encode())


if __name__ == "__main__":
    main()
