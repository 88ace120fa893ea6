"""Memory estimates compared with measured peaks (`make bench-memory`); prints the table of docs/estimate.md.

Each run is `python -m uniapl train` for two steps on the bundled rows. The peak is the kernel's VmHWM of the trainer
plus that of the reward processes; on a GPU (`--device cuda`) the growth of the card's used memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.fresh import add_device
from uniapl.estimate import plan
from uniapl.estimate.model_shape import read_shape
from uniapl.run.config import RunConfig
from uniapl.spec.estimate import Bytes

ROOT = Path(__file__).parent.parent
MODELS, ROWS = ROOT / "data" / "models", ROOT / "examples" / "data" / "train.jsonl"
POLL_S = 0.05
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("tiny", {}),
    "tiny, SFT only": ("tiny", {"alpha": 1, "lambda_adv": 0}),
    "tiny, no discriminator": ("tiny", {"lambda_adv": 0}),
    "tiny, answers of 256": ("tiny", {"grpo.group_size": 8, "rollout.max_new_tokens": 256}),
    "tiny, micro-batches of 4096": (
        "tiny",
        {"grpo.group_size": 8, "rollout.max_new_tokens": 64, "schedule.prompts_per_step": 8, "micro": 4096},
    ),
    "mid": ("mid", {}),
    "mid, SFT only": ("mid", {"alpha": 1, "lambda_adv": 0}),
    "mid, no discriminator": ("mid", {"lambda_adv": 0}),
    "mid, learned discriminator": ("mid", {"discriminator": {"type": "learned", "warmup_steps": 0}}),
    "mid, LoRA": ("mid", {"lora": {"rank": 8}}),
    "mid, 8-bit moments": ("mid", {"optimizer.moments": "8bit"}),
    "mid, KL reference": ("mid", {"grpo.kl_coef": 0.05}),
    "mid, LoRA and KL": ("mid", {"lora": {"rank": 8}, "grpo.kl_coef": 0.05}),
    "mid, groups of 8": ("mid", {"grpo.group_size": 8}),
    "mid, answers of 128": ("mid", {"rollout.max_new_tokens": 128}),
    "mid, micro-batches of 512": ("mid", {"micro": 512}),
    "mid, micro-batches of 2048": ("mid", {"grpo.group_size": 8, "micro": 2048}),
    "mid, 12 steps": ("mid", {"schedule.steps": 12}),
    "mid, other numbers": (
        "mid",
        {"grpo.group_size": 6, "rollout.max_new_tokens": 48, "schedule.prompts_per_step": 6, "micro": 700, "seed": 5},
    ),
    "mid, LoRA, other numbers": (
        "mid",
        {"lora": {"rank": 32}, "grpo.group_size": 6, "rollout.max_new_tokens": 48, "micro": 1500, "seed": 5},
    ),
    "135M": ("smol", {}),
    "135M, SFT only": ("smol", {"alpha": 1, "lambda_adv": 0}),
    "135M, SFT only, 8-bit moments": ("smol", {"alpha": 1, "lambda_adv": 0, "optimizer.moments": "8bit"}),
    "135M, LoRA": ("smol", {"lora": {"rank": 8}}),
    "135M, KL reference": ("smol", {"grpo.kl_coef": 0.05}),
    "135M, learned discriminator": (
        "smol",
        {"discriminator": {"type": "learned", "warmup_steps": 0, "batch_size": 2}},
    ),
    "135M, micro-batches of 512": ("smol", {"grpo.group_size": 4, "rollout.max_new_tokens": 32, "micro": 512}),
    "135M, LoRA, answers of 128": (
        "smol",
        {"lora": {"rank": 8}, "grpo.group_size": 8, "rollout.max_new_tokens": 128, "micro": 512, "schedule.steps": 1},
    ),
    "135M, other numbers": (
        "smol",
        {"grpo.group_size": 3, "rollout.max_new_tokens": 40, "schedule.prompts_per_step": 3, "micro": 384, "seed": 5},
    ),
}
SMALL = {"grpo.group_size": 2, "rollout.max_new_tokens": 16, "schedule.prompts_per_step": 2, "micro": 256}
"""Changes for the largest of the three models."""


def run_config(student: Path, folder: Path, **changes: Any) -> RunConfig:
    """A run of two steps with all three terms; `changes` by field path, with `micro` for micro_batch_tokens."""
    spec: dict[str, Any] = {
        "student": str(student),
        "dataset_mix": [{"dataset": str(ROWS)}],
        "alpha": 0.3,
        "lambda_adv": 0.01,
        "grpo": {"group_size": 4},
        "rollout": {"max_new_tokens": 32},
        "discriminator": {"type": "embedding", "model": str(MODELS / "all-minilm-l6-v2")},
        "schedule": {"steps": 2, "prompts_per_step": 4},
        "resources": {"micro_batch_tokens": 1024},
    }
    for name, value in changes.items():
        part, _, field = ("resources.micro_batch_tokens" if name == "micro" else name).partition(".")
        if field:
            spec.setdefault(part, {})[field] = value
        else:
            spec[part] = value
    return RunConfig.model_validate({"spec": spec, "run_dir": str(folder)})


def estimated(run: RunConfig, device: str = "cpu") -> Bytes:
    """Estimated total memory, on a CPU or in the GPU's memory."""
    spec = run.spec
    models = plan.read_models(spec, run.model_source, read_shape)
    files = [(run.dataset_path(e.dataset), len(ROWS.read_text().splitlines())) for e in spec.dataset_mix]
    entries = plan.read_entries(spec, run.model_source(spec.student), files)
    return plan.memory(spec, models, entries, "gpu" if device == "cuda" else "cpu").total


