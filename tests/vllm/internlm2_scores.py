"""Scores of vLLM's own InternLM2 reward implementation: `python internlm2_scores.py MODEL ROWS RESULT`, in vLLM's
environment.

ROWS is a JSON list of token ids, RESULT a JSON list of the raw logits at their last tokens. The config class stands in
for the published one, which is remote code; vLLM reads the keys of config.json from it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}

from transformers import AutoConfig, PretrainedConfig
from vllm import LLM, PoolingParams
from vllm.model_executor.models.internlm2 import InternLM2ForRewardModel


class InternLM2Config(PretrainedConfig):
    """The published config.json."""

    model_type = "internlm2"


def main(model: str, rows: str, result: str) -> None:
    """Score the rows."""
    AutoConfig.register("internlm2", InternLM2Config)
    llm = LLM(
        model,
        runner="pooling",
        dtype="float32",
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_model_len=16512,
        enable_prefix_caching=False,
        seed=0,
    )
    kinds = llm.apply_model(lambda served: type(served).__mro__)
    assert any(InternLM2ForRewardModel in kind for kind in kinds), kinds
    prompts = [{"prompt_token_ids": row} for row in json.loads(Path(rows).read_text())]
    raw = PoolingParams(use_activation=False)
    found = llm.encode(prompts, raw, pooling_task="token_classify")
    Path(result).write_text(json.dumps([answer.outputs.data.flatten()[-1].item() for answer in found]))


if __name__ == "__main__":
    main(*sys.argv[1:])
