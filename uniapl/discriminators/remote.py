"""Remote discriminators: POLAR's logits and sentence embeddings from a model server over HTTP.

Texts are encoded and truncated here, with the model's own tokenizer; the server only computes. Its results depend in
their last bits on concurrent requests, so a run with a remote discriminator is not reproducible bit for bit.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer

from uniapl.discriminators.base import CACHED_ITEMS, Comparison, FrozenDiscriminator
from uniapl.discriminators.embedding import windows_of
from uniapl.discriminators.internlm2.load_tokenizer import load_tokenizer
from uniapl.discriminators.polar_encoding import encode
from uniapl.discriminators.sentence_files import read_sentence_files
from uniapl.discriminators.windows import averaged
from uniapl.errors import ModelError, ServerError
from uniapl.inference.client import ModelServer, Question
from uniapl.inference.protocol import embed_request, read_embeddings, read_scores, score_request
from uniapl.model.policy import LOAD_ERRORS, load_problem
from uniapl.run.config import ModelSource
from uniapl.spec.backend import Api

PROBES = ("a", "The sky is blue.", "1 + 1 = 3")
Item = TypeVar("Item", bound=tuple[str, ...])


class ItemCache(Generic[Item]):
    """Requests the uncached items of a call together, and caches the finite results by item.

    Unlike `BatchCache`: a server's results are not reproducible anyway, and references recur every epoch.
    """

    def __init__(self, ask: Callable[[list[Item]], Tensor]) -> None:
        """
        Args:
            ask: maps n distinct items to results (n, ...).
        """
        self._ask = ask
        self._seen: OrderedDict[Item, Tensor] = OrderedDict()

    def __call__(self, asked: Sequence[Item]) -> Tensor:  # (N, ...)
        """Results in the order of the items, NaN where not finite."""
        if not asked:
            return torch.zeros(0)
        new = list(dict.fromkeys(item for item in asked if item not in self._seen))
        found = dict(zip(new, self._ask(new), strict=True)) if new else {}
        known = {item: found[item] if item in found else self._seen[item] for item in asked}
        for item, result in known.items():
            if torch.isfinite(result).all():
                self._seen[item] = result
                self._seen.move_to_end(item)
        while len(self._seen) > CACHED_ITEMS:
            self._seen.popitem(last=False)
        return torch.stack([known[item] for item in asked])


class RemotePolar(FrozenDiscriminator):
    """`PolarDiscriminator` on a server: the raw logit without an activation."""

    default_scale = 1.0
    remote = True

    def __init__(
        self,
        source: ModelSource,
        server: ModelServer,
        *,
        api: Api,
        wrapper: Literal["sft", "pretrain"],
        batch_size: int,
    ) -> None:
        """
        Args:
            source: source of the tokenizer.
            server: client of the model server.
            api: request format of the server.
            wrapper: POLAR's wrapper.
            batch_size: pairs per request.

        Raises:
            ModelError: the tokenizer cannot be loaded.
            ServerError: the server serves another model, does not answer, or applies an activation to its scores.
        """
        self._tokenizer = load_tokenizer(source) or _tokenizer_and_config(source)[0]
        self._server, self._api, self._wrapper, self._batch_size = server, api, wrapper, batch_size
        self._known = ItemCache(self._scores)
        server.check_model()
        if api == "vllm":
            self._check_raw()

    def score(self, comparisons: Sequence[Comparison]) -> Tensor:
        """See `Discriminator.score`; an unbounded logit.

        Raises:
            ServerError: the server returned no usable answer within its time limits.
        """
        return self._known(comparisons)

    def _scores(self, comparisons: list[Comparison]) -> Tensor:  # (n,)
        texts = [encode(self._tokenizer, c, self._wrapper) for c in comparisons]
        chunks = [texts[i : i + self._batch_size] for i in range(0, len(texts), self._batch_size)]
        found = self._server.ask([self._question(chunk) for chunk in chunks])
        return torch.tensor([score for scores in found for score in scores])

    def _question(self, texts: Sequence[str], *, raw: bool = True) -> Question[list[float]]:
        path, _ = score_request(self._api, "", texts)
        return Question(
            path,
            lambda model: score_request(self._api, model, texts, raw=raw)[1],
            lambda content, model: read_scores(self._api, content, model=model, count=len(texts)),
            is_complete=lambda scores: all(map(math.isfinite, scores)),
        )

    def _check_raw(self) -> None:
        """Detect a server without `use_activation`, which applies a sigmoid to both requests."""
        raw, activated = self._server.ask([self._question(PROBES), self._question(PROBES, raw=False)])
        if raw == activated and all(0 <= score <= 1 for score in raw):
            raise ServerError(
                "the server returns scores between 0 and 1 for requests of raw logits",
                param="discriminator.backend",
                hint="use a vLLM version that supports `use_activation`, or serve the model without its activation",
            )


class RemoteEmbedding(FrozenDiscriminator):
    """`EmbeddingDiscriminator` on a server, which pools as it reads the model's files."""

    default_scale = 10.0
    remote = True

    def __init__(
        self, source: ModelSource, server: ModelServer, *, batch_size: int, max_tokens: int | None = None
    ) -> None:
        """
        Args:
            source: source of the tokenizer, whose token ids are sent.
            server: client of the model server.
            batch_size: texts per request.
            max_tokens: tokens of the server's longest input, where that is below the model's own limit.

        Raises:
            ModelError: the tokenizer cannot be loaded, or the model's files are invalid.
            ServerError: the server serves another model, or does not answer.
        """
        files = read_sentence_files(source)
        tokenizer, config = _tokenizer_and_config(source, files.transformer)
        self._windows = windows_of(files, tokenizer, config, limit=max_tokens)
        self._server, self._batch_size = server, batch_size
        self._known = ItemCache(self._embed)
        server.check_model()

    def score(self, comparisons: Sequence[Comparison]) -> Tensor:
        """See `Discriminator.score`; in [-1, 1].

        Raises:
            ServerError: the server returned no usable answer within its time limits.
        """
        if not comparisons:
            return torch.zeros(0)
        texts = [(text,) for c in comparisons for text in (c.reference, c.output)]
        references, outputs = self._known(texts).unflatten(0, (-1, 2)).unbind(1)  # (N, D) each
        scores: Tensor = (references * outputs).sum(dim=1)
        return scores

    def learn(self, comparisons: Sequence[Comparison]) -> dict[str, float]:
        """See `EmbeddingDiscriminator.learn`."""
        return {"disc/beyond_window": self._windows.share_beyond([c.output for c in comparisons])}

    def _embed(self, texts: list[tuple[str]]) -> Tensor:  # (n, D), unit vectors
        windows = [self._windows.split(text) for (text,) in texts]
        rows = [window.ids for parts in windows for window in parts]
        chunks = [rows[i : i + self._batch_size] for i in range(0, len(rows), self._batch_size)]
        found = self._server.ask([self._question(chunk) for chunk in chunks])
        return averaged(torch.tensor([vector for part in found for vector in part]), windows)

    def _question(self, rows: list[list[int]]) -> Question[list[list[float]]]:
        path, _ = embed_request("", rows)
        return Question(
            path,
            lambda model: embed_request(model, rows)[1],
            lambda content, model: read_embeddings(content, model=model, count=len(rows)),
            is_complete=lambda vectors: all(math.isfinite(vector[0]) for vector in vectors),
        )


def _tokenizer_and_config(source: ModelSource, folder: str = "") -> tuple[Any, Any]:
    where = source.hub or source.path or ""
    options = {"revision": source.revision, "trust_remote_code": False, "subfolder": folder}
    try:
        return AutoTokenizer.from_pretrained(where, **options), AutoConfig.from_pretrained(where, **options)
    except LOAD_ERRORS as error:
        raise ModelError(
            f"cannot read the tokenizer of the discriminator {where}: {load_problem(source, error)}",
            param="discriminator.model",
        ) from error
