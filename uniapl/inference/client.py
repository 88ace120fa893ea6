"""Asks a model's server: several requests at once, each until it has a usable answer or its time is up.

Nothing is believed that has another shape, another count or another model's name (`uniapl.inference.protocol`); such an
answer is as good as none, and the question is put again. While the worker starts a server of ours again, whoever asks
waits, so a step whose rollouts are not scored yet stands still before anything is learned from them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from uniapl.errors import ServerError
from uniapl.inference.endpoint import Address
from uniapl.inference.http import (
    Reply,
    ReplyTooLong,
    TransientError,
    connections,
    exchange,
    truncate_for_message,
)
from uniapl.inference.protocol import InvalidReply, read_models
from uniapl.inference.retry import wait_s
from uniapl.run.signals import raise_if_stopped
from uniapl.spec.backend import RequestOptions

LARGEST_REPLY = 256 * 2**20
"""Bytes of an answer: 64 embeddings of 4096 numbers are 6 MB."""
LOOK_S, LONGEST_BACKOFF_S = 0.1, 10.0
TRIES_FOR_HOLES = 6
"""An answer in which some numbers are missing may be true of the texts: after so many it is taken as it is."""
Answer = TypeVar("Answer")
Find = Callable[[], Address | None]


class ServerRestarted(Exception):
    """The server has been started again, and has forgotten what it was told."""


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """One request, and how its answer is read."""

    path: str
    body: Callable[[str], Any]
    """From the model's name at the server."""
    read: Callable[[bytes, str], Answer]
    """From what it answered and that name; raises `InvalidReply`."""
    is_complete: Callable[[Answer], bool] = lambda _: True
    """Whether nothing is missing in an answer; one with holes is taken only if it gets no better."""
    method: str = "POST"


class ModelServer:
    """The connections to one server, wherever it is by now."""

    def __init__(self, find: Find, options: RequestOptions, *, param: str) -> None:
        """
        Args:
            find: where the server is; `None` while it is not there.
            options: how to ask.
            param: the field of the spec that names the server, for errors.
        """
        self._find, self._options, self._param = find, options, param
        self._runner = asyncio.Runner()
        self._http = connections(options.concurrency, proxies=False)
        self.retries = 0
        """Requests that had to be repeated."""

    def close(self) -> None:
        """Give the connections back."""
        self._runner.run(self._http.aclose())
        self._runner.close()

    def ask(
        self,
        questions: Sequence[Question[Answer]],
        *,
        life: int | None = None,
        within_s: float | None = None,
        on_answer: Callable[[int, Answer], None] | None = None,
    ) -> list[Answer]:
        """Answers in the order of the questions, at most `concurrency` of which are under way at once.

        Args:
            questions: what is asked.
            life: the server may answer in this life of it alone.
            within_s: an answer comes within so many seconds, rather than within `timeout_s` or some repeats.
            on_answer: told the number of each question and its answer as it comes; must be quick.

        Raises:
            ServerError: one of them found no usable answer for `retry_s`, or was refused.
            ServerRestarted: the server's `life` is over.
            Stopped: this process is asked to stop; requests under way are given up.
        """
        return self._runner.run(_unless_stopped(self._ask_all(questions, life, within_s, on_answer)))

    def life(self) -> int:
        """Number of the server's start; waits until it is ready."""
        self.wait()
        address = self._ready()
        return self.life() if address is None else address.life

    def check_model(self) -> None:
        """Raises `ServerError` unless the server lists the model."""

        def read(content: bytes, model: str) -> None:
            if model not in (names := read_models(content)):
                raise self._refusal(f"has no model {model}, but {truncate_for_message(', '.join(names)) or 'none'}")

        self.ask([Question("/v1/models", lambda _: None, read, method="GET")])

    def wait(self) -> None:
        """Until the server is there.

        Raises:
            Stopped: this process is asked to stop.
        """
        while self._ready() is None:
            raise_if_stopped()
            time.sleep(LOOK_S)

    def _ready(self) -> Address | None:
        address = self._find()
        return address if address is not None and address.state == "ready" else None

    async def _ask_all(
        self,
        questions: Sequence[Question[Answer]],
        life: int | None,
        within_s: float | None,
        on_answer: Callable[[int, Answer], None] | None,
    ) -> list[Answer]:
        turns = asyncio.Semaphore(self._options.concurrency)

        async def one(number: int, question: Question[Answer]) -> Answer:
            async with turns:
                answer = await self._ask(question, life, within_s)
            if on_answer is not None:
                on_answer(number, answer)
            return answer

        try:
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(one(*numbered)) for numbered in enumerate(questions)]
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return [task.result() for task in asked]

    async def _ask(self, question: Question[Answer], life: int | None, within_s: float | None) -> Answer:
        address = await self._found(life)
        retry_s, timeout_s = within_s or self._options.retry_s, within_s or self._options.timeout_s
        deadline, attempt = time.monotonic() + retry_s, 0
        while True:
            try:
                answer = question.read(await self._reply(question, address, timeout_s), address.model)
                if question.is_complete(answer) or attempt + 1 >= TRIES_FOR_HOLES:
                    return answer
                problem, after_s = "numbers are missing in its answer", 0.0
            except TransientError as error:
                problem, after_s = error.problem, error.retry_after_s
            except (InvalidReply, ReplyTooLong) as error:
                problem, after_s = f"sent an unusable answer: {error}", 0.0
            wait = wait_s(attempt, retry_after_s=after_s, longest_backoff_s=LONGEST_BACKOFF_S)
            if time.monotonic() + wait > deadline:
                await self._found(life)
                raise self._refusal(
                    f"gave no usable answer in {attempt + 1} requests, the last: {truncate_for_message(problem)}"
                )
            await asyncio.sleep(wait)
            self.retries, attempt = self.retries + 1, attempt + 1
            if (found := await self._found(life)) != address:  # started again: the time until then does not count
                address, deadline, attempt = found, time.monotonic() + retry_s, 0

    async def _found(self, life: int | None) -> Address:
        """Where the server is, once it is there.

        Raises:
            ServerRestarted: it is no longer in this life.
        """
        while (address := self._ready()) is None:
            if life is not None:
                raise ServerRestarted
            await asyncio.sleep(LOOK_S)
        if life is not None and address.life != life:
            raise ServerRestarted
        return address

    async def _reply(self, question: Question[Answer], address: Address, timeout_s: float) -> bytes:
        reply = await exchange(
            self._http,
            question.method,
            address.url.rstrip("/") + question.path,
            body=question.body(address.model),
            token=address.token,
            timeout_s=timeout_s,
            largest=LARGEST_REPLY,
        )
        if reply.status == 200:
            return reply.content
        said = f"status {reply.status}: {truncate_for_message(reply.content)}"
        if _may_pass(reply):
            raise TransientError(said, reply.retry_after_s)
        raise self._refusal(f"refused {question.path}: {said}")

    def _refusal(self, problem: str) -> ServerError:
        address = self._find()
        where = f"the server of {address.model}" if address else "the server"
        return ServerError(f"{where} {problem}", param=self._param, hint="its own log tells more")


async def _unless_stopped(work: Coroutine[Any, Any, Answer]) -> Answer:
    """The result of `work`; raises `Stopped`, and cancels it, when this process is asked to stop."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=LOOK_S))[0]:
            raise_if_stopped()
        return task.result()
    finally:
        if task.cancel():
            await asyncio.wait([task])


def _may_pass(reply: Reply) -> bool:
    return reply.status in (408, 429) or reply.status >= 500
