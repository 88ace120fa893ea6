"""Sequences as one pack, for tests that need no step."""

from __future__ import annotations

from typing import Any

import torch

from uniapl.batch import Sequence
from uniapl.packing import Layout
from uniapl.packs import Pack, packs


def one_pack(sequences: list[Sequence], kind: Any = "trees") -> Pack:
    """All of them; those of the same length in their order, longer trees first."""
    (pack,) = packs(sequences, 10_000, pad_id=0, device=torch.device("cpu"), layout=Layout(kind))
    return pack
