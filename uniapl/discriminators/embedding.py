"""Embedding discriminator: cosine similarity of sentence embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from uniapl.discriminators.base import BatchCache, Comparison, FrozenDiscriminator
from uniapl.errors import ModelError
from uniapl.model.policy import LOAD_ERRORS, load_problem
from uniapl.run.config import ModelSource


class EmbeddingDiscriminator(FrozenDiscriminator):
    """D(x, y*, y) = cos(embed(y*), embed(y)), mean-pooled (Sentence-BERT, arXiv:1908.10084).

    It ignores the prompt.
    """

    default_scale = 10.0

    def __init__(self, source: ModelSource, *, batch_size: int, device: torch.device) -> None:
        """
        Raises:
            ModelError: the model cannot be loaded.
        """
        where = source.hub or source.path or ""
        options = {"revision": source.revision, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(where, **options)
            self._model = AutoModel.from_pretrained(where, use_safetensors=True, dtype=torch.float32, **options)
        except LOAD_ERRORS as error:
            raise ModelError(
                f"cannot load the discriminator {where}: {load_problem(source, error)}", param="discriminator.model"
            ) from error
        self._model.eval().requires_grad_(False).to(device)
        self._max_tokens = min(self._tokenizer.model_max_length, self._model.config.max_position_embeddings)
        self._outputs = BatchCache(self._embed, batch_size)
        self._references = BatchCache(
            self._embed, 1
        )  # references recur every epoch, among other rows: each is cached alone

    def score(self, comparisons: Sequence[Comparison]) -> Tensor:
        """See `Discriminator.score`; in [-1, 1]."""
        if not comparisons:
            return torch.zeros(0)
        references = self._references([(c.reference,) for c in comparisons])  # (N, D)
        outputs = self._outputs([(c.output,) for c in comparisons])  # (N, D)
        return (references * outputs).sum(dim=1)

    @torch.no_grad()
    def _embed(self, texts: list[tuple[str]]) -> Tensor:  # (n, D), unit vectors
        tokens = self._tokenizer(
            [text for (text,) in texts],
            padding=True,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        ).to(self._model.device)
        hidden = self._model(**tokens).last_hidden_state  # (n, T, D)
        mask = tokens["attention_mask"][..., None]
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.nn.functional.normalize(mean, dim=1)
