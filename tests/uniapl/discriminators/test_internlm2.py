"""POLAR's published layout, converted: scores, refusals, and folders that are written once."""

from __future__ import annotations

import errno
import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu
from torch.testing import assert_close
from transformers import LlamaForSequenceClassification

from benchmarks.cuda_on_cpu import emulate_cuda
from tests.uniapl.discriminators import published_polar as published
from tests.uniapl.discriminators.published_polar import weights_of, write_published, write_weights
from uniapl.discriminators.base import Comparison
from uniapl.discriminators.internlm2 import convert
from uniapl.discriminators.internlm2.__main__ import command_for
from uniapl.discriminators.internlm2.convert import converted
from uniapl.discriminators.polar import PolarDiscriminator
from uniapl.discriminators.polar_encoding import encode
from uniapl.errors import ModelError
from uniapl.run.config import ModelSource

pytestmark = pytest.mark.integration

SIZE = published.HIDDEN // published.HEADS
FEW = [
    Comparison("How many?", "Three.", "Two."),
    Comparison("天空是什么颜色？", "天空是蓝色的。", "红色 🙂"),
    Comparison("Name a colour.", "Blue", ""),
    Comparison("", "", "def f(x):\n    return x"),
]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "POLAR-tiny"
    write_published(folder, dtype=torch.float32)
    return folder


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(original, tmp_path / "POLAR-tiny"))


def packed_forward(config: dict[str, Any], weights: dict[str, Tensor], ids: list[int]) -> float:
    """InternLM2's forward from its packed layout, in plain torch: the value head at the last token."""
    heads, groups, hidden = config["num_attention_heads"], config["num_key_value_heads"], config["hidden_size"]
    size, count, eps = hidden // heads, len(ids), config["rms_norm_eps"]
    frequencies = config["rope_theta"] ** (-torch.arange(0, size, 2) / size)
    angles = torch.arange(count)[:, None] * frequencies  # (T, size / 2)
    cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)

    def rotated(x: Tensor) -> Tensor:  # (heads, T, size)
        left, right = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-right, left], dim=-1) * sin

    x = weights["model.tok_embeddings.weight"][ids]  # (T, D)
    for n in range(config["num_hidden_layers"]):
        layer = {name.split(".", 3)[3]: tensor for name, tensor in weights.items() if f".layers.{n}." in name}
        normed = rms_norm(x, (hidden,), layer["attention_norm.weight"], eps)
        wqkv = linear(normed, layer["attention.wqkv.weight"], layer.get("attention.wqkv.bias"))
        wqkv = wqkv.view(count, groups, heads // groups + 2, size)
        q = rotated(wqkv[:, :, :-2].reshape(count, heads, size).transpose(0, 1))
        k, v = rotated(wqkv[:, :, -2].transpose(0, 1)), wqkv[:, :, -1].transpose(0, 1)
        k, v = (t.repeat_interleave(heads // groups, dim=0) for t in (k, v))
        seen = scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).reshape(count, hidden)
        x = x + linear(seen, layer["attention.wo.weight"], layer.get("attention.wo.bias"))
        normed = rms_norm(x, (hidden,), layer["ffn_norm.weight"], eps)
        gate, up = (linear(normed, layer[f"feed_forward.{w}.weight"]) for w in ("w1", "w3"))
        x = x + linear(silu(gate) * up, layer["feed_forward.w2.weight"])
    last = rms_norm(x[-1], (hidden,), weights["model.norm.weight"], eps)
    return (weights["v_head.weight"] @ last).item()


def polar(source: ModelSource, store: Path) -> PolarDiscriminator:
    return PolarDiscriminator(source, wrapper="sft", batch_size=3, device=torch.device("cpu"), store=store)


def refusal(model: Path, store: Path) -> str:
    with pytest.raises(ModelError) as caught:
        converted(ModelSource(path=str(model)), store)
    assert caught.value.param == "discriminator.model"
    assert [path.name for path in store.iterdir() if not path.name.endswith(".lock")] == []  # nothing is left
    return caught.value.message


@pytest.mark.parametrize("files", ["bin", "safetensors"])
@pytest.mark.parametrize("bias", [False, True])
def test_scores_equal_a_forward_of_the_packed_layout(
    tmp_path: Path, files: Literal["bin", "safetensors"], bias: bool
) -> None:
    source = write_published(tmp_path / "published", files=files, dtype=torch.float32, bias=bias)
    here = polar(source, tmp_path / "converted")
    config = json.loads((tmp_path / "published" / "config.json").read_text())
    weights = weights_of(config, torch.float32)
    rows = [here._tokenizer(encode(here._tokenizer, c, "sft"))["input_ids"] for c in FEW]
    assert all((row[0], row[-1]) == (1, config["reward_token_id"]) for row in rows)
    expected = torch.tensor([packed_forward(config, weights, row) for row in rows])
    assert expected.std() > 0.1
    assert_close(here.score(FEW), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_keep_their_type_and_bits(tmp_path: Path, dtype: torch.dtype) -> None:
    write_published(tmp_path / "published", dtype=dtype)
    found = Path(str(converted(ModelSource(path=str(tmp_path / "published")), tmp_path / "converted").path))
    config = json.loads((tmp_path / "published" / "config.json").read_text())
    stored, weights = load_file(found / "model.safetensors"), weights_of(config, dtype)
    wqkv = weights["model.layers.1.attention.wqkv.weight"].view(published.GROUPS, -1, SIZE, published.HIDDEN)
    keys = stored["model.layers.1.self_attn.k_proj.weight"].view(published.GROUPS, SIZE, published.HIDDEN)
    assert torch.equal(keys, wqkv[:, -2])
    assert torch.equal(stored["score.weight"], weights["v_head.weight"])
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    loaded, info = LlamaForSequenceClassification.from_pretrained(found, output_loading_info=True, dtype="auto")
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert loaded.dtype == dtype


def test_longer_texts_than_the_positions_get_another_base(tmp_path: Path) -> None:
    write_published(tmp_path / "long", dtype=torch.float32, max_position_embeddings=64)
    write_published(tmp_path / "plain", dtype=torch.float32, max_position_embeddings=64, rope_scaling=None)
    long, plain = (polar(ModelSource(path=str(tmp_path / name)), tmp_path / "store") for name in ("long", "plain"))
    short, beyond = FEW[0], Comparison("How many? " * 20, "Three.", "Two.")
    assert_close(long.score([short]), plain.score([short]), atol=1e-6, rtol=0)
    assert (long.score([beyond]) - plain.score([beyond])).abs() > 1e-3


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "'yarn'"),
        ({"rope_scaling": {"type": "dynamic", "alpha": 4.0}}, "'alpha'"),
        ({"hidden_act": "gelu"}, "'gelu'"),
        ({"architectures": ["InternLM2ForCausalLM"]}, "InternLM2ForCausalLM"),
        ({"num_key_value_heads": 3}, "8 heads in 3 groups"),
        ({"num_hidden_layers": 3}, "tensor model.layers.2.attention.wqkv.weight is missing"),
        ({"num_hidden_layers": 1}, "unknown tensors: model.layers.1.attention.wo.weight"),
        ({"intermediate_size": 128}, r"feed_forward.w1.weight has shape [384, 256]; its config.json gives [128, 256]"),
    ],
)
def test_configs_that_do_not_fit_are_refused(
    model: Path, tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | changes))
    assert problem in refusal(model, tmp_path / "store")


