"""Windows over texts that are longer than the input of a sentence-embedding model.

The vector of a text is the average of those of its windows, weighted by their tokens, so that no token is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """One input of the model."""

    ids: list[int]
    tokens: int
    """Tokens of the text, without the prompt and special tokens; at least 1."""


class Windows:
    """Cuts texts into inputs of a model."""

    def __init__(self, tokenizer: Any, longest: int, *, prompt: str = "", lower_case: bool = False) -> None:
        """
        Args:
            tokenizer: the model's, with its special tokens.
            longest: tokens of the longest input, special tokens included.
            prompt: text before each text, repeated in each window.
            lower_case: whether texts are converted to lower case.
        """
        self._tokenizer, self._prompt, self._lower_case = tokenizer, prompt, lower_case
        marks = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
        self._before = next((i for i, special in enumerate(marks) if not special), len(marks))
        self._after = next((i for i, special in enumerate(reversed(marks)) if not special), 0)
        _, prefix, _ = self._parts(prompt.strip()) if prompt else ([], [], [])
        self._prefix = prefix[: max(0, longest - self._before - self._after - 1)]
        self.room = max(1, longest - self._before - self._after - len(self._prefix))
        """Tokens of a text in each window."""

    @property
    def prompt_tokens(self) -> int:
        """Number of tokens up to the end of the prompt, special tokens before it included."""
        return self._before + len(self._prefix) if self._prefix else 0

    def split(self, text: str) -> list[Window]:
        """The windows of a text, one after the other."""
        before, body, after = self._parts((self._prompt + text).strip())
        body = body[len(self._prefix) :]
        parts = [body[i : i + self.room] for i in range(0, len(body), self.room)] or [[]]
        return [Window([*before, *self._prefix, *part, *after], max(1, len(part))) for part in parts]

    def share_beyond(self, texts: Sequence[str]) -> float:
        """The share of texts that have more than one window."""
        beyond = sum(len(text.encode()) > self.room and len(self.split(text)) > 1 for text in texts)
        return beyond / max(1, len(texts))

    def _parts(self, text: str) -> tuple[list[int], list[int], list[int]]:
        """Special tokens before, the text's tokens, and special tokens after."""
        text = text.lower() if self._lower_case else text
        ids = self._tokenizer(text, verbose=False)["input_ids"]
        end = len(ids) - self._after
        return ids[: self._before], ids[self._before : end], ids[end:]


def averaged(vectors: Tensor, windows: Sequence[Sequence[Window]]) -> Tensor:  # (windows of all texts, D) to (n, D)
    """The vector of each text, of length 1, from those of its windows."""
    rows = vectors.split([len(parts) for parts in windows])
    weights = [torch.tensor([float(part.tokens) for part in parts]).to(vectors) for parts in windows]
    sums = [(weight[:, None] * row).sum(dim=0) / weight.sum() for row, weight in zip(rows, weights, strict=True)]
    return torch.nn.functional.normalize(torch.stack(sums), dim=1)
