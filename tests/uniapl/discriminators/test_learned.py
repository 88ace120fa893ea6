"""Learned discriminator: training, gradient, and bit-identical resume."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter, TokenType
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoTokenizer

from tests.conftest import MODELS
from uniapl.discriminators.base import Comparison
from uniapl.discriminators.learned import LearnedDiscriminator
from uniapl.errors import CheckpointError, DivergedError, ModelError
from uniapl.run.config import ModelSource
from uniapl.spec.discriminator import LearnedDiscriminator as Options

pytestmark = pytest.mark.integration

TINY = MODELS / "tiny-random-llama"
NOUNS = ["river", "stone", "lamp", "tall", "seven", "music", "paper", "window", "cloud", "sugar", "train", "winter"]


def learned(batch_size: int = 8, seed: int = 0, learning_rate: float = 1e-3) -> LearnedDiscriminator:
    options = Options(batch_size=batch_size, learning_rate=learning_rate, warmup_steps=3)
    source = ModelSource(path=str(TINY))
    return LearnedDiscriminator(source, options=options, seed=seed, device=torch.device("cpu"))


def pairs(seed: int | str, n: int) -> list[Comparison]:
    """Teacher and student pick the same words, but for one at a place by chance: polite here, rude there."""
    draw = random.Random(seed)

    def answer(manner: list[str]) -> str:
        words = draw.sample(NOUNS, 4)
        words.insert(draw.randrange(5), draw.choice(manner))
        return " ".join(words)

    return [
        Comparison(
            f"Describe the {draw.choice(NOUNS)}.",
            answer(["please", "kindly", "thanks"]),
            answer(["nope", "whatever", "boring"]),
        )
        for _ in range(n)
    ]


def margins(discriminator: LearnedDiscriminator, asked: list[Comparison]) -> torch.Tensor:  # (N,)
    return discriminator.score([c._replace(output=c.reference) for c in asked]) - discriminator.score(asked)


def weights(discriminator: LearnedDiscriminator) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in discriminator._parameters().items()}


def test_it_learns_to_separate_two_manners() -> None:
    discriminator, held_out = learned(batch_size=16), pairs("held out", 100)
    assert 0.35 < (margins(discriminator, held_out) > 0).float().mean() < 0.65
    for step in range(20):
        metrics = discriminator.learn(pairs(step, 16))
    assert (margins(discriminator, held_out) > 0).float().mean() > 0.9
    assert metrics["disc/accuracy"] > 0.9
    assert metrics["disc/loss"] < math.log(2)  # that of a discriminator without an opinion
    assert discriminator.version == 20


def test_loss_and_accuracy_are_those_before_the_step() -> None:
    discriminator, asked = learned(), pairs(0, 11)
    before = margins(discriminator, asked).double()
    metrics = discriminator.learn(asked)
    assert metrics["disc/loss"] == pytest.approx(torch.log1p(torch.exp(-before)).mean().item(), rel=1e-5)
    assert metrics["disc/accuracy"] == pytest.approx((before > 0).double().mean().item())
    assert not torch.equal(margins(discriminator, asked), before.float())  # and the cache knows it


def descended(batch_size: int, asked: list[Comparison]) -> dict[str, torch.Tensor]:
    """The weights after a step along the plain gradient, from the same start."""
    discriminator = learned(batch_size)
    discriminator._optimizer = torch.optim.SGD(discriminator._parameters().values(), lr=1.0)  # type: ignore[assignment]
    discriminator.learn(asked)
    return weights(discriminator)


def test_the_gradient_does_not_depend_on_the_cut_nor_on_pairs_of_equal_texts() -> None:
    asked = pairs(0, 7)
    asked += [c._replace(output=o.output) for c in asked[:2] for o in asked[2:5]]  # several pairs to a reference
    start, whole = weights(learned()), descended(64, asked)
    assert max((whole[name] - start[name]).abs().max().item() for name in whole) > 1e-2
    equal = [c._replace(output=c.reference) for c in asked[:3]]
    for other in (descended(1, asked), descended(3, asked), descended(3, [*equal, *asked, *equal])):
        for name, value in whole.items():
            assert_close(other[name], value, atol=2e-6, rtol=0, msg=name)


def test_without_a_pair_of_different_texts_nothing_happens() -> None:
    discriminator = learned()
    before = weights(discriminator)
    assert discriminator.learn([Comparison("p", "same", "same")]) == {}
    assert discriminator.learn([]) == {}
    assert discriminator.version == 0
    assert all(torch.equal(before[name], value) for name, value in weights(discriminator).items())


def test_a_resumed_discriminator_is_bit_identical(tmp_path: Path) -> None:
    unbroken, asked = learned(), pairs("held out", 9)
    for step in range(4):
        unbroken.learn(pairs(step, 5))
        unbroken.score(asked)  # fills its cache, which the resumed one starts without
    first = learned()
    for step in range(2):
        first.learn(pairs(step, 5))
    first.save(tmp_path / "discriminator")
    resumed = learned()
    resumed.load(tmp_path / "discriminator")
    assert resumed.version == 2
    for step in range(2, 4):
        resumed.learn(pairs(step, 5))
    assert resumed.version == unbroken.version == 4
    for name, value in weights(unbroken).items():
        assert torch.equal(weights(resumed)[name], value), name
    assert torch.equal(resumed.score(asked), unbroken.score(asked))


def test_an_untrained_one_can_be_saved_and_restored(tmp_path: Path) -> None:
    first, resumed = learned(seed=1), learned(seed=2)
    first.save(tmp_path / "discriminator")
    asked = pairs(1, 4)
    assert not torch.equal(first.score(asked), resumed.score(asked))
    resumed.load(tmp_path / "discriminator")
    assert torch.equal(first.score(asked), resumed.score(asked))
    for discriminator in (first, resumed):
        discriminator.learn(pairs(0, 3))
    assert torch.equal(first.score(asked), resumed.score(asked))


def test_scores_of_an_older_version_are_not_taken_from_the_cache(tmp_path: Path) -> None:
    discriminator, asked = learned(), pairs(1, 4)
    discriminator.save(tmp_path / "start")
    before = discriminator.score(asked)
    discriminator.learn(pairs(0, 3))
    after = discriminator.score(asked)
    assert (before - after).abs().min() > 0
    discriminator.load(tmp_path / "start")
    assert torch.equal(discriminator.score(asked), before)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_torn_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    discriminator = learned()
    discriminator.learn(pairs(0, 2))
    discriminator.save(tmp_path / "saved")
    whole = (tmp_path / "saved" / name).read_bytes()
    (tmp_path / "saved" / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="discriminator"):
        discriminator.load(tmp_path / "saved")
    (tmp_path / "saved" / name).unlink()
    with pytest.raises(CheckpointError, match="discriminator"):
        discriminator.load(tmp_path / "saved")


def test_the_head_is_drawn_from_the_seed_whatever_was_drawn_before() -> None:
    asked = pairs(0, 3)
    one = learned(seed=5).score(asked)
    torch.rand(7)
    assert torch.equal(learned(seed=5).score(asked), one)
    assert not torch.equal(learned(seed=6).score(asked), one)


def test_the_reference_is_not_read_and_prompt_and_answer_are() -> None:
    discriminator = learned()
    one, same, other, elsewhere = discriminator.score(
        [
            Comparison("a prompt", "a reference", "an answer"),
            Comparison("a prompt", "another", "an answer"),
            Comparison("a prompt", "a reference", "a reply"),
            Comparison("a question", "a reference", "an answer"),
        ]
    )
    assert one == same
    assert one != other
    assert one != elsewhere


def test_it_reads_what_the_student_reads() -> None:
    discriminator = learned()
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    rendered = str(tokenizer.apply_chat_template(turns, tokenize=False)).removesuffix("\n")  # ends with <|im_end|>
    assert tokenizer.decode(discriminator._tokens("Hi", "Hello.")) == rendered
    discriminator._renderer = None
    assert tokenizer.decode(discriminator._tokens("Hi", "Hello.")) == "Hi\nHello.<|im_end|>"


def test_scores_wait_for_the_warm_up() -> None:
    discriminator = learned()
    ready = []
    for _ in range(5):  # whatever the policy's steps are: only its own updates count
        ready.append(discriminator.ready)
        discriminator.learn([])
        discriminator.learn([Comparison("Hi", "Hello.", "Bye.")])
    assert ready == [False, False, False, True, True]


def test_a_gradient_that_is_not_finite_leaves_the_weights_as_they_were() -> None:
    discriminator = learned()
    discriminator._head.weight.data[0, 0] = math.inf
    before = weights(discriminator)
    with pytest.raises(DivergedError) as caught:
        discriminator.learn(pairs(0, 2))
    assert caught.value.param == "discriminator.learning_rate"
    assert discriminator.version == 0
    assert all(torch.equal(before[name], value) for name, value in weights(discriminator).items())
    assert discriminator.score(pairs(0, 2)).isnan().all()


def test_a_missing_model_is_the_users_error_at_its_own_field() -> None:
    with pytest.raises(ModelError, match="cannot load /nowhere") as caught:
        LearnedDiscriminator(ModelSource(path="/nowhere"), options=Options(), seed=0, device=torch.device("cpu"))
    assert caught.value.param == "discriminator.model"


GGUF_WORDS = 2000


def write_gguf(path: Path) -> None:
    """The tiny Llama as a GGUF file, all tensors in float32; of its vocabulary the first words only, to be quick."""
    config = json.loads((TINY / "config.json").read_text())
    bpe = json.loads((TINY / "tokenizer.json").read_text())["model"]
    words = sorted(bpe["vocab"], key=bpe["vocab"].__getitem__)[:GGUF_WORDS]
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([TokenType.CONTROL if i < 3 else TokenType.NORMAL for i in range(len(words))])
    writer.add_token_merges([" ".join(merge) for merge in bpe["merges"] if "".join(merge) in words])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {
        "self_attn.": "attn_",
        "mlp.": "ffn_",
        "_proj": "",
        "attn_o": "attn_output",
        "input_layernorm": "attn_norm",
    }
    names |= {"post_attention_layernorm": "ffn_norm", "model.layers": "blk", "model.norm": "output_norm"}
    names |= {"model.embed_tokens": "token_embd"}
    for name, tensor in load_file(TINY / "model.safetensors").items():
        for old, new in names.items():
            name = name.replace(old, new)
        if name.endswith(("attn_q.weight", "attn_k.weight")):  # the two halves of a rotation lie side by side
            tensor = tensor.view(-1, 2, config["head_dim"] // 2, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape)
        writer.add_tensor(name, (tensor[:GGUF_WORDS] if name.startswith("token_embd") else tensor).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_it_starts_from_a_gguf_student_too(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    source = ModelSource(path=str(tmp_path), gguf="tiny.gguf")
    discriminator = LearnedDiscriminator(source, options=Options(), seed=0, device=torch.device("cpu"))
    for name, value in weights(learned()).items():
        expected = value[:GGUF_WORDS] if "embed_tokens" in name else value
        assert torch.equal(weights(discriminator)[name], expected), name
    assert discriminator.learn(pairs(0, 3)).keys() == {"disc/loss", "disc/accuracy"}
    discriminator.save(tmp_path / "discriminator")
    discriminator.load(tmp_path / "discriminator")
