"""Groups without a gradient are replaced by those of further prompts, in a bounded number of batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from itertools import islice
from typing import Any

import pytest

from tests.uniapl.training.test_rollout_collector import NO_COMMA, Table
from uniapl.batching.batch import Sequence
from uniapl.data.encoded_row import EncodedRow
from uniapl.data.mixture import further_rows, rows_of_step
from uniapl.model.policy import Policy
from uniapl.rewards.pool import RewardPool
from uniapl.rollout.generator import Completion
from uniapl.spec.job import JobSpec, MixEntry
from uniapl.training.group_scoring import Prompt
from uniapl.training.rollout_collector import RolloutCollector

pytestmark = pytest.mark.integration

FLAT, VARIED = 100, 200
"""First tokens of prompts whose answers all earn 1, and of those whose second answer earns 0."""


class ByPrompt:
    """Answers that depend on the prompt; records what is sampled."""

    def __init__(self, policy: Policy) -> None:
        self._good, self._bad = (policy.tokenizer(t, add_special_tokens=False)["input_ids"] for t in ("one", "two, or"))
        self.sampled: list[list[int]] = []
        self.seeds: list[int] = []
        self.calls: list[str] = []

    def sync(self, version: int) -> None:
        self.calls.append(f"sync {version}")

    def release(self) -> None:
        self.calls.append("release")

    def sample(self, prompts: Seq[list[int]], *, seed: int, **_: Any) -> list[list[Completion]]:
        self.calls.append("sample")
        self.sampled.append([prompt[1] for prompt in prompts])
        self.seeds.append(seed)
        return [
            [
                Completion(ids, [-1.0] * len(ids), False)
                for ids in (self._good, self._good if p[0] == FLAT else self._bad)
            ]
            for p in prompts
        ]


def prompt(kind: int, number: int, *, compared: bool = False) -> Prompt:
    row = EncodedRow(f"r{number}", "say it", [kind, number], "the answer", [7, 8, 2], NO_COMMA)
    return Prompt(row, explored=True, compared=compared)


def collect(
    policy: Policy, own: list[Prompt], further: list[Prompt], batches: int
) -> tuple[list[Sequence], dict[str, float], ByPrompt]:
    grpo = {"group_size": 2, "scale_rewards": False, "extra_batches": batches}
    spec = JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], "grpo": grpo})
    generator = ByPrompt(policy)
    with RewardPool(spec.reward) as pool:
        collector = RolloutCollector(spec, policy, generator, pool, Table({"one": 1.0, "two, or": 0.0}))

        def prompts_of(step: int) -> Iterator[Prompt]:
            assert step == 4
            return iter(further)

        collector.further = prompts_of
        sequences, metrics = collector.collect(own, 4)
    return sequences, metrics, generator


def explored(sequences: list[Sequence]) -> Counter[int]:
    return Counter(s.prompt_ids[1] for s in sequences if s.advantage is not None)


def test_flat_groups_are_replaced_and_stay_in_the_adversarial_term(policy: Policy) -> None:
    own = [prompt(FLAT, 0, compared=True), prompt(VARIED, 1, compared=True), prompt(FLAT, 2)]
    further = [prompt(FLAT, 3), prompt(VARIED, 4), prompt(FLAT, 5), prompt(VARIED, 6), prompt(VARIED, 7)]
    sequences, metrics, generator = collect(policy, own, further, 8)
    assert generator.sampled == [[0, 1, 2], [3, 4], [5], [6]]
    assert len(set(generator.seeds)) == 4
    assert generator.calls == ["sample", "release"] + 3 * ["sync 4", "sample", "release"]
    assert explored(sequences) == {1: 2, 4: 2, 6: 2}
    assert [s.advantage for s in sequences if s.advantage is not None] == pytest.approx([0.5, -0.5] * 3)
    assert Counter(s.prompt_ids[1] for s in sequences if s.coef is not None) == {0: 2, 1: 2}
    counts = ("uniapl/extra_batches", "uniapl/extra_prompts", "uniapl/replaced_groups")
    assert [metrics[name] for name in counts] == [3, 4, 2]
    assert metrics["reward"] == pytest.approx(5 / 6)  # of the step's own prompts


def test_batches_are_bounded_and_groups_that_are_left_stay(policy: Policy) -> None:
    own = [prompt(FLAT, 0), prompt(FLAT, 1)]
    endless = [prompt(FLAT, i) for i in range(2, 99)]
    sequences, metrics, generator = collect(policy, own, endless, 3)
    assert len(generator.sampled) == 4
    assert explored(sequences) == {0: 2, 1: 2}
    assert (metrics["uniapl/extra_batches"], metrics["uniapl/replaced_groups"]) == (3, 0)
    _, metrics, generator = collect(policy, own, [prompt(VARIED, 3)], 3)  # the dataset has no more
    assert generator.sampled == [[0, 1], [3]]
    assert metrics["uniapl/replaced_groups"] == 1


def test_without_batches_nothing_more_is_sampled(policy: Policy) -> None:
    sequences, metrics, generator = collect(policy, [prompt(FLAT, 0)], [prompt(VARIED, 1)], 0)
    assert generator.sampled == [[0]]
    assert explored(sequences) == {0: 2}
    assert "uniapl/extra_batches" not in metrics


def test_further_rows_are_a_function_of_seed_and_step_and_none_is_in_the_step() -> None:
    mix = [MixEntry(dataset="a", role="both", weight=3), MixEntry(dataset="b", role="sft"), MixEntry(dataset="c")]
    given: dict[str, Any] = {"mix": mix, "sizes": [40, 9, 20], "prompts_per_step": 10, "seed": 7}
    rows = list(further_rows(5, **given))
    assert rows == list(further_rows(5, **given))
    assert rows != list(further_rows(6, **given))
    own = [(entry, row) for entry, row in rows_of_step(5, **given) if entry != 1]
    assert sorted(rows + own) == [(e, i) for e, size in ((0, 40), (2, 20)) for i in range(size)]
    early = Counter(entry for step in range(200) for entry, _ in islice(further_rows(step, **given), 4))
    assert early[0] / early.total() == pytest.approx(0.75, abs=0.06)
