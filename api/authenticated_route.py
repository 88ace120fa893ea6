"""Routes that know their caller before they read a body.

FastAPI reads the body of a request, as long as it is, before it runs a dependency; so the key cannot be checked there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api import auth
from api.deps import Service
from api.http import body

STREAMED = {("POST", "/datasets"), ("PATCH", "/uploads/{upload_id}"), ("POST", "/v1/files")}
"""Where bodies may be long; the routes there read them piece by piece, and bound them."""
_WITHOUT_BODY = ("GET", "HEAD", "DELETE")
"""Methods of which no route reads a body."""


class AuthenticatedRoute(APIRoute):
    """A route that answers 401 before a byte of the body is read, and 408 when the body does not come in time."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What handles a request of this route."""
        handle = super().get_route_handler()

        async def authenticated(request: Request) -> Response:
            if request.method in _WITHOUT_BODY:
                return await handle(request)
            service: Service = request.app.state.service
            await auth.recognise(request, service)
            streamed = (request.method, self.path) in STREAMED
            return await handle(await _bounded(request, service, streamed))

        return authenticated


async def _bounded(request: Request, service: Service, streamed: bool) -> Request:
    """The same request with a body that is bounded in time, and in memory too where it is not streamed."""
    wait_s = service.settings.request_wait_s
    if streamed:
        return Request(request.scope, body.Patient(request.receive, wait_s, body.UPLOAD_BYTES_PER_S))
    patient = Request(request.scope, body.Patient(request.receive, wait_s))
    read = await body.whole(patient, service.settings.max_body_bytes)
    return Request(request.scope, body.again(read, request.receive))
