"""InternLM2's tokenizer without its code: the ids are SentencePiece's, with the added tokens in their places."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from tests.uniapl.discriminators.published_polar import REPLACED, TEXTS, UNUSED, config_of, write_sentencepiece
from uniapl.discriminators.internlm2.load_tokenizer import load_tokenizer
from uniapl.discriminators.internlm2.spm import Kind, parse
from uniapl.discriminators.internlm2.tokenizer import read_tokenizer, write_tokenizer
from uniapl.errors import ModelError
from uniapl.run.config import ModelSource

pytestmark = pytest.mark.integration

EXAMPLES = [
    "",
    " ",
    "   two  spaces \n\n\ttab ",
    "天空是蓝色的。苹果？ 🙂 е́ ﬁ Ａ ～",
    "▁▁literal▁",
    "<s>begin</s><unk>",
    "a<|reward|>b<|im_end|>\n<|plugin|>",
    "the end[UNUSED_TOKEN_130]",
    "x[UNUSED_TOKEN_13]y [UNUSED_TOKEN_130]",
    "<0x0A> [UNUSED_TOKEN_999] <|rewar|>",
    "\0\x7f\u200b\r\n",
    *TEXTS,
]


@pytest.fixture(scope="module", params=[False, True], ids=["no prefix", "prefix"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_sentencepiece(folder, prefixed=request.param)
    (folder / "config.json").write_text(json.dumps(config_of(folder)))
    return folder


class Slow:
    """InternLM2's slow tokenizer: texts are split at the added tokens, and SentencePiece encodes what is between."""

    def __init__(self, folder: Path) -> None:
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        config = json.loads((folder / "tokenizer_config.json").read_text())
        self.added = {token["content"]: int(i) for i, token in config["added_tokens_decoder"].items()}

    def __call__(self, text: str) -> list[int]:
        pattern = "|".join(re.escape(token) for token in self.added)
        ids = [1]
        for part in re.split(f"({pattern})", text):
            ids += [self.added[part]] if part in self.added else self.pieces.encode(part) if part else []
        return ids


def test_ids_equal_sentencepieces(folder: Path) -> None:
    slow, fast = Slow(folder), read_tokenizer(folder)
    prefixed = parse((folder / "tokenizer.model").read_bytes()).prefixed
    for text in EXAMPLES:
        if prefixed and re.search(r"\[UNUSED_TOKEN_\d+\].", text):
            continue  # the published fast tokenizer puts a space behind one, the slow one does not
        assert fast.encode(text).ids == slow(text), text
    draw = random.Random(0)
    for _ in range(300):
        text = "".join(
            draw.choice([draw.choice("".join(TEXTS)), " ", "  ", "\n", "é", "🙂", "<|reward|>"]) for _ in range(30)
        )
        assert fast.encode(text).ids == slow(text), text


def test_special_tokens_have_the_published_ids(folder: Path) -> None:
    fast, pieces = read_tokenizer(folder), Slow(folder).pieces
    for number, token in REPLACED.items():
        assert fast.token_to_id(token) == pieces.piece_to_id(UNUSED[number])
    assert fast.encode("a[UNUSED_TOKEN_130]").ids[-1] == pieces.piece_to_id(UNUSED[130])
    assert fast.token_to_id("<|reward|>") not in fast.encode(UNUSED[0]).ids  # the piece that it replaces is gone


def test_decoding_gives_the_text_back(folder: Path) -> None:
    fast = read_tokenizer(folder)
    for text in EXAMPLES:
        if "<" not in text and "▁" not in text and "[" not in text:
            assert fast.decode(fast.encode(text).ids) == text
    assert fast.decode(fast.encode("Two<|reward|>!<|im_end|>").ids).replace(" ", "") == "Two!"


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_comes_back(tokenizers: tuple[Slow, Tokenizer], text: str) -> None:
    slow, fast = tokenizers
    if "[UNUSED_TOKEN_" not in text:
        assert fast.encode(text).ids == slow(text)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Slow, Tokenizer]:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_sentencepiece(folder)
    return Slow(folder), read_tokenizer(folder)


def test_transformers_loads_the_written_tokenizer(folder: Path, tmp_path: Path) -> None:
    write_tokenizer(folder, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    loaded, here = AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(ModelSource(path=str(folder)))
    assert here is not None
    for text in EXAMPLES:
        assert loaded(text)["input_ids"] == here(text)["input_ids"] == read_tokenizer(folder).encode(text).ids
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (1, 2, 2)


def test_a_tokenizer_json_without_a_model_file_is_used(folder: Path, tmp_path: Path) -> None:
    expected = read_tokenizer(folder)
    described = json.loads(expected.to_str())
    described["added_tokens"] = [t for t in described["added_tokens"] if t["special"]]  # as converters write it
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    (tmp_path / "tokenizer_config.json").write_text((folder / "tokenizer_config.json").read_text())
    found = read_tokenizer(tmp_path)
    for text in ("Two[UNUSED_TOKEN_130]", TEXTS[2]):
        assert found.encode(text).ids == expected.encode(text).ids


def changed(folder: Path, into: Path, **changes: Any) -> Path:
    (into / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (into / "tokenizer_config.json").write_text(json.dumps(config | changes))
    return into


def test_contradictions_and_damage_are_refused(folder: Path, tmp_path: Path) -> None:
    token = {"content": "<|reward|>", "special": True}
    with pytest.raises(ModelError, match=r"gives <\|reward\|> the id 5000"):
        read_tokenizer(changed(folder, tmp_path, added_tokens_decoder={"5000": token}))
    with pytest.raises(ModelError, match="two ids the same text"):
        read_tokenizer(changed(folder, tmp_path, added_tokens_decoder={"20": token, "21": token}))
    (tmp_path / "tokenizer.model").write_bytes(b"\xff\xff\xff")
    with pytest.raises(ModelError, match="not a SentencePiece model"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer.model and no tokenizer.json"):
        read_tokenizer(tmp_path)


def test_another_model_type_is_refused(tmp_path: Path) -> None:
    for options, problem in (
        ({"model_type": "unigram", "normalization_rule_name": "identity", "remove_extra_whitespaces": False}, "type 1"),
        ({"model_type": "bpe", "normalization_rule_name": "nmt_nfkc", "remove_extra_whitespaces": False}, "normalizes"),
        ({"model_type": "bpe", "normalization_rule_name": "identity"}, "removes spaces"),
    ):
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(TEXTS * 3), model_prefix=str(tmp_path / "m"), vocab_size=120,
            hard_vocab_limit=False, minloglevel=2, **options,
        )  # fmt: skip
        with pytest.raises(ModelError, match=problem):
            parse((tmp_path / "m.model").read_bytes())


def test_kinds_of_pieces_are_read(folder: Path) -> None:
    kinds = {piece.text: piece.kind for piece in parse((folder / "tokenizer.model").read_bytes()).pieces}
    assert kinds["[UNUSED_TOKEN_130]"] == Kind.USER_DEFINED
    assert (kinds["<unk>"], kinds["<s>"], kinds["<0x0A>"]) == (Kind.UNKNOWN, Kind.CONTROL, Kind.BYTE)
