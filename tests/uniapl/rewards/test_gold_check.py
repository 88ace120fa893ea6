"""Golds that no answer can equal, and references that fail their own reward, are found before the first step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from uniapl.errors import DatasetError
from uniapl.rewards.gold_check import failing_references, unusable_golds
from uniapl.rewards.math_answer import is_equal
from uniapl.rewards.pool import RewardPool
from uniapl.run.config import RunConfig
from uniapl.run.credentials import Credentials
from uniapl.run.reporter import Reporter
from uniapl.run.reports import REPORT, EventReport
from uniapl.run.signals import Signals
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.reward import RewardOptions
from uniapl.training.rows import load_data

pytestmark = pytest.mark.integration

USABLE = [r"\$36", r"\$32,\!348", r"-\$5", "1,234", r"2\,000", r"\frac12", "$x^2+1$", r"\boxed{5}", "(1,2)", "36%"]
USABLE += [r"5\text{ cm}", r"90^\circ", r"\text{(A)}", r"\{1, 2\}", "3:4", "x<5", r"\begin{pmatrix}1\\2\end{pmatrix}"]
UNUSABLE = ["$$", "}{", r"\boxed{", r"\frac{1}{", r"\!"]


@pytest.fixture(scope="module")
def pool() -> Iterator[RewardPool]:
    with RewardPool(RewardOptions(time_limit_s=2)) as pool:
        yield pool


def math(gold: str) -> dict[str, Any]:
    return {"type": "math", "answer": gold}


def row(reward: dict[str, Any] | None, reference: str | None = None, name: str | None = None) -> DatasetRow:
    turns = [{"role": "user", "content": "How much?"}]
    return DatasetRow.model_validate({"id": name, "messages": turns, "reference": reference, "reward": reward})


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        (r"\$36", "It costs 36.", True),
        (r"\$36", r"\boxed{\$36}", True),
        (r"\$36", "That is $36.", True),
        (r"\$36", "37", False),
        (r"\$32,\!348", r"\boxed{\$32,\!348}", True),
        (r"\$32,\!348", "$32{,}348$", True),
        (r"\$32,\!348", "32349", False),
        (r"2\,000", "2000", True),
        (r"2\,000", "0", False),
        ("12000", r"\boxed{12\,000}", True),
        ("3", "$a \\\\$ so $x=3$", True),  # the end of a line, and then of a formula
    ],
)
def test_an_amount_is_its_number_however_latex_writes_it(gold: str, answer: str, right: bool) -> None:
    assert is_equal(answer, gold) == right


def test_golds_that_no_answer_can_equal_are_found_with_their_rows(pool: RewardPool) -> None:
    summed = {"type": "weighted_sum", "parts": [{"weight": 1, "reward": math(g)} for g in ("7", "}{")]}
    rows = [row(math(gold)) for gold in [*USABLE, *UNUSABLE, "(" * 3000 + "1" + ")" * 3000, *UNUSABLE]]
    rows += [row(summed), row({"type": "exact_match", "answer": "}{"}), row(None)]
    found = unusable_golds(rows, pool)
    first = len(USABLE)
    assert list(found.faults) == [*range(first, first + 11), first + 11]
    assert found.faults[first] == "the gold answer '$$' is not mathematics; write it as LaTeX, or use `exact_match`"
    assert all("is not mathematics" in fault or "cannot be verified" in fault for fault in found.faults.values())
    assert (found.unchecked, found.asked) == (0, first + 12)


def test_what_is_not_checked_is_counted(pool: RewardPool) -> None:
    rows = [row(math("}{")), row(math("}{")), row(math("4")), row(None)]
    found = unusable_golds(rows, pool, most=0)
    assert (found.faults, found.unchecked, found.asked) == ({}, 3, 0)
    found = failing_references([row(math("4"), "5")], pool, most=0)
    assert (found.faults, found.unchecked, found.asked) == ({}, 1, 0)


def test_golds_that_hang_end_the_check_after_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uniapl.rewards.gold_check.MOST_TIMEOUTS", 1)
    with RewardPool(RewardOptions(time_limit_s=1e-6)) as pool:  # everything hangs
        found = unusable_golds([row(math(str(i))) for i in range(100)], pool)
    assert all("reward.time_limit_s" in fault for fault in found.faults.values())
    assert 0 < len(found.faults) < 50 < found.unchecked


def load(folder: Path, rows: list[DatasetRow], pool: RewardPool, **fields: Any) -> tuple[Any, list[EventReport]]:
    """What `load_data` gives and reports of rows without a model."""
    (folder / "rows.jsonl").write_text("\n".join(row.model_dump_json(exclude_none=True) for row in rows))
    mix = [{"dataset": str(folder / "rows.jsonl"), "role": fields.pop("role", "rl")}]
    spec = {"student": "s", "dataset_mix": mix, "alpha": 0, "lambda_adv": 0, **fields}
    run = RunConfig.model_validate({"spec": spec, "run_dir": str(folder)})
    try:
        with Reporter(folder / "reports.jsonl") as reporter:
            (loaded,), held_out = load_data(run, reporter, Signals(), pool, Credentials({}))
    finally:
        lines = (folder / "reports.jsonl").read_text().splitlines()
    reports = [REPORT.validate_json(line) for line in lines]
    return (loaded, held_out), [r for r in reports if isinstance(r, EventReport)]


def test_a_few_unusable_golds_are_left_out_and_named(tmp_path: Path, pool: RewardPool) -> None:
    rows = [row(math(gold)) for gold in ["1", "}{", "3"]] + [row(math("$$"), name="tea"), *[row(math("4"))] * 20]
    (kept, _), (event,) = load(tmp_path, rows, pool)
    assert [r.id for r in kept] == ["row-0", "row-2", *[f"row-{i}" for i in range(4, 24)]]
    assert event.level == "warning"
    numbers = {"lines": [2, 4], "judged": 24, "failed": 2, "share": 2 / 24}
    assert event.data == {"rows": ["row-1", "tea"], **numbers}
    assert "2 of 24 rows of" in event.message
    assert "(8.3%) have a gold answer that no answer can equal" in event.message
    assert "row-1: the gold answer '}{'" in event.message


@pytest.mark.parametrize(("golds", "allowed"), [(["}{", "$$", *["1"] * 8], 0.1), (["}{", "}{"], 1.0)])
def test_many_unusable_golds_are_refused_with_their_rows(tmp_path: Path, golds: list[str], allowed: float) -> None:
    with RewardPool(RewardOptions(max_failed_fraction=allowed)) as pool, pytest.raises(DatasetError) as caught:
        load(tmp_path, [row(math(gold)) for gold in golds], pool)
    assert f"2 of {len(golds)} rows of" in caught.value.message
    assert "row-0: the gold answer '}{' is not mathematics" in caught.value.message
    assert "row-1: the gold answer" in caught.value.message
    assert caught.value.hint is not None


def test_held_out_rows_stay_without_their_reward(tmp_path: Path, pool: RewardPool) -> None:
    held_out = tmp_path / "held.jsonl"
    held_out.write_text("\n".join(json.dumps(row(math(g)).model_dump(exclude_none=True)) for g in ("}{", "2")))
    (_, kept), (event, _) = load(tmp_path, [row(math("1"))], pool, evaluation={"dataset": str(held_out)})
    assert [r.reward is None for r in kept] == [True, False]
    assert "1 of 2 rows" in event.message
    assert "answers to these rows are not verified" in event.message


def test_the_share_of_references_that_fail_their_own_reward_is_reported(tmp_path: Path, pool: RewardPool) -> None:
    right, wrong = row(math("4"), "So it is 4."), row(math("4"), "So it is 5.")
    rows = [right, wrong, row(math("4"), "<think>4</think>No idea", name="tea"), row(math("4"))]
    (kept, _), (event,) = load(tmp_path, rows, pool, role="rl")
    assert kept == rows  # they are used all the same
    assert event.level == "warning"
    numbers = {"lines": [2, 3], "judged": 3, "failed": 2, "share": 2 / 3}
    assert event.data == {"rows": ["row-1", "tea"], **numbers}
    assert "2 of 3 references of" in event.message
    assert "(66.7%) fail their own reward: row-1: its reward is 0." in event.message
    load(tmp_path, rows[:3], pool, role="sft", alpha=1)  # nothing is verified
    assert len((tmp_path / "reports.jsonl").read_text().splitlines()) == 1


def test_a_dataset_without_faults_is_reported_as_judged(tmp_path: Path, pool: RewardPool) -> None:
    rows = [row(math("4"), "So it is 4."), row(math("5"), "5"), row(math("6"))]
    _, (event,) = load(tmp_path, rows, pool, role="both")
    assert event.level == "info"
    assert "all 3 gold answers and 2 references of" in event.message
    assert event.data == {"golds": 3, "references": 2, "failed": 0}


def test_line_numbers_of_references_count_the_rows_that_are_skipped(tmp_path: Path, pool: RewardPool) -> None:
    rows = [row(math("}{")), *[row(math("4"), "4")] * 20, row(math("4"), "5")]
    _, (golds, references) = load(tmp_path, rows, pool)
    assert golds.data is not None
    assert references.data is not None
    assert (golds.data["lines"], references.data["lines"]) == ([1], [22])


def test_references_that_are_filtered_are_reported_with_their_share(tmp_path: Path, pool: RewardPool) -> None:
    rows = [row(math("4"), "4"), row(math("4"), "5"), row(math("4"))]
    _, (event,) = load(tmp_path, rows, pool, role="both", data={"filter_teacher": True})
    assert event.data == {"rows": ["row-1"], "lines": [2], "judged": 2, "failed": 1, "share": 1 / 2}