def test_a_config_without_a_size_is_refused(model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    del config["rms_norm_eps"]
    (model / "config.json").write_text(json.dumps(config))
    assert "no rms_norm_eps" in refusal(model, tmp_path / "store")


@pytest.mark.parametrize("files", ["bin", "safetensors"])
def test_tensors_that_are_missing_unknown_or_of_another_type_are_named(
    model: Path, tmp_path: Path, files: Literal["bin", "safetensors"]
) -> None:
    for file in model.glob("pytorch_model*"):
        file.unlink()
    config = json.loads((model / "config.json").read_text())
    weights = weights_of(config)
    for changed, problem in (
        ({k: v for k, v in weights.items() if k != "v_head.weight"}, "tensor v_head.weight is missing"),
        (
            {**weights, "output.weight": weights["model.tok_embeddings.weight"].clone()},
            "unknown tensors: output.weight",
        ),
        ({**weights, "v_head.weight": weights["v_head.weight"].float()}, "different data types: F16, F32"),
    ):
        write_weights(model, changed, files)
        assert problem in refusal(model, tmp_path / "store")


def test_damaged_files_are_named(model: Path, tmp_path: Path) -> None:
    second = model / "pytorch_model-00002-of-00002.bin"
    second.write_bytes(second.read_bytes()[:-200])
    assert second.name in refusal(model, tmp_path / "store")
    second.unlink()
    message = refusal(model, tmp_path / "store")
    assert "is missing: pytorch_model.bin.index.json names pytorch_model-00002-of-00002.bin" in message
    for file in model.glob("*.bin"):
        file.unlink()
    assert "has no *.safetensors and no pytorch_model*.bin" in refusal(model, tmp_path / "store")


class Evil:
    """An object whose pickle runs a program."""

    def __reduce__(self) -> Any:
        return __import__("os").system, ("touch ran",)


def test_a_pickle_that_names_a_function_runs_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"v_head.weight": Evil()}, model / "pytorch_model-00003-of-00002.bin")
    assert "posix.system, which is not accepted" in refusal(model, tmp_path / "store")
    assert not (tmp_path / "ran").exists()
    (model / "pytorch_model-00003-of-00002.bin").write_bytes(pickle.dumps(Evil()))
    assert "not a file of tensors" in refusal(model, tmp_path / "store")
    torch.save({"v_head.weight": torch.ones(64, 2).T}, model / "pytorch_model-00003-of-00002.bin")
    assert "not contiguous" in refusal(model, tmp_path / "store")


