"""POLAR in its published layout (`make vllm`): vLLM's own InternLM2 reward implementation on the original files,
against this project's conversion, in process and on a managed server."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sentencepiece
import torch
from uniapl_client import Client

from embedded.service import EmbeddedService
from tests.conftest import MODELS, ROOT
from tests.e2e.conftest import CHANCE, IMPATIENT
from tests.uniapl.discriminators.published_polar import TEXTS, write_published
from uniapl.discriminators.base import Comparison
from uniapl.discriminators.polar import PolarDiscriminator
from uniapl.discriminators.polar_encoding import MAX_TOKENS, encode
from uniapl.discriminators.remote import RemotePolar
from uniapl.inference.client import ModelServer
from uniapl.inference.endpoint import read_address
from uniapl.run.config import ModelSource
from uniapl.spec.backend import ManagedVllm

pytestmark = pytest.mark.vllm

ENVIRONMENT = ROOT / ".venv-vllm" / "bin"
START_S = 900.0


class Published:
    """POLAR's published tokenizer: SentencePiece between the added tokens."""

    def __init__(self, folder: Path) -> None:
        self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        config = json.loads((folder / "tokenizer_config.json").read_text())
        self._added = {token["content"]: int(number) for number, token in config["added_tokens_decoder"].items()}
        self._between = "|".join(map(re.escape, self._added))

    def encode(self, text: str) -> list[int]:
        parts = re.split(f"({self._between})", text)
        return [1, *(i for part in parts for i in ([self._added[part]] if part in self._added else self._ids(part)))]

    def _ids(self, text: str) -> list[int]:
        return list(self._pieces.encode(text)) if text else []

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return str(self._pieces.decode([i for i in ids if i not in self._added.values()]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "POLAR-tiny"
    write_published(folder, dtype=torch.float32)
    return folder


@pytest.fixture(scope="module")
def triples() -> list[Comparison]:
    draw = random.Random(0)
    words = [word for text in TEXTS for word in re.findall(r"\s?\w+|\W", text)]

    def text(longest: int) -> str:
        kinds = ["".join(draw.choices(words, k=draw.randint(1, longest))), draw.choice(TEXTS), "", "\n 天空 🙂 é\t"]
        return draw.choice([*kinds, f"{kinds[0]}<|reward|>{kinds[3]}<|im_end|>"])

    usual = [Comparison(text(60), text(40), text(40)) for _ in range(195)]
    long = ["".join(draw.choices(words, k=size)) for size in (12000, 6000, 6000)]
    over = [Comparison(long[0], long[1], "短"), Comparison(*long), Comparison("q", long[1], long[2])]
    return [*usual, *over, Comparison("", "", ""), Comparison("天空是什么颜色？", "蓝色", "蓝色")]


@pytest.fixture(scope="module")
def expected(folder: Path, triples: list[Comparison], tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """Scores of vLLM's InternLM2ForRewardModel."""
    published, work = Published(folder), tmp_path_factory.mktemp("scores")
    rows = [published.encode(encode(published, triple, "sft")) for triple in triples]
    lengths = [len(row) for row in rows]
    print(f"longest rows: {sorted(lengths)[-3:]} tokens")
    assert max(lengths) > MAX_TOKENS - 100  # truncated; texts with special tokens lose some more
    (work / "rows.json").write_text(json.dumps(rows))
    script = [ENVIRONMENT / "python", ROOT / "tests/vllm/internlm2_scores.py"]
    subprocess.run([*script, folder, work / "rows.json", work / "scores.json"], check=True, timeout=START_S)
    scores = torch.tensor(json.loads((work / "scores.json").read_text()))
    assert len(scores) == len(triples) == 200
    assert scores.std() > 0.1
    return scores


def report(name: str, scores: torch.Tensor, expected: torch.Tensor) -> None:
    difference = (scores - expected).abs().max().item()
    print(f"largest difference to vLLM's InternLM2, {name}: {difference:.1e}; standard deviation {expected.std():.2f}")
    assert difference < 1e-4


def test_scores_in_process_are_those_of_vllms_internlm2(
    folder: Path, triples: list[Comparison], expected: torch.Tensor, tmp_path: Path
) -> None:
    source, device = ModelSource(path=str(folder)), torch.device("cpu")
    here = PolarDiscriminator(source, wrapper="sft", batch_size=1, device=device, store=tmp_path)
    report("in process", here.score(triples), expected)


@pytest.fixture(scope="module")
def service(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    data = tmp_path_factory.mktemp("service")
    models = {
        "tiny-random-llama": {"kind": "student", "path": str(MODELS / "tiny-random-llama")},
        "internlm/POLAR-1_8B": {"kind": "discriminator", "path": str(folder)},
    }
    (data / "models.json").write_text(json.dumps(models))
    environment = {
        **IMPATIENT,
        "UNIAPL_LEASE_S": "30",
        "UNIAPL_MODELS_FILE": str(data / "models.json"),
        "UNIAPL_VLLM_COMMAND": json.dumps([str(ENVIRONMENT / "vllm")]),
        "UNIAPL_VLLM_OPTIONS": json.dumps(["--enforce-eager", "--max-num-seqs", "16"]),
        "UNIAPL_SIDECAR_PROBE_S": "300",  # the first request to vLLM on CPU takes most of a minute
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    with EmbeddedService(data / "data", environment=environment) as running:
        yield running


def test_scores_of_a_managed_server_are_those_of_vllms_internlm2(
    service: EmbeddedService, folder: Path, triples: list[Comparison], expected: torch.Tensor
) -> None:
    backend = {"type": "vllm", "dtype": "float32"}
    with Client(service.url, api_key=service.api_key) as client:
        job = client.jobs.create(
            student="tiny-random-llama",
            dataset_mix=[{"dataset": client.datasets.upload(CHANCE).id}],
            alpha=0.3,
            lambda_adv=0.01,
            discriminator={"type": "polar", "model": "internlm/POLAR-1_8B", "backend": backend},
            rollout={"max_new_tokens": 12, "backend": {"type": "transformers"}},
            grpo={"group_size": 4},
            schedule={"steps": 2, "prompts_per_step": 2},
        )
        assert client.jobs.wait(job.id, timeout_s=START_S).step == 2
    [address] = service.data_dir.glob("sidecars/*/address.json")  # the server waits for the next job
    with closing(ModelServer(lambda: read_address(address), ManagedVllm(), param="discriminator.backend")) as server:
        remote = RemotePolar(ModelSource(path=str(folder)), server, api="vllm", wrapper="sft", batch_size=8)
        report("on a managed server", remote.score(triples), expected)
    [manifest] = service.data_dir.glob("converted_models/*/manifest.json")
    assert json.loads(manifest.read_text())["source"]["path"] == str(folder)
