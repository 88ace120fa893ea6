"""POLAR discriminator in the trainer's process: a reward model that compares an answer with a reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from uniapl.discriminators.base import BatchCache, Comparison, FrozenDiscriminator
from uniapl.discriminators.last_token import last_token_scores
from uniapl.discriminators.polar_encoding import BETWEEN, END, encode
from uniapl.errors import ModelError
from uniapl.model.policy import LOAD_ERRORS, load_problem
from uniapl.run.config import ModelSource

NO_CODE = (
    "code of model repositories is never run, so InternLM2, the published POLAR's architecture, is not supported; use "
    "another sequence classifier with POLAR's tokens"
)


class PolarDiscriminator(FrozenDiscriminator):
    """D(x, y*, y): the logit at the last token of POLAR's text of prompt, reference and output (arXiv:2507.05197).

    The model is trained with a ranking loss, P(y before y') = σ(D(x, y*, y) - D(x, y*, y')), so only differences are
    meaningful; good answers often score below 0. No sigmoid is applied.
    """

    default_scale = 1.0

    def __init__(
        self, source: ModelSource, *, wrapper: Literal["sft", "pretrain"], batch_size: int, device: torch.device
    ) -> None:
        """
        Raises:
            ModelError: the model cannot be loaded without running its own code, is not a decoder with a trained scalar
                head, or its tokenizer lacks POLAR's tokens.
        """
        self._tokenizer, model = _load(source)
        model.eval().requires_grad_(False).to(device)
        self._backbone, self._head = model.base_model, model.score
        self._wrapper = wrapper
        self._batches = BatchCache(self._logits, batch_size)

    def score(self, comparisons: Sequence[Comparison]) -> Tensor:
        """See `Discriminator.score`; an unbounded logit."""
        return self._batches(comparisons)

    @torch.no_grad()
    def _logits(self, comparisons: list[Comparison]) -> Tensor:  # (n,)
        texts = [encode(self._tokenizer, c, self._wrapper) for c in comparisons]
        return last_token_scores(self._backbone, self._head, self._tokenizer(texts)["input_ids"])


def _load(source: ModelSource) -> tuple[Any, Any]:
    """Tokenizer and classifier, checked."""
    where = source.hub or source.path or ""
    options = {"revision": source.revision, "trust_remote_code": False}

    def refusal(problem: str) -> ModelError:
        return ModelError(
            f"cannot load the discriminator {where}: {problem}", param="discriminator.model", hint=NO_CODE
        )

    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            where, num_labels=1, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(where, **options)
    except (*LOAD_ERRORS, RuntimeError) as error:  # RuntimeError: another shape, such as two outputs
        raise refusal(load_problem(source, error)) from error
    if not isinstance(getattr(model, "score", None), torch.nn.Linear):
        raise refusal(f"{type(model).__name__} is not a decoder with a scalar head")
    if info["missing_keys"]:
        raise refusal(f"the model has no trained {', '.join(sorted(info['missing_keys']))}")
    for token in (BETWEEN, END):
        if token not in tokenizer.get_vocab():
            raise refusal(f"the tokenizer has no token {token}")
    if tokenizer(f"a{END}")["input_ids"][-1] != tokenizer.convert_tokens_to_ids(END):
        raise refusal(f"the tokenizer does not end a text with {END}")
    return tokenizer, model
