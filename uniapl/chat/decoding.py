"""Completions as text: special tokens are removed, except those of reasoning blocks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from uniapl.chat.frames import FRAMES
from uniapl.chat.template_frame import template_frame


def decode(tokenizer: Any, completion_ids: list[int]) -> str:
    """A completion as text, without special tokens other than those of reasoning blocks."""
    if not (kept := _kept(tokenizer)):
        return str(tokenizer.decode(completion_ids, skip_special_tokens=True))
    special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    ids = [i for i in completion_ids if i in kept or i not in special]
    return str(tokenizer.decode(ids, skip_special_tokens=False))


def _kept(tokenizer: Any) -> frozenset[int]:
    """Special tokens of the blocks that the tokenizer has tokens for."""
    special = tuple((i, token.content) for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    ends = {tokenizer.eos_token, tokenizer.pad_token}
    own = template_frame(tokenizer)
    tags = "\0".join((own.opening, own.closing, own.answer, own.end)) if own else ""
    kept = _of_frames(special) | {i for i, text in special if text in tags}
    return kept - {i for i, text in special if text in ends}


@lru_cache(maxsize=16)
def _of_frames(special: tuple[tuple[int, str], ...]) -> frozenset[int]:
    frames = [frame for frame in FRAMES if any(text in frame.opening for _, text in special)]
    tags = "\0".join(tag for f in frames for tag in (f.opening, f.closing, f.answer, f.end))
    return frozenset(i for i, text in special if text in tags)
