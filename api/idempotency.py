"""`Idempotency-Key`: a repeated POST gets the response of the first one and has no further effect."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.auth import Caller
from store import idempotency
from store.tables import Json

T = TypeVar("T", bound=BaseModel)
REPLAYED = "idempotency-replayed"


@dataclass(frozen=True)
class Once:
    """One request and its idempotency key."""

    key: str | None
    request: str
    """Fingerprint of method, path and body."""
    response: Response

    def answer(self, caller: Caller, model: type[T], effect: Callable[[Session], T]) -> T:
        """The effect's response, or the stored response of an equal request.

        Effect and response are one transaction: an effect that fails stores nothing, and its key can be reused.

        Raises:
            Conflict: the key was used for another request.
        """
        with caller.unit_of_work() as session:
            return self.within(session, model, effect)

    def within(self, session: Session, model: type[T], effect: Callable[[Session], T]) -> T:
        """As `answer`, in the caller's transaction."""
        if self.key is None:
            return effect(session)
        known = idempotency.find(session, self.key, self.request)
        if known is not None:
            self.response.headers[REPLAYED] = "true"
            return model.model_validate(known)
        made = effect(session)
        idempotency.save(session, self.key, made.model_dump(mode="json"))
        return made

    def with_body(self, *parts: str) -> Once:
        """The same key for a request whose body is too large for memory; `parts` identify it."""
        return Once(self.key, hashlib.sha256("\0".join((self.request, *parts)).encode()).hexdigest(), self.response)


IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="Any unique text. Equal requests with one key take effect once; responses are kept for 7 days.",
    ),
]


async def _of_body(request: Request, response: Response, idempotency_key: IdempotencyKey = None) -> Once:
    request.state.once = once = Once(idempotency_key, _fingerprint(request, await request.body()), response)
    return once


def replayed(request: Request) -> JSONResponse | None:
    """The stored response of a request that fails today: its model was removed, or its body is of a newer release.

    `None` where none is stored, or the request has no idempotency key.
    """
    caller, once = (getattr(request.state, name, None) for name in ("caller", "once"))
    if not isinstance(caller, Caller) or not isinstance(once, Once) or once.key is None:
        return None
    with caller.reading() as session:
        known = idempotency.peek(session, once.key, once.request)
        if known is None:
            return None
        known = getattr(request.state, "view", _as_stored)(session, known)
    status = getattr(request.scope.get("route"), "status_code", None) or 200
    headers = {REPLAYED: "true"} | ({"location": f"{request.url.path}/{known['id']}"} if status == 201 else {})
    return JSONResponse(known, status, headers)


def _as_stored(_: Session, answer: Json) -> Json:
    return answer


def _of_stream(request: Request, response: Response, idempotency_key: IdempotencyKey = None) -> Once:
    return Once(idempotency_key, _fingerprint(request, b""), response)


def _fingerprint(request: Request, body: bytes) -> str:
    place = f"{request.method} {request.url.path}?{request.url.query}\n"
    return hashlib.sha256(place.encode() + body).hexdigest()


OnceDep = Annotated[Once, Depends(_of_body)]
OnceStreamed = Annotated[Once, Depends(_of_stream)]
"""For routes that stream the body; they add its identity with `with_body`."""
