"""`Idempotency-Key`: the same POST again is answered as the first time, and does nothing more."""

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
    """One request, and the key under which it is done once."""

    key: str | None
    request: str
    """Fingerprint of method, path and body."""
    response: Response

    def answer(self, caller: Caller, model: type[T], effect: Callable[[Session], T]) -> T:
        """The effect's answer, or the earlier answer to an equal request.

        Effect and answer are one transaction: an effect that fails leaves nothing, and its key is free again.

        Raises:
            Conflict: the key was used for another request.
        """
        with caller.unit_of_work() as session:
            return self.within(session, model, effect)

    def within(self, session: Session, model: type[T], effect: Callable[[Session], T]) -> T:
        """The same in a transaction of the caller's."""
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
        """The same key for a request whose body is described by these, since it cannot be held in memory."""
        return Once(self.key, hashlib.sha256("\0".join((self.request, *parts)).encode()).hexdigest(), self.response)


IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="Any text of yours. The same request with the same key is done once; answers are kept for 7 days.",
    ),
]


async def _of_body(request: Request, response: Response, idempotency_key: IdempotencyKey = None) -> Once:
    request.state.once = once = Once(idempotency_key, _fingerprint(request, await request.body()), response)
    return once


def replayed(request: Request) -> JSONResponse | None:
    """The stored answer to a request that would be refused today: its model is gone, or its body is of a newer release.

    `None` where there is none, or the route is asked without a key of this kind.
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
"""For routes that read the body as a stream; they add what they have read with `with_body`."""
