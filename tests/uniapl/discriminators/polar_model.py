"""A tiny POLAR model with random weights, in the format of its published checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, LlamaForSequenceClassification

from tests.conftest import MODELS
from uniapl.run.config import ModelSource

TINY = MODELS / "tiny-random-llama"
TOKENS = ["<|reward|>", "[UNUSED_TOKEN_130]"]


def write_model(folder: Path, tokenizer: Any, num_labels: int = 1) -> ModelSource:
    """A tiny reward model with random weights and a loud head."""
    config = AutoConfig.from_pretrained(TINY, num_labels=num_labels, vocab_size=len(tokenizer))
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(config)
    torch.nn.init.normal_(model.score.weight, std=3.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ModelSource(path=str(folder))
