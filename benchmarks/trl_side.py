"""TRL updates on replayed rollouts, as a child process: `python -m benchmarks.trl_side KIND MICRO STEPS DEVICE CASE`.

It runs in `.venv-trl`, which adds TRL to this project's torch and transformers. The rollouts are passed through TRL's
rollout function. TRL's defaults that trade time for memory are disabled: recomputed activations, and on a CPU
bfloat16, which some processors emulate; on a GPU both sides use bfloat16 autocast.
"""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from benchmarks.fresh import MODEL, Result, Steps
from benchmarks.replay import Case

OPTIONS: dict[str, Any] = {  # UniAPL's defaults, where they affect the update
    "learning_rate": 1e-6,
    "lr_scheduler_type": "constant",
    "optim": "adamw_torch_fused",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "gradient_checkpointing": False,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "model_init_kwargs": {"dtype": "float32"},
}


def on(device: str) -> dict[str, bool]:
    """Options by device; weights are in float32 on both."""
    return {"use_cpu": device == "cpu", "bf16": device == "cuda"}


class Watch(TrainerCallback):  # type: ignore[misc]
    """Measurement from the first micro-batch of a step to the end of its update, excluding TRL's logging."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.grad_norms: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start after loading."""
        self.steps = Steps(self._device)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start of a step."""
        self.steps.begin()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """End of a step."""
        self.steps.end()

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        """Record the gradient norm before clipping."""
        if "grad_norm" in logs:
            self.grad_norms.append(float(logs["grad_norm"]))


def grpo(case: Case, micro_batch: int, steps: int, folder: str, device: str) -> Any:
    """A trainer with the case's group in every step, and UniAPL's default loss `dapo`."""
    micro_batch = min(micro_batch, case.group)

    def replayed(prompts: list[str], _: Any) -> dict[str, Any]:
        assert len(prompts) == case.group
        return {"prompt_ids": [case.prompt_ids] * case.group, "completion_ids": case.completions, "logprobs": None}

    config = GRPOConfig(
        output_dir=folder,
        max_steps=1 + steps,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=case.group // micro_batch,
        num_generations=case.group,
        max_completion_length=max(map(len, case.completions)),
        loss_type="dapo",
        scale_rewards="group",
        num_iterations=1,
        beta=0.0,
        **OPTIONS,
        **on(device),
    )
    return GRPOTrainer(
        model=str(MODEL),
        reward_funcs=lambda completions, **_: case.rewards,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["a prompt that the rollout function replaces"] * 64}),
        processing_class=AutoTokenizer.from_pretrained(MODEL),
        rollout_func=replayed,
    )


def sft(case: Case, micro_batch: int, steps: int, folder: str, device: str) -> Any:
    """A trainer with the case's demonstration in every step; the loss covers only the answer."""
    row = {
        "input_ids": case.prompt_ids + case.reference_ids,
        "labels": [-100] * case.prompt + case.reference_ids,
    }
    config = SFTConfig(
        output_dir=folder,
        max_steps=1 + steps,
        per_device_train_batch_size=micro_batch,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        **OPTIONS,
        **on(device),
    )
    return SFTTrainer(
        model=str(MODEL),
        args=config,
        train_dataset=Dataset.from_list([row] * 64),
        processing_class=AutoTokenizer.from_pretrained(MODEL),
    )


def measure(kind: str, case: Case, *, micro_batch: int, steps: int, device: str) -> Result:
    """Times and gradient norms of updates; the first is a warm-up."""
    watch = Watch(device)
    with tempfile.TemporaryDirectory() as folder:
        trainer = {"grpo": grpo, "sft": sft}[kind](case, micro_batch, steps, folder, device)
        trainer.add_callback(watch)
        trainer.train()
    return watch.steps.result(grad_norms=watch.grad_norms)


if __name__ == "__main__":
    kind, micro, counted, device, *described = sys.argv[1:]
    found = measure(kind, Case.parse(*described), micro_batch=int(micro), steps=int(counted), device=device)
    print(json.dumps(found))
