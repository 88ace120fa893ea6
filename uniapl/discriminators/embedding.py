"""Cosine similarity of sentence embeddings: a small discriminator that runs anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from uniapl.discriminators.base import Comparison, checked
from uniapl.errors import ModelError
from uniapl.policy import LOAD_ERRORS, first_line
from uniapl.spec.run import ModelSource


class EmbeddingDiscriminator:
    """D(x, y*, y) = cos(embed(y*), embed(y)), mean-pooled (Sentence-BERT, arXiv:1908.10084).

    The prompt is not read. Each text is embedded once per call.
    """

    default_scale = 10.0

    def __init__(self, source: ModelSource, *, batch_size: int, device: torch.device) -> None:
        """
        Raises:
            ModelError: the model cannot be loaded.
        """
        where = source.hub or source.path or ""
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(where, revision=source.revision)
            self._model = AutoModel.from_pretrained(
                where, revision=source.revision, use_safetensors=True, dtype=torch.float32
            )
        except LOAD_ERRORS as error:
            raise ModelError(
                f"cannot load the discriminator {where}: {first_line(error)}", param="discriminator.model"
            ) from error
        self._model.eval().requires_grad_(False).to(device)
        self._max_tokens = min(self._tokenizer.model_max_length, self._model.config.max_position_embeddings)
        self._batch_size = batch_size

    def score(self, comparisons: Sequence[Comparison]) -> Tensor:
        """See `Discriminator.score`; in [-1, 1]."""
        if not comparisons:
            return torch.zeros(0)
        vectors = self._embed({text for c in comparisons for text in (c.reference, c.output)})
        references = torch.stack([vectors[c.reference] for c in comparisons])  # (N, D)
        outputs = torch.stack([vectors[c.output] for c in comparisons])  # (N, D)
        return checked((references * outputs).sum(dim=1), len(comparisons))

    def _embed(self, texts: set[str]) -> dict[str, Tensor]:
        """Unit vectors (D,) by text.

        Batches depend on these texts alone: were some left out because an earlier step had embedded them, the padding
        of the others, and with it the last bits of their vectors, would depend on what ran before.
        """
        ordered = sorted(texts, key=lambda text: (len(text), text))
        vectors: dict[str, Tensor] = {}
        for start in range(0, len(ordered), self._batch_size):
            chunk = ordered[start : start + self._batch_size]
            vectors.update(zip(chunk, self._encode(chunk), strict=True))
        return vectors

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> Tensor:  # (N, D) on the CPU
        tokens = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        ).to(self._model.device)
        hidden = self._model(**tokens).last_hidden_state  # (N, T, D)
        mask = tokens["attention_mask"][..., None]
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.nn.functional.normalize(mean, dim=1).cpu()
