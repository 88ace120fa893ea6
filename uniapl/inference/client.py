"""Client of a model server: concurrent requests, each retried until it has a usable reply or its time has passed.

A reply with another shape, count or model name (`uniapl.inference.protocol`) counts as a failure, and the request is
sent again. While the worker restarts a managed server, calls block; a training step therefore waits for the scores of
its rollouts.
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
"""Maximal bytes of a reply; 64 embeddings of 4096 numbers are 6 MB."""
POLL_S, LONGEST_BACKOFF_S = 0.1, 10.0
INCOMPLETE_TRIES = 6
"""Attempts for a complete reply. Then one with missing values is accepted, since the texts may be the cause."""
Answer = TypeVar("Answer")
Find = Callable[[], Address | None]


class ServerRestarted(Exception):
    """The server was restarted, and has lost its state."""


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """One request, and the parser of its reply."""

    path: str
    body: Callable[[str], Any]
    """The JSON body, given the model's name at the server."""
    read: Callable[[bytes, str], Answer]
    """Parses a reply, given its bytes and the model's name; raises `InvalidReply`."""
    is_complete: Callable[[Answer], bool] = lambda _: True
    """Whether no value is missing; an incomplete reply is accepted only after `INCOMPLETE_TRIES` attempts."""
    method: str = "POST"
    repeat: bool = True
    """Whether to repeat the request after a failure; not for a command that must not run twice."""


class ModelServer:
    """Connections to one server, at its current address."""

    def __init__(self, find: Find, options: RequestOptions, *, param: str) -> None:
        """
        Args:
            find: returns the server's address; `None` while there is none.
            options: concurrency and time limits.
            param: the field of the spec that names the server, for errors.
        """
        self._find, self._options, self._param = find, options, param
        self._runner = asyncio.Runner()
        self._http = connections(options.concurrency, proxies=False)
        self.retries = 0
        """Number of repeated requests."""

    def close(self) -> None:
        """Close the connections."""
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
        """Answers in the order of the questions, with at most `concurrency` requests in flight.

        Args:
            questions: the requests.
            life: accept replies of this start of the server only.
            within_s: deadline in seconds, in place of `timeout_s` and `retry_s` of the options.
            on_answer: called with the index of each question and its answer as it arrives; must return quickly.

        Raises:
            ServerError: a request had no usable reply for `retry_s`, or was refused.
            ServerRestarted: the server is no longer in `life`.
            Stopped: this process received a request to stop; requests in flight are cancelled.
        """
        return self._runner.run(_unless_stopped(self._ask_all(questions, life, within_s, on_answer)))

    def life(self) -> int:
        """Number of the server's current start; blocks until it is ready."""
        self.wait()
        address = self._ready()
        return self.life() if address is None else address.life

    def check_model(self) -> None:
        """Raises `ServerError` if the server does not list the model."""

        def read(content: bytes, model: str) -> None:
            if model not in (names := read_models(content)):
                listed = truncate_for_message(", ".join(names)) or "none"
                raise self._refusal(f"does not list the model {model}; its models: {listed}")

        self.ask([Question("/v1/models", lambda _: None, read, method="GET")])

    def wait(self) -> None:
        """Block until the server is ready.

        Raises:
            Stopped: this process received a request to stop.
        """
        while self._ready() is None:
            raise_if_stopped()
            time.sleep(POLL_S)

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
        slots = asyncio.Semaphore(self._options.concurrency)

        async def one(number: int, question: Question[Answer]) -> Answer:
            async with slots:
                answer = await self._ask(question, life, within_s)
            if on_answer is not None:
                on_answer(number, answer)
            return answer

        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(one(*numbered)) for numbered in enumerate(questions)]
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return [task.result() for task in running]

    async def _ask(self, question: Question[Answer], life: int | None, within_s: float | None) -> Answer:
        address = await self._address(life)
        retry_s, timeout_s = within_s or self._options.retry_s, within_s or self._options.timeout_s
        deadline, attempt = time.monotonic() + retry_s, 0
        while True:
            try:
                answer = question.read(await self._reply(question, address, timeout_s), address.model)
                if question.is_complete(answer) or attempt + 1 >= INCOMPLETE_TRIES:
                    return answer
                problem, after_s = "the reply lacks values", 0.0
            except TransientError as error:
                problem, after_s = error.problem, error.retry_after_s
            except (InvalidReply, ReplyTooLong) as error:
                problem, after_s = f"unusable reply: {error}", 0.0
            wait = wait_s(attempt, retry_after_s=after_s, longest_backoff_s=LONGEST_BACKOFF_S)
            if not question.repeat or time.monotonic() + wait > deadline:
                await self._address(life)
                raise self._refusal(
                    f"sent no usable reply to {attempt + 1} requests; the last: {truncate_for_message(problem)}"
                )
            await asyncio.sleep(wait)
            self.retries, attempt = self.retries + 1, attempt + 1
            if (current := await self._address(life)) != address:  # restarted: the time until then does not count
                address, deadline, attempt = current, time.monotonic() + retry_s, 0

    async def _address(self, life: int | None) -> Address:
        """The server's address, once it is ready.

        Raises:
            ServerRestarted: the server is no longer in `life`.
        """
        while (address := self._ready()) is None:
            if life is not None:
                raise ServerRestarted
            await asyncio.sleep(POLL_S)
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
        problem = f"status {reply.status}: {truncate_for_message(reply.content)}"
        if _is_transient(reply):
            raise TransientError(problem, reply.retry_after_s)
        raise self._refusal(f"refused {question.path}: {problem}")

    def _refusal(self, problem: str) -> ServerError:
        address = self._find()
        where = f"the server of {address.model}" if address else "the server"
        return ServerError(f"{where} {problem}", param=self._param, hint="see that server's log")


async def _unless_stopped(work: Coroutine[Any, Any, Answer]) -> Answer:
    """The result of `work`; on a request to stop, cancels it and raises `Stopped`."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=POLL_S))[0]:
            raise_if_stopped()
        return task.result()
    finally:
        if task.cancel():
            await asyncio.wait([task])


def _is_transient(reply: Reply) -> bool:
    return reply.status in (408, 429) or reply.status >= 500
