"""The batch cache, the embedding discriminator on its real model, and the AUC."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.conftest import MODELS, ROOT
from uniapl.data.encoding import load_rows
from uniapl.discriminators import base
from uniapl.discriminators.auc import auc
from uniapl.discriminators.base import BatchCache, Comparison
from uniapl.discriminators.embedding import EmbeddingDiscriminator
from uniapl.discriminators.learned import LearnedDiscriminator
from uniapl.discriminators.load import load_discriminator
from uniapl.errors import ModelError, ScoreError
from uniapl.run.config import ModelSource, RunConfig
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.integration

CPU = torch.device("cpu")


def fresh_minilm(batch_size: int = 8) -> EmbeddingDiscriminator:
    source = ModelSource(path=str(MODELS / "all-minilm-l6-v2"))
    return EmbeddingDiscriminator(source, batch_size=batch_size, device=CPU)


@pytest.fixture(scope="module")
def minilm() -> EmbeddingDiscriminator:
    return fresh_minilm()


class Neighbourly:
    """A model whose answers depend on the whole batch, as with float32 kernels, but strongly."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[str]]] = []

    def __call__(self, items: list[tuple[str]]) -> Tensor:
        self.batches.append(items)
        together = sum(len(text) for (text,) in items)
        return torch.tensor([len(text) + together / 1000 for (text,) in items])


def texts(*lengths: int) -> list[tuple[str]]:
    return [("x" * n,) for n in lengths]


def test_each_text_is_computed_once_and_results_are_in_order() -> None:
    model = Neighbourly()
    found = BatchCache(model, 2)(texts(3, 1, 3, 2, 1, 3))
    assert model.batches == [texts(1, 2), texts(3)]
    # a batch adds a thousandth of its letters: 1 and 2 together 0.003, the lone 3 also 0.003
    assert_close(found, torch.tensor([3.003, 1.003, 3.003, 2.003, 1.003, 3.003]))


def test_earlier_calls_change_no_score() -> None:
    warm = BatchCache(Neighbourly(), 2)
    for earlier in (texts(1), texts(2, 3), texts(1, 2, 4), texts(4, 5)):
        warm(earlier)
    later = texts(5, 1, 6, 3, 2)
    assert torch.equal(warm(later), BatchCache(Neighbourly(), 2)(later))


def test_the_same_batch_is_computed_once_for_each_version_of_the_model() -> None:
    model = Neighbourly()
    batches = BatchCache(model, 2)
    first = batches(texts(1, 2, 3))
    assert torch.equal(batches(texts(3, 2, 1)), first.flip(0))
    assert len(model.batches) == 2
    batches(texts(1, 2, 3), version=1)
    assert len(model.batches) == 4


def test_the_cache_forgets_the_batch_not_used_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CACHED_ITEMS", 2)
    model = Neighbourly()
    batches = BatchCache(model, 1)
    for length in (1, 2, 1, 3, 1, 2):  # 3 drives out 2, for 1 was used since; 2 is computed again
        batches(texts(length))
    assert model.batches == [texts(1), texts(2), texts(3), texts(2)]


def test_an_infinite_score_becomes_nan_and_its_batch_is_retried() -> None:
    answers = iter([torch.tensor([0.1, math.inf, math.nan]), torch.tensor([0.1, 0.2, 0.3])])
    batches = BatchCache(lambda _: next(answers), 8)
    first = batches(texts(1, 2, 3))
    assert first.isnan().tolist() == [False, True, True]
    assert_close(first[0], torch.tensor(0.1))
    assert_close(batches(texts(1, 2, 3)), torch.tensor([0.1, 0.2, 0.3]))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_scores_is_an_error(count: int) -> None:
    with pytest.raises(ScoreError, match="for 2 items"):
        BatchCache(lambda _: torch.zeros(count), 8)(texts(1, 2))


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
    backward = fresh_minilm(batch_size=3).score([*reversed(asked), asked[0], asked[0]])
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


