"""Embedding discriminator: cosine similarity of sentence embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, AutoTokenizer

from uniapl.discriminators.base import BatchCache, Comparison, FrozenDiscriminator
from uniapl.discriminators.pooling import pool
from uniapl.discriminators.sentence_files import DenseLayer, SentenceFiles, file_of, read_sentence_files
from uniapl.discriminators.windows import Windows, averaged
from uniapl.errors import ModelError
from uniapl.model.policy import LOAD_ERRORS, load_problem
from uniapl.run.config import ModelSource

ENCODER_DECODERS = ("t5", "mt5", "umt5")
"""Model types of which only the encoder embeds."""
ACTIVATIONS = {"Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid"}
"""Classes of `torch.nn` after a dense layer."""


class EmbeddingDiscriminator(FrozenDiscriminator):
    """D(x, y*, y) = cos(embed(y*), embed(y)) (Sentence-BERT, arXiv:1908.10084).

    It ignores the prompt. Pooling, prompt prefix and longest input are those that the model's files declare; a longer
    text is embedded in windows (`uniapl.discriminators.windows`).
    """

    default_scale = 10.0

    def __init__(self, source: ModelSource, *, batch_size: int, device: torch.device) -> None:
        """
        Raises:
            ModelError: the model cannot be loaded, or its files declare a module that is not supported.
        """
        where = source.hub or source.path or ""
        try:
            files = read_sentence_files(source)
            options = {"revision": source.revision, "trust_remote_code": False, "subfolder": files.transformer}
            tokenizer = AutoTokenizer.from_pretrained(where, **options)
            self._model = _encoder(where, options)
            self._dense = [_dense(source, layer).to(device) for layer in files.dense]
        except LOAD_ERRORS as error:
            raise ModelError(
                f"cannot load the discriminator {where}: {load_problem(source, error)}", param="discriminator.model"
            ) from error
        self._model.eval().requires_grad_(False).to(device)
        self._files, self._tokenizer, self._batch_size = files, tokenizer, batch_size
        self._windows = windows_of(files, tokenizer, self._model.config, _position_offset(self._model))
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

    def learn(self, comparisons: Sequence[Comparison]) -> dict[str, float]:
        """See `Discriminator.learn`; trains nothing, and measures the share of answers beyond one window."""
        return {"disc/beyond_window": self._windows.share_beyond([c.output for c in comparisons])}

    @torch.no_grad()
    def _embed(self, texts: list[tuple[str]]) -> Tensor:  # (n, D), unit vectors
        windows = [self._windows.split(text) for (text,) in texts]
        rows = [window.ids for parts in windows for window in parts]
        chunks = [rows[i : i + self._batch_size] for i in range(0, len(rows), self._batch_size)]
        return averaged(torch.cat([self._vectors(chunk) for chunk in chunks]), windows)

    def _vectors(self, rows: list[list[int]]) -> Tensor:  # (n, D)
        """The vectors of windows as sentence-transformers computes them."""
        tokens = self._tokenizer.pad({"input_ids": rows}, padding_side="right", return_tensors="pt")
        ids, mask = tokens["input_ids"].to(self._model.device), tokens["attention_mask"].to(self._model.device)
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state  # (n, T, D)
        skipped = 0 if self._files.include_prompt else self._windows.prompt_tokens
        vectors = pool(hidden, mask, self._files.pooling, skipped)
        for layer in self._dense:
            vectors = layer(vectors)
        return torch.nn.functional.normalize(vectors, dim=1) if self._files.normalized else vectors


def windows_of(files: SentenceFiles, tokenizer: Any, config: Any, offset: int = 0, limit: int | None = None) -> Windows:
    """The windows of a model.

    Args:
        files: declarations of the model.
        tokenizer: its tokenizer.
        config: config of its transformer.
        offset: positions that no token uses.
        limit: a smaller limit of the server.
    """
    positions = getattr(config, "max_position_embeddings", None)
    usable = None if positions is None else positions - offset
    limits = (files.longest, tokenizer.model_max_length, usable, limit)
    longest = min(limit for limit in limits if limit is not None)
    return Windows(tokenizer, longest, prompt=files.prompt, lower_case=files.lower_case)


def _encoder(where: str, options: dict[str, Any]) -> Any:
    kind = AutoConfig.from_pretrained(where, **options).model_type
    loader: Any = AutoModelForTextEncoding if kind in ENCODER_DECODERS else AutoModel
    return loader.from_pretrained(where, use_safetensors=True, dtype=torch.float32, **options)


def _position_offset(model: Any) -> int:
    """The first positions of RoBERTa's family, which padding reserves."""
    embeddings = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(embeddings, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def _dense(source: ModelSource, layer: DenseLayer) -> torch.nn.Module:
    """A linear layer and its activation.

    Raises:
        ValueError: its weights are no safetensors, or its activation is unknown.
    """
    file = file_of(source, f"{layer.folder}/model.safetensors")
    if file is None:
        raise ValueError(f"{layer.folder} has no model.safetensors")
    if layer.activation not in ACTIVATIONS:
        raise ValueError(f"{layer.folder}: the activation {layer.activation!r} is not supported")
    weights = load_file(file)
    outputs, inputs = weights["linear.weight"].shape
    linear = torch.nn.Linear(inputs, outputs, bias="linear.bias" in weights)
    linear.load_state_dict({name.removeprefix("linear."): value for name, value in weights.items()})
    activation: torch.nn.Module = getattr(torch.nn, layer.activation)()
    return torch.nn.Sequential(linear, activation).eval().requires_grad_(False)
