"""InternLM2's tokenizer as a `tokenizer.json`, from its SentencePiece model and `tokenizer_config.json`.

The ids equal those of the published tokenizers (tokenization_internlm2.py and tokenization_internlm2_fast.py of
internlm/POLAR-7B): byte-fallback BPE, spaces as `▁`, a token of `added_tokens_decoder` in the place of the piece with
its id. User-defined pieces, among them POLAR's `[UNUSED_TOKEN_130]`, are matched as a whole in any text, as
SentencePiece does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE

from uniapl.discriminators.internlm2.spm import Kind, SentencePiece, parse
from uniapl.discriminators.internlm2.stored import refused
from uniapl.discriminators.polar_encoding import END

SPACE = "▁"
NAMED = ("unk_token", "bos_token", "eos_token", "pad_token")


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of an InternLM2 folder: from `tokenizer.model`, or from `tokenizer.json` without one.

    Raises:
        ModelError: neither file is there, or they contradict `tokenizer_config.json`.
    """
    config = _config(folder)
    added = {int(number): _token(token) for number, token in (config.get("added_tokens_decoder") or {}).items()}
    if (file := folder / "tokenizer.model").exists():
        tokenizer = _from_pieces(parse(file.read_bytes()), added, _name(config, "unk_token") or "<unk>")
    elif (file := folder / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(file))
    else:
        raise refused(f"{folder.name} has no tokenizer.model and no tokenizer.json")
    _add(tokenizer, added)
    named = [name for kind in NAMED if (name := _name(config, kind)) is not None]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in named])
    if END in tokenizer.get_vocab():
        tokenizer.add_tokens([AddedToken(END, normalized=False, special=False)])
    tokenizer.post_processor = _ends(tokenizer, config)
    return tokenizer


def write_tokenizer(folder: Path, into: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` for transformers and vLLM.

    Raises:
        ModelError: see `read_tokenizer`.
    """
    read_tokenizer(folder).save(str(into / "tokenizer.json"))
    config = _config(folder)
    written = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": config.get("model_max_length"),
        "padding_side": "left",
        **{kind: name for kind in NAMED if (name := _name(config, kind)) is not None},
    }
    (into / "tokenizer_config.json").write_text(json.dumps(written, indent=2))


def _from_pieces(model: SentencePiece, added: dict[int, AddedToken], unknown: str) -> Tokenizer:
    texts = [added[i].content if i in added else piece.text for i, piece in enumerate(model.pieces)]
    if len(vocab := {text: i for i, text in enumerate(texts)}) != len(texts):
        raise refused("tokenizer.model and tokenizer_config.json give two ids the same text")
    merged = {p.text: p.score for i, p in enumerate(model.pieces) if p.kind == Kind.NORMAL and i not in added}
    merges = _merges(merged, vocab)
    tokenizer = Tokenizer(BPE(vocab, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    spaces = normalizers.Replace(" ", SPACE)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), spaces] if model.prefixed else [spaces])
    decoding: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if model.prefixed:
        decoding.append(decoders.Strip(" ", left=1))
    tokenizer.decoder = decoders.Sequence(decoding)
    defined = [p.text for i, p in enumerate(model.pieces) if p.kind == Kind.USER_DEFINED and i not in added]
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in defined])
    return tokenizer


def _merges(scores: dict[str, float], vocab: dict[str, int]) -> list[tuple[str, str]]:
    """Pairs of pieces that form a piece, best score first; SentencePiece joins neighbours in this order."""
    pairs = [
        (-score, -len(text[:cut]), vocab[text[:cut]], text[:cut], text[cut:])
        for text, score in scores.items()
        for cut in range(1, len(text))
        if text[:cut] in scores and text[cut:] in scores
    ]
    return [(left, right) for *_, left, right in sorted(pairs)]


def _add(tokenizer: Tokenizer, added: dict[int, AddedToken]) -> None:
    """Add the tokens of `added_tokens_decoder`, each at its id."""
    for number, token in sorted(added.items()):
        tokenizer.add_special_tokens([token]) if token.special else tokenizer.add_tokens([token])
        if (found := tokenizer.token_to_id(token.content)) != number:
            raise refused(f"tokenizer_config.json gives {token.content} the id {number}; the vocabulary gives {found}")


def _ends(tokenizer: Tokenizer, config: dict[str, Any]) -> Any:
    """What is put before and behind a text; a first token by default."""
    before = _name(config, "bos_token") or "<s>" if config.get("add_bos_token", True) else None
    behind = _name(config, "eos_token") or "</s>" if config.get("add_eos_token", False) else None
    single = " ".join(part for part in (before, "$A", behind) if part)
    return processors.TemplateProcessing(
        single=single, special_tokens=[(name, tokenizer.token_to_id(name)) for name in (before, behind) if name]
    )


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "tokenizer_config.json").read_text())
    except (OSError, ValueError) as error:
        raise refused(f"{folder.name} has no readable tokenizer_config.json ({type(error).__name__})") from error
    return found if isinstance(found, dict) else {}


def _name(config: dict[str, Any], kind: str) -> str | None:
    token = config.get(kind)
    return token["content"] if isinstance(token, dict) else token


def _token(entry: dict[str, Any]) -> AddedToken:
    options = {key: bool(entry.get(key)) for key in ("lstrip", "rstrip", "single_word", "normalized", "special")}
    return AddedToken(entry["content"], **options)
