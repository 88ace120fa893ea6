"""One question to a server with OpenAI's chat completions: retries, budgets, and what counts as an answer.

The retries are our own lines rather than a library's: each attempt spends from the budget, `Retry-After` is a lower
bound of the wait, and a failure elsewhere ends it, which a retry library would need a hook for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Self

import httpx
from pydantic import BaseModel, Field, ValidationError

from uniapl.errors import SpecError, TeacherError
from uniapl.inference.http import (
    Reply,
    ReplyTooLong,
    TransientError,
    connections,
    exchange,
    truncate_for_message,
)
from uniapl.inference.public_transport import AddressRefused
from uniapl.inference.retry import wait_s
from uniapl.rewards.verify import final_answer
from uniapl.run.credentials import Credentials
from uniapl.run.redaction import Redactor
from uniapl.spec.base import Text
from uniapl.spec.dataset import Message
from uniapl.spec.teacher import OpenAITeacher
from uniapl.teachers.parameters import Parameters

LONGEST_WAIT_S = 900.0
"""A server that asks for a longer pause has a quota that waiting does not mend; the job fails and says so."""
LARGEST_REPLY = 8 * 2**20
"""Bytes of an answer; more is not read."""
CUT_SHORT = ("length", "content_filter")
"""Finish reasons of answers that are not whole."""
KEPT = "the answers so far are in the cache and are not asked again"


class Chat:
    """The connection to one teacher, and what has been spent on it."""

    def __init__(
        self, teacher: OpenAITeacher, credentials: Credentials, *, on_event: Callable[[str], None] = lambda _: None
    ) -> None:
        """Make the connection pool; nothing is sent.

        Args:
            teacher: the server.
            credentials: its key, and where it may be.
            on_event: gets a line for each parameter that the server refuses.

        Raises:
            SpecError: the address or the key is unusable.
        """
        self.requests = 0
        self.tokens = 0
        self._teacher = teacher
        self._parameters = Parameters(teacher)
        self._on_event = on_event
        self._url = _url(teacher)
        self._key = credentials.teacher_key(teacher)
        self._redactor = Redactor([self._key] if self._key else [])
        self._stopped = asyncio.Event()
        self._http = _connections(teacher, self._url if credentials.public_only else None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def stop(self) -> None:
        """Begin no further request, and cut waits short; requests in flight may finish, for they are paid for."""
        self._stopped.set()

    async def ask(self, messages: Sequence[Message], where: str) -> str:
        """The teacher's answer, without its reasoning.

        Args:
            messages: the prompt.
            where: names the row in errors.

        Raises:
            TeacherError: the server refuses, fails for too long, or answers something unusable; or a budget is spent.
        """
        for attempt in range(self._teacher.max_retries + 1):
            try:
                return self._answer(await self._reply(messages, where), where)
            except TransientError as error:
                problem, wait = error.problem, wait_s(attempt, retry_after_s=error.retry_after_s)
            if wait > LONGEST_WAIT_S:
                problem += f"; it asks to wait {wait:.0f} s"
                break
            if attempt == self._teacher.max_retries or await self._stopped_within(wait):
                break
        raise TeacherError(
            f"{where}: the teacher {self._teacher.model} gave no answer; request {attempt + 1}, the last: {problem}",
            param="teacher",
            hint=f"start the job again when the server is well, or lower teacher.concurrency; {KEPT}",
        )

    async def _reply(self, messages: Sequence[Message], where: str) -> Reply:
        """The server's reply to a request without the parameters that it refuses."""
        while True:
            self._check_budget(where)
            self.requests += 1
            sent = self._parameters.taken()
            reply = await self._post(messages, sent, where)
            changes = self._parameters.refused(sent, reply)
            if changes is None or self._stopped.is_set():
                return reply
            for change in changes:
                self._on_event(f"the teacher {self._teacher.model} {change}")

    def _check_budget(self, where: str) -> None:
        for field, spent in (("max_requests", self.requests), ("max_total_tokens", self.tokens)):
            if spent >= (limit := getattr(self._teacher, field)):
                raise TeacherError(
                    f"the budget teacher.{field}={limit} is spent before {where} has an answer",
                    param=f"teacher.{field}",
                    hint=f"raise it, or start the job again with a fresh budget; {KEPT}",
                )

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stopped.wait()
        except TimeoutError:
            return False

    async def _post(self, messages: Sequence[Message], parameters: Mapping[str, Any], where: str) -> Reply:
        teacher = self._teacher
        asked = {
            "model": teacher.model,
            "messages": [message.model_dump() for message in messages],
            **parameters,
        }
        try:
            return await exchange(
                self._http, "POST", self._url, body=asked, token=self._key,
                timeout_s=teacher.timeout_s, largest=LARGEST_REPLY,
            )  # fmt: skip
        except ReplyTooLong as error:
            raise self._refused(where, str(error)) from None
        except AddressRefused as error:
            hint = "give the address of a public server, or ask the operator to list this one"
            raise self._refused(where, f"is not asked: {error}", "teacher.base_url", hint) from None
        except TransientError as error:
            raise TransientError(self._shown(error.problem)) from None

    def _answer(self, reply: Reply, where: str) -> str:
        """What the teacher wrote, once it is known to be whole."""
        if reply.status != 200:
            said = f"status {reply.status}: {self._shown(_message(reply.content))}"
            if reply.status == 429 or reply.status >= 500:
                raise TransientError(said, reply.retry_after_s)
            raise self._refused(where, f"answered with {said}", *self._remedy(reply.status))
        try:
            completion = _Completion.model_validate_json(reply.content)
        except ValidationError as error:
            first = error.errors()[0]
            problem = f"{'.'.join(str(part) for part in first['loc']) or 'body'}: {first['msg']}"
            said = self._shown(_message(reply.content))
            raise self._refused(where, f"sent no usable chat completion ({problem}): {said}") from None
        # a server that does not count is charged a token per byte, more than any tokenizer makes of its answer
        self.tokens += completion.usage.total_tokens if completion.usage else len(reply.content)
        choice = completion.choices[0]
        reason = self._shown(f"finish_reason {choice.finish_reason!r}")
        answer = final_answer(choice.message.content or "").strip()
        if choice.finish_reason in CUT_SHORT:
            raise self._cut_short(where, reason, begun=bool(answer) or choice.finish_reason != "length")
        if not answer:
            raise self._refused(where, f"gave an empty answer ({reason})")
        if self._redactor.text(answer) != answer:  # it would be trained on, and stored
            raise self._refused(where, "repeats its own key in its answer")
        return answer

    def _cut_short(self, where: str, reason: str, *, begun: bool) -> TeacherError:
        most = f"teacher.max_tokens={self._teacher.max_tokens}"
        remedy = "raise teacher.max_tokens, which asks every row again, or write this row's `reference` yourself"
        if begun:
            return self._refused(where, f"cut its answer short ({reason}, {most})", "teacher.max_tokens", remedy)
        return self._refused(
            where,
            f"used all of {most} before its answer began ({reason})",
            "teacher.max_tokens",
            f"hidden reasoning counts as tokens of the answer; {remedy}",
        )

    def _refused(
        self, where: str, problem: str, param: str = "teacher", hint: str = "write this row's `reference` yourself"
    ) -> TeacherError:
        return TeacherError(f"{where}: the teacher {self._teacher.model} {problem}", param=param, hint=hint)

    def _remedy(self, status: int) -> tuple[str, str]:
        """The spec field at fault, and what to do."""
        if status in (401, 403):
            field = "teacher.api_key_env" if self._teacher.api_key_env else "teacher.api_key_secret"
            return field, "check the key that it names, and what the key may do"
        if status == 404:
            return "teacher.base_url", "check teacher.base_url, which ends with the version, and teacher.model"
        if 300 <= status < 400:
            return "teacher.base_url", "redirects are not followed; give the address that the server redirects to"
        return "teacher", "change what the server objects to, or write this row's `reference` yourself"

    def _shown(self, text: str) -> str:
        """A short part of what came from outside, on one line and without the key, should the server repeat it."""
        return truncate_for_message(self._redactor.text(text))


def _url(teacher: OpenAITeacher) -> str:
    url = teacher.base_url.rstrip("/") + "/chat/completions"
    try:
        _ = httpx.URL(url).host
    except (httpx.InvalidURL, UnicodeError) as error:
        raise SpecError(f"{teacher.base_url!r} is not an address: {error}", param="teacher.base_url") from None
    return url


def _connections(teacher: OpenAITeacher, public: str | None) -> httpx.AsyncClient:
    try:
        return connections(teacher.concurrency, proxies=True, public=public)
    except AddressRefused as error:
        raise SpecError(f"{public}: {error}", param="teacher.base_url") from None


class _Answer(BaseModel):
    content: Text | None = None


class _Choice(BaseModel):
    message: _Answer
    finish_reason: str | None = None


class _Usage(BaseModel):
    total_tokens: Annotated[int, Field(ge=0)]


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None


class _ErrorMember(BaseModel):
    message: str


class _Failure(BaseModel):
    error: _ErrorMember


def _message(content: bytes) -> str:
    """The server's own words, in OpenAI's shape or any other."""
    try:
        return _Failure.model_validate_json(content).error.message
    except ValidationError:
        return content.decode(errors="replace")
