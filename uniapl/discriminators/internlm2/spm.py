"""SentencePiece model files (`tokenizer.model`): a reader of the fields that a BPE tokenizer needs.

The file is a protocol buffer; field numbers as in sentencepiece_model.proto of google/sentencepiece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from uniapl.discriminators.internlm2.stored import refused

PIECES, TRAINER, NORMALIZER = 1, 2, 3
BPE = 2


class Kind(IntEnum):
    """Kinds of pieces."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """An entry of the vocabulary; its id is its position."""

    text: str
    score: float
    kind: Kind


@dataclass(frozen=True)
class SentencePiece:
    """A BPE model without text normalization."""

    pieces: list[Piece]
    prefixed: bool
    """Whether a space is put before each text."""


def parse(content: bytes) -> SentencePiece:
    """Read a model file.

    Raises:
        ModelError: it is damaged, is not a BPE model, or normalizes texts.
    """
    try:
        fields = list(_fields(content))
        pieces = [_piece(dict(_fields(value))) for number, value in fields if number == PIECES]
        trainer = dict(_fields(next(value for number, value in fields if number == TRAINER)))
        normalizer = dict(_fields(next(value for number, value in fields if number == NORMALIZER)))
    except (ValueError, IndexError, StopIteration, struct.error, TypeError) as error:
        raise refused(f"tokenizer.model is not a SentencePiece model ({type(error).__name__})") from error
    if (kind := int(trainer.get(3, 1))) != BPE:
        raise refused(f"tokenizer.model has model type {kind}; supported is {BPE} (BPE)")
    if normalizer.get(2) or normalizer.get(4, 1):
        raise refused("tokenizer.model normalizes texts or removes spaces, which InternLM2's does not")
    return SentencePiece(pieces, prefixed=bool(normalizer.get(3, 1)))


def _piece(fields: dict[int, int | bytes]) -> Piece:
    text, score = fields[1], fields.get(2, bytes(4))
    assert isinstance(text, bytes)
    assert isinstance(score, bytes)
    return Piece(text.decode(), struct.unpack("<f", score)[0], Kind(int(fields.get(3, Kind.NORMAL))))


def _fields(content: bytes | int) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field of a message; a later value of a field follows an earlier one."""
    assert isinstance(content, bytes)
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        wire = key & 7
        if wire == 0:
            number, at = _varint(content, at)
            yield key >> 3, number
            continue
        size = {1: 8, 5: 4}.get(wire)
        if size is None:
            if wire != 2:
                raise ValueError("unknown wire type")
            size, at = _varint(content, at)
        if at + size > len(content):
            raise ValueError("truncated")
        yield key >> 3, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """An integer and the position after it."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
