"""The embedding discriminator against the formulas of sentence-transformers, one text at a time, without padding."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close
from transformers import AutoModel, AutoTokenizer, RobertaConfig, RobertaModel

from tests.conftest import MODELS
from uniapl.discriminators.base import Comparison
from uniapl.discriminators.embedding import EmbeddingDiscriminator
from uniapl.errors import ModelError
from uniapl.run.config import ModelSource

pytestmark = pytest.mark.integration

MINILM = MODELS / "all-minilm-l6-v2"
TEXTS = ["Water the basil every morning.", "It rains.", "The train to Lyon leaves at nine, from platform four."]
FLAGS = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


def minilm(folder: Path, pooling: dict[str, Any], **files: Any) -> Path:
    """A copy of MiniLM with another pooling, and other contents of the JSON files named."""
    target = folder / "model"
    shutil.copytree(MINILM, target)
    (target / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    for name, content in files.items():
        (target / f"{name}.json").write_text(json.dumps(content))
    return target


def judge(folder: Path) -> EmbeddingDiscriminator:
    return EmbeddingDiscriminator(ModelSource(path=str(folder)), batch_size=2, device=torch.device("cpu"))


def flags(*names: str) -> dict[str, bool]:
    return {f"pooling_mode_{flag}": flag in names for flag in FLAGS}


@torch.no_grad()
def states(text: str) -> list[Tensor]:
    """The vectors of the tokens, `[CLS]` and `[SEP]` included."""
    tokens = AutoTokenizer.from_pretrained(MINILM)(text, return_tensors="pt")
    return list(AutoModel.from_pretrained(MINILM)(**tokens).last_hidden_state[0])


def mean(vectors: list[Tensor]) -> Tensor:
    total = torch.zeros(384)
    for vector in vectors:
        total = total + vector
    return total / len(vectors)


def weighted(vectors: list[Tensor]) -> Tensor:
    total = torch.zeros(384)
    for i, vector in enumerate(vectors, start=1):
        total = total + i * vector
    return total / (len(vectors) * (len(vectors) + 1) / 2)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


@pytest.mark.parametrize(
    ("pooling", "vector"),
    [
        (flags("mean_tokens"), mean),
        ({}, mean),
        (flags("cls_token"), lambda v: v[0]),
        ({"pooling_mode": "cls", "embedding_dimension": 384}, lambda v: v[0]),
        (flags("max_tokens"), lambda v: torch.stack(v).max(dim=0).values),
        (flags("mean_sqrt_len_tokens"), lambda v: mean(v) * math.sqrt(len(v))),
        (flags("weightedmean_tokens"), weighted),
        (flags("lasttoken"), lambda v: v[-1]),
        (flags("mean_tokens", "cls_token"), lambda v: torch.cat([v[0], mean(v)])),
    ],
)
def test_pooling_is_that_of_the_models_files(pooling: dict[str, Any], vector: Any, tmp_path: Path) -> None:
    scores = judge(minilm(tmp_path, pooling)).score([Comparison("", TEXTS[0], text) for text in TEXTS])
    expected = [cosine(vector(states(TEXTS[0])), vector(states(text))) for text in TEXTS]
    assert_close(scores, torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("include", [True, False])
def test_the_default_prompt_is_put_before_each_text(include: bool, tmp_path: Path) -> None:
    about = {"prompts": {"query": "search: ", "passage": "no"}, "default_prompt_name": "query"}
    pooling = flags("mean_tokens") | {"include_prompt": include}
    scores = judge(minilm(tmp_path, pooling, config_sentence_transformers=about)).score(
        [Comparison("", TEXTS[0], text) for text in TEXTS]
    )
    first = 0 if include else 3  # [CLS], "search" and ":"
    vectors = [mean(states(f"search: {text}")[first:]) for text in TEXTS]
    assert_close(scores, torch.tensor([cosine(vectors[0], v) for v in vectors]), atol=1e-5, rtol=0)


def test_a_dense_layer_follows_the_pooling(tmp_path: Path) -> None:
    modules = [
        *json.loads((MINILM / "modules.json").read_text())[:2],
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ]
    folder = minilm(tmp_path, flags("mean_tokens"), modules=modules)
    (folder / "2_Dense").mkdir()
    config = {"in_features": 384, "out_features": 6, "bias": True}
    config["activation_function"] = "torch.nn.modules.activation.Tanh"  # type: ignore[assignment]
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config))
    weight, bias = torch.randn(6, 384, generator=torch.Generator().manual_seed(0)), torch.arange(6.0)
    save_file({"linear.weight": weight, "linear.bias": bias}, folder / "2_Dense" / "model.safetensors")
    scores = judge(folder).score([Comparison("", TEXTS[0], text) for text in TEXTS])
    vectors = [torch.tanh(weight @ mean(states(text)) + bias) for text in TEXTS]
    assert_close(scores, torch.tensor([cosine(vectors[0], v) for v in vectors]), atol=1e-5, rtol=0)


def test_a_module_that_is_not_supported_is_refused(tmp_path: Path) -> None:
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.CLIPModel"}]
    with pytest.raises(ModelError, match="has a module of type 'CLIPModel'") as refused:
        judge(minilm(tmp_path, {}, modules=modules))
    assert refused.value.param == "discriminator.model"


def test_answers_that_differ_after_the_first_window_have_different_scores() -> None:
    start = "word " * 600
    outputs = [start + end for end in ("apple " * 9, "the train to Lyon " * 9, "")]
    discriminator = judge(MINILM)
    scores = discriminator.score([Comparison("", start + "apple " * 9, output) for output in outputs])
    assert_close(scores[0], torch.tensor(1.0))
    assert scores[0] > scores[2] > scores[1]
    assert discriminator.learn([Comparison("", "", output) for output in [*outputs, "short"]]) == {
        "disc/beyond_window": 0.75
    }


def test_windows_are_averaged_by_their_tokens() -> None:
    text, parts = "one " * 254 + "two " * 100, ["one " * 254, "two " * 100]  # 256 tokens with [CLS] and [SEP]
    first, second = (torch.nn.functional.normalize(mean(states(part)), dim=0) for part in parts)
    expected = cosine(254 * first + 100 * second, second)
    assert_close(judge(MINILM).score([Comparison("", parts[1], text)]), torch.tensor([expected]), atol=1e-5, rtol=0)


def test_the_positions_that_robertas_padding_reserves_are_not_used(tmp_path: Path) -> None:
    config = RobertaConfig(
        vocab_size=30522, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=34, pad_token_id=0,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(MINILM)
    tokenizer.model_max_length = 10**30
    tokenizer.save_pretrained(tmp_path)
    (score,) = judge(tmp_path).score([Comparison("", "word " * 100, "word " * 100)])
    assert_close(score, torch.tensor(1.0))
