"""Sequences as one pack, for tests that need no step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from uniapl.batch import Sequence
from uniapl.forward import completion_logprobs
from uniapl.packing import Layout
from uniapl.packs import Pack, packs
from uniapl.policy import Policy


def one_pack(sequences: list[Sequence], kind: Any = "trees") -> Pack:
    """All of them; those of the same length in their order, longer trees first."""
    (pack,) = packs(sequences, 10_000, pad_id=0, device=torch.device("cpu"), layout=Layout(kind))
    return pack


def gradient_of_a_group(policy: Policy) -> tuple[Tensor, ...]:
    """Of the summed log-probabilities of four answers to one prompt, by the parameters that are trained."""
    pack = one_pack([Sequence([5, 6, 7], [i, 8, 9]) for i in range(4)], "trees")
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    return torch.autograd.grad(completion_logprobs(policy.model, pack, temperature=1.0)[0].sum(), parameters)