def test_a_warm_embedder_gives_the_scores_of_a_fresh_one_bit_for_bit() -> None:
    words = ["one", "two", "three", "four", "five", "six", "seven"]
    asked = [compare(f"{' '.join(words[:n])}.", f"{' and '.join(words[n:])}?") for n in range(1, 7)]
    warm = fresh_minilm(batch_size=4)
    for start in range(3):
        warm.score(asked[start : start + 2])  # so some have been seen, beside others, and some have not
    assert torch.equal(warm.score(asked), fresh_minilm(batch_size=4).score(asked))


def test_a_reference_is_embedded_once_however_often_and_beside_whatever_it_comes_back() -> None:
    discriminator = fresh_minilm()
    passes = []
    discriminator._model.register_forward_hook(lambda *_: passes.append(1))
    discriminator.score([compare("a reference", "an output"), compare("another reference", "an output")])
    assert len(passes) == 3  # two references by themselves, one batch of outputs
    discriminator.score([compare("another reference", "a new output"), compare("a reference", "a newer output")])
    assert len(passes) == 4


def test_only_the_answer_that_breaks_the_model_has_no_score() -> None:
    broken = fresh_minilm()
    (token,) = broken._tokenizer("zebra", add_special_tokens=False)["input_ids"]
    broken._model.get_input_embeddings().weight[token] = math.inf
    scores = broken.score([compare("a horse", "a donkey"), compare("a horse", "a zebra"), compare("a zebra", "a mule")])
    assert scores.isnan().tolist() == [False, True, True]


def test_a_missing_model_is_the_users_error() -> None:
    with pytest.raises(ModelError, match="cannot load the discriminator") as caught:
        EmbeddingDiscriminator(ModelSource(path="/nowhere"), batch_size=1, device=CPU)
    assert caught.value.param == "discriminator.model"


def test_a_discriminator_is_chosen_by_its_type_and_a_learned_one_starts_from_the_student(tmp_path: Path) -> None:
    def load(discriminator: dict[str, str]) -> base.Discriminator:
        student = str(MODELS / "tiny-random-llama")
        spec = JobSpec.model_validate(
            {"student": student, "dataset_mix": [{"dataset": "d"}], "discriminator": discriminator}
        )
        return load_discriminator(spec, RunConfig(spec=spec, run_dir=str(tmp_path)), CPU)

    embedding = load({"type": "embedding", "model": str(MODELS / "all-minilm-l6-v2")})
    assert isinstance(embedding, EmbeddingDiscriminator)
    learned = load({"type": "learned"})
    assert isinstance(learned, LearnedDiscriminator)
    assert learned._backbone.config.hidden_size == 64  # the tiny Llama's
    with pytest.raises(ModelError, match="no trained"):
        load({"type": "polar", "model": str(MODELS / "tiny-random-llama")})


def test_the_auc_is_the_share_of_pairs_in_the_right_order_with_ties_as_halves() -> None:
    # 2 against 1, 0, 2: right, right, tie; 1 against 1, 0, 2: tie, right, wrong; 3 right and 2 ties make 4 of 6
    assert auc(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 0.0, 2.0])) == 4 / 6
    generator = torch.Generator().manual_seed(0)
    for size in (1, 7, 40):
        good = torch.randint(-5, 6, (size,), generator=generator) / 4
        bad = torch.randint(-6, 5, (2 * size - 1,), generator=generator) / 4
        naive = sum(1.0 if g > b else 0.5 if g == b else 0.0 for g in good.tolist() for b in bad.tolist())
        assert auc(good, bad) == pytest.approx(naive / (size * (2 * size - 1)), abs=1e-12)
        assert auc(bad, good) == pytest.approx(1 - auc(good, bad), abs=1e-12)


@pytest.mark.parametrize("bad", [[], [0.0, math.nan], [math.inf]])
def test_the_auc_needs_finite_scores_of_both_kinds(bad: list[float]) -> None:
    with pytest.raises(ScoreError, match="AUC"):
        auc(torch.tensor([1.0]), torch.tensor(bad))
    with pytest.raises(ScoreError, match="AUC"):
        auc(torch.tensor(bad), torch.tensor([1.0]))
