"""Routes that authenticate the caller before they read the body.

FastAPI reads the whole body before it runs dependencies, so a dependency would check the key too late.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api import auth
from api.deps import Service
from api.http import body

STREAMED = {
    *(("POST", path) for path in ("/datasets", "/datasets/preview", "/v1/files")),
    ("PATCH", "/uploads/{upload_id}"),
}
"""Routes that stream and limit their bodies themselves."""
_WITHOUT_BODY = ("GET", "HEAD", "DELETE")
"""Methods whose routes read no body."""


class AuthenticatedRoute(APIRoute):
    """A route that answers 401 before it reads the body, and 408 where the body does not arrive in time."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of this route's requests."""
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
    """The same request with limits of its body: time, and also length where it is not streamed."""
    wait_s = service.settings.request_wait_s
    if streamed:
        return Request(request.scope, body.Patient(request.receive, wait_s, body.UPLOAD_BYTES_PER_S))
    patient = Request(request.scope, body.Patient(request.receive, wait_s))
    read = await body.whole(patient, service.settings.max_body_bytes)
    return Request(request.scope, body.again(read, request.receive))
