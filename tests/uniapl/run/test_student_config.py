"""Students of kinds that cannot be trained, refused by their config."""

from __future__ import annotations

from typing import Any

import pytest

from uniapl.errors import ModelError
from uniapl.run.student_config import check_student_config

pytestmark = pytest.mark.unit

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
VISION = {"vision_config": {}, "text_config": {"model_type": "llama"}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LLAMA | {"quantization_config": {"quant_method": "gptq"}}, r"quantized \(gptq\)"),
        (LLAMA | {"quantization_config": {"quant_method": "awq"}}, r"quantized \(awq\)"),
        (LLAMA | {"quantization_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        (LLAMA | {"quantization_config": {"quant_method": "fp8"}}, r"quantized \(fp8\)"),
        (LLAMA | {"quantization_config": {"load_in_4bit": True}}, "bitsandbytes, 4 bits"),
        (LLAMA | {"text_config": {"quantization_config": {"quant_method": "awq"}}}, r"quantized \(awq\)"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "'t5' is an encoder-decoder"),
        ({"model_type": "bert"}, "'bert' is an encoder"),
        ({"model_type": "modernbert"}, "'modernbert' is an encoder"),
        (LLAMA | {"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification has no"),
        ({"model_type": "llava", **VISION}, "'llava' also reads vision"),
        ({"model_type": "qwen2_audio", "audio_config": {}}, "'qwen2_audio' also reads audio"),
        ({"model_type": "internlm2", "auto_map": {"AutoModelForCausalLM": "m.M"}}, "'internlm2' is not part of"),
    ],
)
def test_a_student_that_cannot_be_trained_is_refused_by_its_kind(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        check_student_config(config)
    assert refused.value.param == "student"
    assert refused.value.hint


@pytest.mark.parametrize(
    "config",
    [
        LLAMA,
        LLAMA | {"architectures": None},
        LLAMA | {"quantization_config": {"quant_method": "mxfp4"}},
        LLAMA | {"quantization_config": None, "auto_map": {"AutoModelForCausalLM": "m.M"}},
        {"model_type": "bert", "is_decoder": True},
        {"model_type": "gemma3", **VISION},
        {"model_type": "internvl_chat", "architectures": ["InternForCausalLM"], **VISION},
        {},
    ],
)
def test_a_causal_language_model_is_accepted(config: dict[str, Any]) -> None:
    check_student_config(config)
