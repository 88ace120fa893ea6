"""Which rows get a reference from the teacher, and which references are dropped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.uniapl.conftest import Listening
from tests.uniapl.teachers.openai_server import KEY, Reply, Teacher, completion, fill, rows, spec
from uniapl.rewards.pool import RewardPool
from uniapl.run.credentials import Credentials
from uniapl.run.signals import Stopped
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.requirements import uses_references
from uniapl.spec.reward import RewardOptions
from uniapl.teachers.references import fill_references, without_failing_references

pytestmark = pytest.mark.integration


def test_rows_without_reference_get_the_teachers_answer_and_the_others_keep_theirs(
    server: Teacher, tmp_path: Path
) -> None:
    own = rows("b")[0].model_copy(update={"reference": "mine"})
    given = spec(server, teacher={"temperature": 0.5, "max_tokens": 99})
    assert fill(given, tmp_path, [*rows("a"), own, *rows("c")]) == [["Re: a", "mine", "Re: c"]]
    assert server.asked == [
        {"model": "m", "messages": [{"role": "user", "content": text}], "temperature": 0.5, "max_tokens": 99}
        for text in "ac"
    ]
    assert set(server.paths) == {"/v1/chat/completions"}
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}


def test_a_server_that_asks_for_no_key_gets_none(server: Teacher, tmp_path: Path) -> None:
    fill(spec(server, teacher={"api_key_env": None}), tmp_path, rows("a"))
    assert "Authorization" not in server.headers[0]


def test_a_slash_at_the_end_of_the_address_does_not_matter(server: Teacher, tmp_path: Path) -> None:
    fill(spec(server, teacher={"base_url": server.url + "/"}), tmp_path, rows("a"))
    assert server.paths == ["/v1/chat/completions"]


def test_a_dataset_teacher_asks_nobody(tmp_path: Path) -> None:
    assert fill(spec(), tmp_path, rows("a")) == [[None]]
    assert list(tmp_path.iterdir()) == []


def test_a_question_is_asked_once_however_many_rows_put_it(server: Teacher, tmp_path: Path) -> None:
    given = spec(server, dataset_mix=[{"dataset": "one"}, {"dataset": "two"}], teacher={"concurrency": 4})
    assert fill(given, tmp_path, rows("a", "b", "a"), rows("b")) == [["Re: a", "Re: b", "Re: a"], ["Re: b"]]
    assert sorted(server.questions()) == ["a", "b"]


def test_the_evaluations_rows_are_filled_too(server: Teacher, tmp_path: Path) -> None:
    given = spec(server, evaluation={"dataset": "held"})
    mix, held_out = fill_references(
        given, [rows("a")], rows("b"), cache=tmp_path, on_event=print, credentials=Credentials()
    )
    assert (mix[0][0].reference, held_out[0].reference) == ("Re: a", "Re: b")


def test_reasoning_is_no_part_of_the_answer(server: Teacher, tmp_path: Path) -> None:
    server.reply = lambda *_: completion("<think>Let me see.</think>\n\nFour.")
    assert fill(spec(server), tmp_path, rows("a")) == [["Four."]]


BOTH, SFT, RL = "both", "sft", "rl"


@pytest.mark.parametrize(
    ("fields", "used"),
    [
        # imitation reads sft and both; lambda_adv compares rl and both by default (adversarial.rows)
        ({"alpha": 0.3, "lambda_adv": 0}, {SFT, BOTH}),
        ({"alpha": 0.3, "lambda_adv": 0.1}, {SFT, RL, BOTH}),
        ({"alpha": 0, "lambda_adv": 0}, set()),
        ({"alpha": 0, "lambda_adv": 0.1}, {RL, BOTH}),
        ({"alpha": 0, "lambda_adv": 0.1, "adversarial": {"rows": "sft"}}, {SFT, BOTH}),
        ({"alpha": 0, "lambda_adv": 0, "reward": {"discriminator_weight": 1}}, {RL, BOTH}),
        ({"alpha": {"type": "linear", "start": 0, "end": 0.5, "steps": 9}, "lambda_adv": 0}, {SFT, BOTH}),
    ],
)
def test_only_references_that_some_term_reads_are_asked_for(fields: dict[str, Any], used: set[str]) -> None:
    given = spec(**fields)
    assert {role for role in (SFT, RL, BOTH) if uses_references(given, role)} == used  # type: ignore[arg-type]


def test_rows_that_no_term_compares_stay_without_reference(server: Teacher, tmp_path: Path) -> None:
    mix = [{"dataset": "one", "role": "sft"}, {"dataset": "two", "role": "rl"}]
    assert fill(spec(server, dataset_mix=mix, lambda_adv=0), tmp_path, rows("a"), rows("b")) == [["Re: a"], [None]]
    assert server.questions() == ["a"]


def test_references_that_fail_their_rows_reward_are_taken_away_and_the_rows_stay() -> None:
    def row(name: str, reference: str | None, *kinds: str) -> DatasetRow:
        reward = {"type": "ifeval", "instruction_id_list": list(kinds), "kwargs": [{}] * len(kinds)} if kinds else None
        turns = [{"role": "user", "content": "Hi"}]
        return DatasetRow.model_validate({"id": name, "messages": turns, "reference": reference, "reward": reward})

    lower, comma = "change_case:english_lowercase", "punctuation:no_comma"
    given = [
        row("passes", "hello there, friend of mine", lower),
        row("half", "hello there, friend of mine", lower, comma),
        row("fails", "HELLO THERE", lower),
        row("no reward", "HELLO, THERE"),
        row("no reference", None, lower),
    ]
    with RewardPool(RewardOptions()) as rewards:
        kept, found = without_failing_references(given, rewards)
    assert [given[i].id for i in found.faults] == ["half", "fails"]
    assert found.asked == 3
    assert [r.reference for r in kept] == ["hello there, friend of mine", None, None, "HELLO, THERE", None]
    assert [(r.id, r.reward) for r in kept] == [(r.id, r.reward) for r in given]


@pytest.mark.parametrize("answers", [True, False], ids=["an answer under way", "a wait for another try"])
def test_a_stop_keeps_what_is_paid_for_and_asks_nothing_else(
    answers: bool, server: Teacher, tmp_path: Path, listening: Listening
) -> None:
    def reply(question: str, n: int) -> Reply:
        if n == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)  # longer than the polling interval of a stop
            return completion(f"Re: {question}") if answers else Reply(503, headers={"Retry-After": "20"})
        return completion(f"Re: {question}")

    server.reply = reply
    given = spec(server, teacher={"concurrency": 1})
    listening()
    with pytest.raises(Stopped):
        fill(given, tmp_path, rows("a", "b", "c"))
    assert server.questions() == ["a", "b"]
    listening()
    assert fill(given, tmp_path, rows("a", "b", "c")) == [["Re: a", "Re: b", "Re: c"]]
    assert server.questions()[2:] == (["c"] if answers else ["b", "c"])
