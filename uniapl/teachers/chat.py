"""Client of OpenAI's chat completions API for teacher answers: retries, budgets, validation of replies.

No retry library is used: each attempt spends from the budget, `Retry-After` is a lower bound of the wait, and a failure
of another request ends the wait; a library would need a hook for each.
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
"""Longest wait between attempts, in seconds. A longer `Retry-After` indicates an exhausted quota; the job fails."""
LARGEST_REPLY = 8 * 2**20
"""Maximum size of a reply, in bytes."""
CUT_SHORT = ("length", "content_filter")
"""Finish reasons of incomplete answers."""
KEPT = "received answers are cached and not requested again"


class Chat:
    """A connection to one teacher, and its spent budget."""

    def __init__(
        self, teacher: OpenAITeacher, credentials: Credentials, *, on_event: Callable[[str], None] = lambda _: None
    ) -> None:
        """Create the connection pool; no request is sent.

        Args:
            teacher: the server.
            credentials: the API key, and the allowed addresses.
            on_event: called with a line for each parameter that the server rejects.

        Raises:
            SpecError: the address or the key is invalid.
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
        """Start no further request and end waits; requests in flight complete, because they are already charged."""
        self._stopped.set()

    async def ask(self, messages: Sequence[Message], where: str) -> str:
        """The teacher's answer, without reasoning.

        Args:
            messages: the prompt.
            where: description of the row, for errors.

        Raises:
            TeacherError: the server rejects the request, fails repeatedly, or sends an unusable answer; or a budget
                is spent.
        """
        for attempt in range(self._teacher.max_retries + 1):
            try:
                return self._answer(await self._reply(messages, where), where)
            except TransientError as error:
                problem, wait = error.problem, wait_s(attempt, retry_after_s=error.retry_after_s)
            if wait > LONGEST_WAIT_S:
                problem += f"; it requires a wait of {wait:.0f} s"
                break
            if attempt == self._teacher.max_retries or await self._stopped_within(wait):
                break
        raise TeacherError(
            f"{where}: no answer from teacher {self._teacher.model} after {attempt + 1} requests; the last: {problem}",
            param="teacher",
            hint=f"submit the job again when the server is available, or lower teacher.concurrency; {KEPT}",
        )

    async def _reply(self, messages: Sequence[Message], where: str) -> Reply:
        """The server's reply to a request without the parameters that it rejects."""
        while True:
            self._check_budget(where)
            self.requests += 1
            sent = self._parameters.taken()
            reply = await self._post(messages, sent, where)
            changes = self._parameters.refused(sent, reply)
            if changes is None or self._stopped.is_set():
                return reply
            for change in changes:
                self._on_event(f"teacher {self._teacher.model} {change}")

    def _check_budget(self, where: str) -> None:
        for field, spent in (("max_requests", self.requests), ("max_total_tokens", self.tokens)):
            if spent >= (limit := getattr(self._teacher, field)):
                raise TeacherError(
                    f"{where}: the budget teacher.{field}={limit} is spent",
                    param=f"teacher.{field}",
                    hint=f"raise it, or submit the job again, which starts a new budget; {KEPT}",
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
            "messages": [message.turn() for message in messages],
            **parameters,
        }
        try:
            return await exchange(
                self._http, "POST", self._url, body=asked, token=self._key,
                timeout_s=teacher.timeout_s, largest=LARGEST_REPLY,
            )  # fmt: skip
        except ReplyTooLong as error:
            raise self._failure(where, f"sent an unusable reply: {error}") from None
        except AddressRefused as error:
            hint = "use the address of a public server, or ask the operator to allow this one"
            raise self._failure(where, f"was not contacted: {error}", "teacher.base_url", hint) from None
        except TransientError as error:
            raise TransientError(self._excerpt(error.problem)) from None

    def _answer(self, reply: Reply, where: str) -> str:
        """The content of a complete, valid reply."""
        if reply.status != 200:
            detail = f"status {reply.status}: {self._excerpt(_message(reply.content))}"
            if reply.status == 429 or reply.status >= 500:
                raise TransientError(detail, reply.retry_after_s)
            raise self._failure(where, f"replied with {detail}", *self._remedy(reply.status))
        try:
            completion = _Completion.model_validate_json(reply.content)
        except ValidationError as error:
            first = error.errors()[0]
            problem = f"{'.'.join(str(part) for part in first['loc']) or 'body'}: {first['msg']}"
            detail = self._excerpt(_message(reply.content))
            raise self._failure(where, f"sent an invalid chat completion ({problem}): {detail}") from None
        # without a reported usage one token per byte is charged, an upper bound for every tokenizer
        self.tokens += completion.usage.total_tokens if completion.usage else len(reply.content)
        choice = completion.choices[0]
        reason = self._excerpt(f"finish_reason {choice.finish_reason!r}")
        answer = final_answer(choice.message.content or "").strip()
        if choice.finish_reason in CUT_SHORT:
            raise self._cut_short(where, reason, begun=bool(answer) or choice.finish_reason != "length")
        if not answer:
            raise self._failure(where, f"sent an empty answer ({reason})")
        if self._redactor.text(answer) != answer:  # the answer would be stored and used for training
            raise self._failure(where, "repeated its API key in the answer")
        return answer

    def _cut_short(self, where: str, reason: str, *, begun: bool) -> TeacherError:
        most = f"teacher.max_tokens={self._teacher.max_tokens}"
        remedy = "raise teacher.max_tokens, which requests all answers again, or add a `reference` to this row"
        if begun:
            return self._failure(where, f"sent a truncated answer ({reason}, {most})", "teacher.max_tokens", remedy)
        return self._failure(
            where,
            f"reached {most} before the answer began ({reason})",
            "teacher.max_tokens",
            f"hidden reasoning counts towards the limit; {remedy}",
        )

    def _failure(
        self, where: str, problem: str, param: str = "teacher", hint: str = "add a `reference` to this row"
    ) -> TeacherError:
        return TeacherError(f"{where}: teacher {self._teacher.model} {problem}", param=param, hint=hint)

    def _remedy(self, status: int) -> tuple[str, str]:
        """The spec field at fault, and the hint."""
        if status in (401, 403):
            field = "teacher.api_key_env" if self._teacher.api_key_env else "teacher.api_key_secret"
            return field, "check that the key is valid and has access to the model"
        if status == 404:
            return "teacher.base_url", "check teacher.base_url, which must end with the API version, and teacher.model"
        if 300 <= status < 400:
            return "teacher.base_url", "redirects are not followed; use the address that the server redirects to"
        return "teacher", "correct what the server rejects, or add a `reference` to this row"

    def _excerpt(self, text: str) -> str:
        """External text for a message: truncated, on one line, with the API key redacted."""
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
    """The error message of a reply in OpenAI's format, or its text."""
    try:
        return _Failure.model_validate_json(content).error.message
    except ValidationError:
        return content.decode(errors="replace")
