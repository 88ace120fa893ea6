"""TRL's updates on replayed rollouts, in a process of its own: `python -m benchmarks.trl_side KIND MICRO STEPS CASE`.

Runs in `.venv-trl`, which adds TRL to this project's torch and transformers. The rollouts enter through TRL's rollout
function. What TRL does by default to save memory at the price of time is off: bfloat16, which processors without the
instructions emulate, and recomputed activations.
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

OPTIONS: dict[str, Any] = {  # as our own defaults, where they change the update
    "learning_rate": 1e-6,
    "lr_scheduler_type": "constant",
    "optim": "adamw_torch_fused",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "bf16": False,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "model_init_kwargs": {"dtype": "float32"},
}


class Watch(TrainerCallback):  # type: ignore[misc]
    """Measures from the step's first micro-batch to the end of its update; TRL's own logging comes after."""

    def __init__(self) -> None:
        self.grad_norms: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Everything is loaded."""
        self.steps = Steps()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """See `Steps`."""
        self.steps.begin()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """See `Steps`."""
        self.steps.end()

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        """The norm before clipping."""
        if "grad_norm" in logs:
            self.grad_norms.append(float(logs["grad_norm"]))


def grpo(case: Case, micro_batch: int, steps: int, folder: str) -> Any:
    """A trainer that is given the case's group in every step; `dapo` is the form of the loss that is our default."""
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
    )
    return GRPOTrainer(
        model=str(MODEL),
        reward_funcs=lambda completions, **_: case.rewards,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["a prompt that the rollout function replaces"] * 64}),
        processing_class=AutoTokenizer.from_pretrained(MODEL),
        rollout_func=replayed,
    )


def sft(case: Case, micro_batch: int, steps: int, folder: str) -> Any:
    """A trainer that is given the case's demonstration in every step, and learns the answer only."""
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
    )
    return SFTTrainer(
        model=str(MODEL),
        args=config,
        train_dataset=Dataset.from_list([row] * 64),
        processing_class=AutoTokenizer.from_pretrained(MODEL),
    )


def measure(kind: str, case: Case, *, micro_batch: int, steps: int) -> Result:
    """Times and gradients of updates, the first of which warms up."""
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        trainer = {"grpo": grpo, "sft": sft}[kind](case, micro_batch, steps, folder)
        trainer.add_callback(watch)
        trainer.train()
    return watch.steps.result(grad_norms=watch.grad_norms)


if __name__ == "__main__":
    kind, micro, counted, *described = sys.argv[1:]
    found = measure(kind, Case.parse(*described), micro_batch=int(micro), steps=int(counted))
    print(json.dumps(found))
