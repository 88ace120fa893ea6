"""Runs of tiny random students of the most used families: rendered, trained, sampled, saved, reloaded, resumed.

`python -m tests.uniapl.training.family_runs FILE` runs all and writes the table.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.uniapl.chat.families import FAMILIES, Family, tokenizer_of
from tests.uniapl.students import COMMON, KINDS
from tests.uniapl.training.test_train_command import reports, rest, run_file, tensors
from tests.uniapl.warm_trainer import train
from uniapl.data.encoding import encode_rows
from uniapl.model.policy import load_policy
from uniapl.run.config import ModelSource
from uniapl.run.reports import MetricReport
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.training import DataOptions

SHAPES: dict[str, dict[str, Any]] = KINDS | {
    **dict.fromkeys(("llama", "qwen2", "phi3", "olmo2", "granite", "cohere", "smollm3", "nemotron"), COMMON),
    **{kind: COMMON | {"head_dim": 8} for kind in ("mistral", "glm4", "seed_oss")},
    **{kind: COMMON | {"head_dim": 8, "sliding_window": 16} for kind in ("gemma3_text", "cohere2")},
}
ARCHITECTURES = {
    **{"Qwen2.5": "qwen2", "Qwen3": "qwen3", "Qwen3-Instruct-2507": "qwen3", "Qwen3-Thinking-2507": "qwen3_moe"},
    **{"QwQ": "qwen2", "Qwen3.5": "qwen3", "SmolLM3": "smollm3", "DeepSeek-V3": "deepseek_v3"},
    **{"DeepSeek-R1": "deepseek_v3", "DeepSeek-V3.1": "deepseek_v3", "Mistral-7B": "mistral", "Zephyr": "mistral"},
    **{"Magistral": "mistral", "Gemma-3": "gemma3_text", "Gemma-4": "gemma3_text", "Phi-3": "phi3", "Phi-4": "phi3"},
    **{"Command-R": "cohere", "Command-A": "cohere2", "GLM-4": "glm4", "GLM-4.5": "glm4", "gpt-oss": "gpt_oss"},
    **{"OLMo-2": "olmo2", "Granite-3": "granite", "Nemotron-Nano": "nemotron", "Seed-OSS": "seed_oss"},
}
"""The architecture of each family; Llama's for the others."""
COLUMNS = ("render", "full", "LoRA", "sample", "reload", "resume")
ROW = {
    "messages": [{"role": "user", "content": "Hi"}],
    "reference": "Yo",
    "reward": {"type": "length_band", "unit": "characters", "at_most": 3},
}


def architecture(family: Family) -> str:
    """The name of the architecture in transformers."""
    return ARCHITECTURES.get(family.name, "llama")


def write_student(family: Family, folder: Path) -> Path:
    """A student with random weights, the family's architecture in small, its tokens and its template."""
    tokenizer, kind = tokenizer_of(family), architecture(family)
    end = tokenizer.convert_tokens_to_ids(family.tokens[0])
    tokens = {"vocab_size": len(tokenizer) + 64, "pad_token_id": None, "bos_token_id": None, "eos_token_id": end}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SHAPES[kind], **tokens))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def check(family: Family, folder: Path) -> dict[str, bool]:
    """Result of each column, in the order of `COLUMNS`."""
    student = write_student(family, folder / "student")
    found = {"render": _renders(family, student)}
    for name, lora in (("full", None), ("LoRA", {"rank": 2})):
        found |= _run(family, folder / name, student, lora, name) if all(found.values()) else {name: False}
    return {column: found.get(column, False) for column in COLUMNS}


def _renders(family: Family, student: Path) -> bool:
    """Whether a row is trained as the family's strings state, in both modes."""
    policy = load_policy(ModelSource(path=str(student)), torch.device("cpu"))
    decode = policy.tokenizer.decode
    for thinking, prompt, target in (
        ("off", family.prompt, family.target),
        ("on", family.prompt_on, family.target_on),
    ):
        options = DataOptions.model_validate({"thinking": thinking})
        (row,), _ = encode_rows([DatasetRow.model_validate(ROW)], "d", policy, options)
        if (decode(row.prompt_ids), decode(row.reference_ids)) != (prompt, target):
            return False
    return True


def _run(family: Family, folder: Path, student: Path, lora: dict[str, int] | None, name: str) -> dict[str, bool]:
    folder.mkdir()
    (folder / "rows.jsonl").write_text(f"{json.dumps(ROW)}\n" * 2)
    changes = {
        "student": str(student),
        "lora": lora,
        "dataset_mix": [{"dataset": str(folder / "rows.jsonl")}],
        "lambda_adv": 0,
        "alpha": 0.5,
        "rollout": {"max_new_tokens": 4},
        "schedule": {"steps": 2, "prompts_per_step": 2, "checkpoint_every": 1},
        "evaluation": None,
    }
    whole, resumed = folder / "whole", folder / "resumed"
    trained = train(run_file(whole, **changes))[0] == 0
    if not trained:
        return {name: False}
    values = [report.values for report in reports(whole) if isinstance(report, MetricReport)]
    first = str(whole / "checkpoints" / "step-00000001")
    again = train(run_file(resumed, resume_from=first, **changes))[0] == 0
    return {
        name: any(v.get("grad_norm", 0) > 0 for v in values),
        "sample": any(v.get("completions/mean_length", 0) > 0 for v in values),
        "reload": _renders(family, whole / "checkpoints" / "step-00000002"),
        "resume": again and tensors(resumed, 2) == tensors(whole, 2) and rest(resumed, 2) == rest(whole, 2),
    }


def rows_of_table() -> Iterator[str]:
    """The table in Markdown, line by line."""
    yield f"| family | architecture | {' | '.join(COLUMNS)} |"
    yield "|---|---" + "|---" * len(COLUMNS) + "|"
    for family in FAMILIES:
        with TemporaryDirectory() as folder:
            found = check(family, Path(folder))
        marks = " | ".join("yes" if found[column] else "**no**" for column in COLUMNS)
        line = f"| {family.name} | `{architecture(family)}` | {marks} |"
        print(line, flush=True)
        yield line


HEAD = """# Families of students

Tiny random students with the architecture, the control tokens and a template that behaves as the
published one of each family. `make families` writes this table:

- **render**: the trained text equals a string written by hand, with `data.thinking` off and on.
- **full**, **LoRA**: two updates with demonstrations and rollouts; the gradient is not zero.
- **sample**: rollouts have tokens.
- **reload**: the checkpoint loads, and renders the same text.
- **resume**: a run resumed after the first update ends with the same bits.

"""


def main(file: Path) -> None:
    """Write the table."""
    file.write_text(HEAD + "\n".join(rows_of_table()) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
