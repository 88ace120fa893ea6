"""POLAR discriminator in the trainer's process: a reward model that compares an answer with a reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from uniapl.discriminators.base import BatchCache, Comparison, FrozenDiscriminator
from uniapl.discriminators.internlm2.convert import converted
from uniapl.discriminators.last_token import last_token_scores
from uniapl.discriminators.polar_encoding import BETWEEN, END, encode
from uniapl.errors import ModelError
from uniapl.model.kernels import kernels_for
from uniapl.model.logprobs import precision
from uniapl.model.policy import LOAD_ERRORS, load_problem
from uniapl.run.atomic import no_space
from uniapl.run.config import ModelSource

NO_CODE = (
    "use an InternLM2 reward model such as internlm/POLAR-1_8B, or a sequence classifier that transformers supports, "
    "with POLAR's tokens; code of model repositories is never run"
)


class PolarDiscriminator(FrozenDiscriminator):
    """D(x, y*, y): the logit at the last token of POLAR's text of prompt, reference and output (arXiv:2507.05197).

    The model is trained with a ranking loss, P(y before y') = σ(D(x, y*, y) - D(x, y*, y')), so only differences are
    meaningful; good answers often score below 0. No sigmoid is applied.
    """

    default_scale = 1.0

    def __init__(
        self,
        source: ModelSource,
        *,
        wrapper: Literal["sft", "pretrain"],
        batch_size: int,
        device: torch.device,
        store: Path,
    ) -> None:
        """
        Args:
            source: the published InternLM2 layout, or a sequence classifier that transformers supports.
            wrapper: POLAR's wrapper.
            batch_size: pairs per forward.
            device: device of the weights: bfloat16 on a GPU, float32 on the CPU.
            store: folder of converted models.

        Raises:
            ModelError: the model cannot be loaded without running its own code, is not a decoder with a trained scalar
                head, or its tokenizer lacks POLAR's tokens.
        """
        self._tokenizer, model = _load(source, store, kernels_for(device).precision)
        model.eval().requires_grad_(False).to(device)
        self._backbone, self._head = model.base_model, model.score.float()
        self._wrapper = wrapper
        self._batches = BatchCache(self._logits, batch_size)

    def score(self, comparisons: Sequence[Comparison]) -> Tensor:
        """See `Discriminator.score`; an unbounded logit."""
        return self._batches(comparisons)

    @torch.no_grad()
    def _logits(self, comparisons: list[Comparison]) -> Tensor:  # (n,)
        texts = [encode(self._tokenizer, c, self._wrapper) for c in comparisons]
        with precision(self._head.weight.device):
            return last_token_scores(self._backbone, self._head, self._tokenizer(texts)["input_ids"])


def _load(source: ModelSource, store: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Tokenizer and classifier, checked."""
    try:
        used = converted(source, store)
        where, options = str(used.hub or used.path), {"revision": used.revision, "trust_remote_code": False}
        model, info = AutoModelForSequenceClassification.from_pretrained(
            where, num_labels=1, use_safetensors=True, dtype=dtype, output_loading_info=True, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(where, **options)
    except ModelError as error:
        raise _refusal(source, error.message) from error
    except OSError as error:
        if no_space(error):
            raise
        raise _refusal(source, load_problem(source, error)) from error
    except (*LOAD_ERRORS, RuntimeError) as error:  # RuntimeError: another shape, such as two outputs
        raise _refusal(source, load_problem(source, error)) from error
    if (problem := _problem(model, info["missing_keys"], tokenizer)) is not None:
        raise _refusal(source, problem)
    return tokenizer, model


def _problem(model: Any, missing: Any, tokenizer: Any) -> str | None:
    """Why a loaded model cannot score as POLAR does; `None` if it can."""
    if not isinstance(getattr(model, "score", None), torch.nn.Linear):
        return f"{type(model).__name__} is not a decoder with a scalar head"
    if missing:
        return f"the model has no trained {', '.join(sorted(missing))}"
    for token in (BETWEEN, END):
        if token not in tokenizer.get_vocab():
            return f"the tokenizer has no token {token}"
    if tokenizer(f"a{END}")["input_ids"][-1] != tokenizer.convert_tokens_to_ids(END):
        return f"the tokenizer does not end a text with {END}"
    return None


def _refusal(source: ModelSource, problem: str) -> ModelError:
    message = f"cannot load the discriminator {source.hub or source.path}: {problem}"
    return ModelError(message, param="discriminator.model", hint=NO_CODE)
