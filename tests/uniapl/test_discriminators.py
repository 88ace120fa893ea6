"""The embedding discriminator on its real model, and the guard that no bad score passes."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from tests.conftest import MODELS, ROOT
from uniapl.data import load_rows
from uniapl.discriminators.base import Comparison, checked
from uniapl.discriminators.embedding import EmbeddingDiscriminator
from uniapl.errors import ModelError, ScoreError
from uniapl.spec.run import ModelSource


@pytest.fixture(scope="module")
def minilm() -> EmbeddingDiscriminator:
    source = ModelSource(path=str(MODELS / "all-minilm-l6-v2"))
    return EmbeddingDiscriminator(source, batch_size=8, device=torch.device("cpu"))


def compare(reference: str, output: str) -> Comparison:
    return Comparison("prompt", reference, output)


def test_closer_answers_score_higher(minilm: EmbeddingDiscriminator) -> None:
    reference = "Water the basil every morning and keep it in the sun."
    same, near, far = minilm.score(
        [
            compare(reference, reference),
            compare(reference, "Basil likes sunlight and some water each day."),
            compare(reference, "The train to Lyon leaves at nine."),
        ]
    )
    assert_close(same, torch.tensor(1.0))
    assert same > near > far + 0.3


def test_scores_do_not_depend_on_batch_order_or_repetition(minilm: EmbeddingDiscriminator) -> None:
    asked = [compare(f"reference {i}", f"an answer that talks about {word}") for i, word in enumerate("abcdefghijk")]
    forward = minilm.score(asked)
    fresh = EmbeddingDiscriminator(
        ModelSource(path=str(MODELS / "all-minilm-l6-v2")), batch_size=3, device=torch.device("cpu")
    )
    backward = fresh.score([*reversed(asked), asked[0], asked[0]])
    assert_close(forward, backward[: len(asked)].flip(0), atol=1e-5, rtol=0)
    assert_close(backward[-1], forward[0], atol=1e-5, rtol=0)
    assert minilm.score([]).shape == (0,)


def test_it_ranks_the_right_reference_above_another_rows(minilm: EmbeddingDiscriminator) -> None:
    rows = load_rows(ROOT / "examples" / "data" / "heldout.jsonl")
    texts = [row.reference or "" for row in rows]
    prompts = [row.messages[-1].content for row in rows]
    own = minilm.score([compare(text, prompt) for text, prompt in zip(texts, prompts, strict=True)])
    other = minilm.score([compare(text, prompt) for text, prompt in zip(texts, prompts[1:] + prompts[:1], strict=True)])
    assert (own > other).float().mean() > 0.9


@pytest.mark.parametrize("bad", [torch.tensor([0.1, float("nan")]), torch.tensor([0.1, float("inf")]), torch.zeros(3)])
def test_no_bad_score_passes(bad: torch.Tensor) -> None:
    with pytest.raises(ScoreError):
        checked(bad, 2)


def test_a_missing_model_is_the_users_error() -> None:
    with pytest.raises(ModelError, match="cannot load the discriminator") as caught:
        EmbeddingDiscriminator(ModelSource(path="/nowhere"), batch_size=1, device=torch.device("cpu"))
    assert caught.value.param == "discriminator.model"