def measured(run: RunConfig, device: str = "cpu") -> int:
    """Train, and return the peak memory in bytes.

    On a GPU no other process may use the card meanwhile.

    Raises:
        RuntimeError: the run failed.
    """
    folder = Path(run.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(run.model_dump_json())
    peaks: dict[int, int] = {}
    before, on_card = used(device), 0
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "uniapl", "train", str(folder / "run.json")]
        hidden = {"CUDA_VISIBLE_DEVICES": "-1"} if device == "cpu" else {}
        trainer = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | hidden)
        while trainer.poll() is None:
            on_card = max(on_card, used(device) - before)
            for pid in [trainer.pid, *_children(trainer.pid)]:
                if found := _peak(pid):
                    peaks[pid] = found  # the latest value: between fork and exec, a child has its parent's
            time.sleep(POLL_S)
    if trainer.returncode != 0:
        raise RuntimeError((folder / "log").read_text())
    shutil.rmtree(folder / "checkpoints")  # they are large
    return on_card if device == "cuda" else sum(peaks.values())


def used(device: str) -> int:
    """Bytes in use on the card, by all processes; 0 for a CPU."""
    if device == "cpu":
        return 0
    import torch

    free, total = torch.cuda.mem_get_info()
    return total - free


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _peak(pid: int) -> int:
    """Peak resident memory of a process, in bytes; 0 after its exit."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def write_mid(folder: Path) -> Path:
    """Write a Llama with 28 million random weights and SmolLM2's tokenizer; return its folder."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "smollm2-135m-instruct")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=64,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    """Measure all runs sequentially and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("-k", default="", help="only runs with this text in the name")
    add_device(parser)
    options = parser.parse_args()
    wanted, device = options.k, options.device
    print(f"{date.today()}\n\n| run | low | expected | high | measured | expected vs. measured |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        students = {
            "tiny": MODELS / "tiny-random-llama",
            "mid": write_mid(Path(folder) / "mid"),
            "smol": MODELS / "smollm2-135m-instruct",
        }
        for number, (name, (student, changes)) in enumerate(RUNS.items()):
            if wanted not in name:
                continue
            changes = {**(SMALL if student == "smol" else {}), **changes}
            run = run_config(students[student], Path(folder) / str(number), **changes)
            need, found = estimated(run, device), measured(run, device)
            sizes = " | ".join(f"{size / 1e9:.2f}" for size in (need.low, need.expected, need.high, found))
            print(f"| {name} | {sizes} | {need.expected / found - 1:+.0%} |", flush=True)


if __name__ == "__main__":
    main()
