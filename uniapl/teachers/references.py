"""Completion of datasets with teacher answers, and removal of references that fail their reward."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from uniapl.errors import DatasetError, TeacherError
from uniapl.rewards.gold_check import Checked, failing_references, row_name
from uniapl.rewards.pool import RewardPool
from uniapl.run.credentials import Credentials
from uniapl.run.signals import raise_if_stopped, stop_requested
from uniapl.spec.dataset import DatasetRow, Message
from uniapl.spec.job import JobSpec
from uniapl.spec.requirements import uses_references
from uniapl.spec.teacher import OpenAITeacher
from uniapl.teachers.cache import AnswerCache, question_key
from uniapl.teachers.chat import Chat

Rows = list[DatasetRow]
OnEvent = Callable[[str], None]
PROGRESS_S, LOOK_S = 30.0, 0.1


@dataclass(frozen=True)
class _Question:
    messages: list[Message]
    where: str
    """The first row with this question, for errors."""


def fill_references(
    spec: JobSpec, mix: list[Rows], held_out: Rows, *, cache: Path, on_event: OnEvent, credentials: Credentials
) -> tuple[list[Rows], Rows]:
    """Request the missing references that a loss term uses from the teacher.

    Equal questions of several rows are requested once, and cached answers are not requested again.

    Args:
        spec: the job; with a `dataset` teacher the rows are returned unchanged.
        mix: rows of each entry of `spec.dataset_mix`.
        held_out: rows of the evaluation; all are completed.
        cache: folder of cached answers, shared by runs.
        on_event: called with progress messages.
        credentials: the API key, and the allowed addresses.

    Returns:
        mix and held_out, with references.

    Raises:
        SpecError: the teacher's address or key is invalid.
        TeacherError: a row got no usable answer, or a budget is spent; received answers are cached.
        Stopped: a stop was requested; received answers are cached, including those of requests in flight.
    """
    teacher = spec.teacher
    if not isinstance(teacher, OpenAITeacher):
        return mix, held_out
    asking = [
        (entry.dataset, rows)
        for entry, rows in zip(spec.dataset_mix, mix, strict=True)
        if uses_references(spec, entry.role)
    ]
    if spec.evaluation is not None:
        asking.append((spec.evaluation.dataset, held_out))
    answers = _answers(_questions(asking, teacher), teacher, AnswerCache(cache), on_event, credentials)

    def filled(rows: Rows) -> Rows:
        return [
            row.model_copy(update={"reference": answers.get(question_key(teacher, row.messages))})
            if row.reference is None
            else row
            for row in rows
        ]

    return [filled(rows) for rows in mix], filled(held_out)


def without_failing_references(rows: Rows, rewards: RewardPool) -> tuple[Rows, Checked]:
    """Remove references whose reward is below 1; the rows are kept.

    Returns:
        All rows, and the result of the check.
    """
    found = failing_references(rows, rewards, most=None)
    kept = [row.model_copy(update={"reference": None}) if i in found.faults else row for i, row in enumerate(rows)]
    return kept, found


def _questions(datasets: Iterable[tuple[str, Rows]], teacher: OpenAITeacher) -> dict[str, _Question]:
    """Questions of the rows without reference, by cache key.

    Raises:
        DatasetError: such a row has tools.
    """
    questions: dict[str, _Question] = {}
    for dataset, rows in datasets:
        for i, row in enumerate(rows):
            if row.reference is None:
                where = f"dataset {dataset}, row {row_name(row, i)}"
                if row.uses_tools:
                    raise DatasetError(
                        f"{where}: has tools, which are not sent to the teacher",
                        param="dataset_mix",
                        hint="add a reference to this row, or remove it",
                    )
                questions.setdefault(question_key(teacher, row.messages), _Question(row.messages, where))
    return questions


def _answers(
    questions: dict[str, _Question],
    teacher: OpenAITeacher,
    cache: AnswerCache,
    on_event: OnEvent,
    credentials: Credentials,
) -> dict[str, str]:
    """Answers by cache key, from the cache or the teacher."""
    answers = {key: answer for key in questions if (answer := cache.get(key)) is not None}
    missing = {key: question for key, question in questions.items() if key not in answers}
    if questions:
        on_event(f"requesting {len(missing)} answers from teacher {teacher.model}; {len(answers)} are cached")
    return answers | (asyncio.run(_ask_all(missing, teacher, cache, on_event, credentials)) if missing else {})


async def _ask_all(
    questions: dict[str, _Question],
    teacher: OpenAITeacher,
    cache: AnswerCache,
    on_event: OnEvent,
    credentials: Credentials,
) -> dict[str, str]:
    """Send up to `concurrency` requests at a time; after a failure or a stop, those in flight complete first."""
    waiting = iter(questions.items())  # shared by all tasks
    answers: dict[str, str] = {}
    failures: list[TeacherError] = []
    reported = time.monotonic()

    async def ask_next() -> None:
        nonlocal reported
        for key, question in waiting:
            if failures or stop_requested():
                return
            try:
                answers[key] = await chat.ask(question.messages, question.where)
            except TeacherError as error:
                failures.append(error)
                return chat.stop()
            cache.put(key, answers[key])
            if time.monotonic() > reported + PROGRESS_S:
                reported = time.monotonic()
                on_event(f"received {len(answers)} of {len(questions)} answers")

    async with Chat(teacher, credentials, on_event=on_event) as chat, asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(ask_next()) for _ in range(min(teacher.concurrency, len(questions)))]
        while (await asyncio.wait(asking, timeout=LOOK_S))[1]:
            if stop_requested():
                chat.stop()
    on_event(f"received {len(answers)} answers with {chat.requests} requests and {chat.tokens} tokens")
    raise_if_stopped()  # first: a stop turns waits for a retry into failures
    if failures:
        raise failures[0]
    return answers