def test_a_changed_source_is_converted_anew_and_an_unchanged_one_is_not(model: Path, tmp_path: Path) -> None:
    source, store = ModelSource(path=str(model)), tmp_path / "store"
    first = Path(str(converted(source, store).path))
    written = (first / "model.safetensors").stat().st_mtime_ns
    assert converted(source, store).path == str(first)
    assert (first / "model.safetensors").stat().st_mtime_ns == written
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-6}))
    second = Path(str(converted(source, store).path))
    assert second != first
    assert json.loads((second / "config.json").read_text())["rms_norm_eps"] == 1e-6


def _convert(model: str, store: str) -> None:
    converted(ModelSource(path=model), Path(store))


def test_two_processes_convert_once(model: Path, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=_convert, args=(str(model), str(tmp_path / "store"))) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len([path for path in (tmp_path / "store").iterdir() if path.is_dir()]) == 1


def test_a_full_disk_is_reported_with_its_numbers(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(convert.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"needs 0.0 GB; 0.0 GB are free") as caught:
        converted(ModelSource(path=str(model)), tmp_path / "store")
    assert caught.value.errno == errno.ENOSPC


def test_other_models_are_used_as_they_are(tmp_path: Path) -> None:
    source = ModelSource(path=str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert converted(source, tmp_path / "store") == source
    assert not (tmp_path / "store").exists()


def test_a_hub_that_cannot_be_reached_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="internlm/POLAR-1_8B"):
        polar(ModelSource(hub="internlm/POLAR-1_8B"), tmp_path / "store")


def test_the_server_gets_the_converted_folder(model: Path, tmp_path: Path) -> None:
    used = ModelSource(path="/store/x")
    command = ["vllm", "serve", "a/b", "--revision", "1", "--tokenizer-revision", "1", "--port", "1"]
    assert command_for(command, ModelSource(hub="a/b", revision="1"), used) == [
        "vllm",
        "serve",
        "/store/x",
        *command[-2:],
    ]
    same = ModelSource(hub="a/b", revision="1")
    assert command_for(command, same, same) == command


def test_conversion_imports_no_torch() -> None:
    code = "import sys, uniapl.discriminators.internlm2.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_gpu_computes_in_bfloat16_and_reads_the_score_in_float32(original: Path, tmp_path: Path) -> None:
    exact = polar(ModelSource(path=str(original)), tmp_path).score(FEW)
    with emulate_cuda():
        rounded = polar(ModelSource(path=str(original)), tmp_path)
        assert {w.dtype for w in rounded._backbone.parameters()} == {torch.bfloat16}
        assert not any(w.requires_grad for w in rounded._backbone.parameters())
        scores = rounded.score(FEW)
    assert 1e-4 < (scores - exact).abs().max() < 0.3
    assert not torch.equal(scores, scores.bfloat16().float())


def test_the_program_becomes_the_server_or_names_the_problem(model: Path, tmp_path: Path) -> None:
    def run(*command: str) -> subprocess.CompletedProcess[str]:
        source = ModelSource(path=str(model)).model_dump_json()
        program = [sys.executable, "-m", "uniapl.discriminators.internlm2", str(tmp_path / "store"), source]
        return subprocess.run([*program, *command], capture_output=True, text=True, check=False)

    served = run("echo", "serve", str(model), "--port", "1")
    [folder] = [path for path in (tmp_path / "store").iterdir() if path.is_dir()]
    assert served.stdout.strip() == f"serve {folder} --port 1"
    missing = run("/no/vllm", "serve", str(model))
    assert missing.returncode == 1
    assert "/no/vllm" in missing.stderr
    (model / "tokenizer.model").unlink()
    refused = run("echo", "serve", str(model))
    assert refused.returncode == 1
    assert f"cannot serve {model}: POLAR-tiny has no tokenizer.model" in refused.stderr
