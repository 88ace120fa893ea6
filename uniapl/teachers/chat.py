"""One question to a server with OpenAI's chat completions: retries, budgets, and what counts as an answer.

The retries are our own lines rather than a library's: each attempt spends from the budget, `Retry-After` is a lower
bound of the wait, and a failure elsewhere ends it, which a retry library would need a hook for each.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Self

import httpx
from pydantic import BaseModel, Field, ValidationError

from uniapl.access import Access
from uniapl.errors import SpecError, TeacherError
from uniapl.outbound import AddressRefused, PublicTransport
from uniapl.redaction import Redactor
from uniapl.rewards.verify import final_answer
from uniapl.spec.base import Text
from uniapl.spec.dataset import Message
from uniapl.spec.teacher import OpenAITeacher

FIRST_WAIT_S, LONGEST_BACKOFF_S = 0.5, 60.0
LONGEST_WAIT_S = 900.0
"""A server that asks for a longer pause has a quota that waiting does not mend; the job fails and says so."""
LARGEST_REPLY = 8 * 2**20
"""Bytes of an answer; more is not read."""
SHOWN_CHARACTERS = 200
"""How much of the server's own message goes into ours."""
CUT_SHORT = ("length", "content_filter")
"""Finish reasons of answers that are not whole."""
KEPT = "the answers so far are in the cache and are not asked again"


class Chat:
    """The connection to one teacher, and what has been spent on it."""

    def __init__(self, teacher: OpenAITeacher, access: Access) -> None:
        """Make the connection pool; nothing is sent.

        Raises:
            SpecError: the address or the key is unusable.
        """
        self.requests = 0
        self.tokens = 0
        self._teacher = teacher
        self._url = _url(teacher)
        key = access.teacher_key(teacher)
        self._redactor = Redactor([key] if key else [])
        self._stopped = asyncio.Event()
        limits = httpx.Limits(max_connections=teacher.concurrency)
        self._http = httpx.AsyncClient(
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            follow_redirects=False,  # the key is for this server, not for where it points
            timeout=None,  # one deadline per request instead, which a trickle of bytes does not extend
            limits=limits,
            transport=_public(self._url, limits) if access.public_only else None,
        )

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
            self._check_budget(where)
            self.requests += 1
            try:
                return self._answer(await self._post(messages, where), where)
            except _Passing as error:
                problem, wait = error.problem, error.retry_after_s + backoff_s(attempt)
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

    async def _post(self, messages: Sequence[Message], where: str) -> _Reply:
        teacher, content = self._teacher, bytearray()
        asked = {
            "model": teacher.model,
            "messages": [message.model_dump() for message in messages],
            "temperature": teacher.temperature,
            "max_tokens": teacher.max_tokens,
        }
        try:
            async with asyncio.timeout(teacher.timeout_s), self._http.stream("POST", self._url, json=asked) as response:
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > LARGEST_REPLY:
                        raise self._refused(where, f"sent more than {LARGEST_REPLY} bytes")
        except TimeoutError:
            raise _Passing(f"no answer within teacher.timeout_s={teacher.timeout_s:g}") from None
        except AddressRefused as error:
            hint = "give the address of a public server, or ask the operator to list this one"
            raise self._refused(where, f"is not asked: {error}", "teacher.base_url", hint) from None
        except httpx.RequestError as error:
            raise _Passing(self._shown(f"{type(error).__name__}: {error}")) from None
        return _Reply(response.status_code, response.headers.get("Retry-After"), bytes(content))

    def _answer(self, reply: _Reply, where: str) -> str:
        """What the teacher wrote, once it is known to be whole."""
        if reply.status != 200:
            said = f"status {reply.status}: {self._shown(_message(reply.content))}"
            if reply.status == 429 or reply.status >= 500:
                raise _Passing(said, retry_after_s(reply.retry_after))
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
        if choice.finish_reason in CUT_SHORT:
            raise self._refused(
                where,
                f"cut its answer short ({reason}, teacher.max_tokens={self._teacher.max_tokens})",
                "teacher.max_tokens",
                "raise teacher.max_tokens, which asks every row again, or write this row's `reference` yourself",
            )
        if not (answer := final_answer(choice.message.content or "").strip()):
            raise self._refused(where, f"gave an empty answer ({reason})")
        if self._redactor.text(answer) != answer:  # it would be trained on, and stored
            raise self._refused(where, "repeats its own key in its answer")
        return answer

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
        text = " ".join("".join(c if c.isprintable() else " " for c in self._redactor.text(text)).split())
        return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def backoff_s(attempt: int) -> float:
    """Wait after failure number `attempt`, from 0: doubling, and shortened by up to a half, so that clients spread."""
    return min(FIRST_WAIT_S * 2.0**attempt, LONGEST_BACKOFF_S) * random.Random().uniform(0.5, 1.0)


def retry_after_s(header: str | None) -> float:
    """Seconds that a `Retry-After` header asks for, given as such or as a date (RFC 9110, 10.2.3); else 0."""
    if header is None:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            until = parsedate_to_datetime(header)
        except ValueError:
            return 0.0
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def _url(teacher: OpenAITeacher) -> str:
    url = teacher.base_url.rstrip("/") + "/chat/completions"
    try:
        _ = httpx.URL(url).host
    except (httpx.InvalidURL, UnicodeError) as error:
        raise SpecError(f"{teacher.base_url!r} is not an address: {error}", param="teacher.base_url") from None
    return url


def _public(url: str, limits: httpx.Limits) -> PublicTransport:
    try:
        return PublicTransport(url, limits=limits)
    except AddressRefused as error:
        raise SpecError(f"{url}: {error}", param="teacher.base_url") from None


@dataclass(frozen=True)
class _Reply:
    status: int
    retry_after: str | None
    content: bytes


class _Passing(Exception):
    """A failure that another attempt may not meet."""

    def __init__(self, problem: str, retry_after_s: float = 0.0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retry_after_s = retry_after_s


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
