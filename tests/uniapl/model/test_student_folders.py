"""Students whose files have unusual values: loaded where their meaning is clear, else refused with the field named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from tests.conftest import MODELS
from tests.uniapl.model.test_policy import spec
from tests.uniapl.students import COMMON, load_student
from uniapl.errors import ModelError
from uniapl.run.student_config import BIDIRECTIONAL, WITH_TEXT
from uniapl.training import checkpoint
from uniapl.training.learner import Learner

pytestmark = pytest.mark.integration


def student(folder: Path, **config: Any) -> Path:
    target = folder / "student"
    shutil.copytree(MODELS / "tiny-random-llama", target)
    given = json.loads((target / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps(given))
    return target


@pytest.mark.parametrize("generation", [True, False])
def test_lists_of_tokens_in_a_config_are_read_and_saved_as_single_tokens(generation: bool, tmp_path: Path) -> None:
    folder = student(tmp_path, eos_token_id=[2, 0], pad_token_id=[2, 0], bos_token_id=[1])
    if not generation:
        (folder / "generation_config.json").unlink()
    else:
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0], "pad_token_id": [2, 0]}))
    policy = load_student(folder)
    assert policy.stop_ids == [0, 2]
    saved = checkpoint.save(tmp_path / "c", policy, Learner(policy, spec(64)).optimizer, spec(64), 1, {})
    config = json.loads((saved.path / "config.json").read_text())
    assert (config["eos_token_id"], config["pad_token_id"], config["bos_token_id"]) == ([2, 0], 2, 1)
    assert load_student(saved.path).stop_ids == [0, 2]


@pytest.mark.parametrize("name", ["pad_token_id", "bos_token_id"])
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_several_tokens_that_do_not_all_end_a_sequence_are_refused(name: str, file: str, tmp_path: Path) -> None:
    folder = student(tmp_path)
    given = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(given | {name: [2, 0]}))
    with pytest.raises(ModelError, match=rf"several tokens as {name}: \[2, 0\]") as refused:
        load_student(folder)
    assert refused.value.param == "student"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pad_token_id": "two"}, "field 'pad_token_id': TypeError"),
        ({"hidden_size": "wide"}, "field 'hidden_size': TypeError"),
        ({"num_attention_heads": 0}, ""),
        ({"hidden_size": 63}, ""),
        ({"vocab_size": 10}, ""),
        ({"num_hidden_layers": 3}, r"its files lack 9 weights of LlamaForCausalLM, such as model.layers.2"),
        ({"model_type": "no_such_model"}, "no_such_model"),
        ({"rope_parameters": "fast"}, ""),
    ],
)
def test_a_config_that_transformers_refuses_names_the_student(
    config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=f"cannot load .*{message}") as refused:
        load_student(student(tmp_path, **config))
    assert refused.value.param == "student"


def test_weights_without_a_layer_are_refused(tmp_path: Path) -> None:
    folder = student(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"its files lack 1 weights of LlamaForCausalLM, such as model.norm.weight"):
        load_student(folder)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "mistral3", "llava"])
def test_a_vision_model_without_a_text_model_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    AutoConfig.for_model(
        kind, text_config=COMMON | {"model_type": "mistral"} if kind != "qwen2_5_vl" else COMMON
    ).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(MODELS / "tiny-random-llama").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=f"model_type '{kind}' also reads vision, and transformers") as found:
        load_student(tmp_path)
    assert found.value.param == "student"


def test_the_named_kinds_are_those_of_transformers() -> None:
    causal = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert set(WITH_TEXT) == causal & set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    decoders = {"bart", "mbart", "mvp", "reformer"}  # of encoder-decoders, and one that is causal where it is a decoder
    assert (causal & set(MODEL_FOR_MASKED_LM_MAPPING_NAMES)) - decoders <= set(BIDIRECTIONAL)
