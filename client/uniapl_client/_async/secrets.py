"""`client.secrets`"""

from __future__ import annotations

from uniapl.spec.resources import Page, Secret
from uniapl_client._async.transport import AsyncTransport


class AsyncSecrets:
    """Keys for servers that jobs ask, such as a teacher's. They can be written and deleted, never read."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def put(self, name: str, value: str) -> Secret:
        """Store a secret, or another value for one; specs name it in `teacher.api_key_secret`.

        Raises:
            InvalidRequestError: the name or the value has characters that cannot be used.
        """
        return await self._transport.request(Secret, "PUT", f"/secrets/{name}", json={"value": value})

    async def list(self) -> list[Secret]:
        """The names of all secrets."""
        return (await self._transport.request(Page[Secret], "GET", "/secrets")).data

    async def delete(self, name: str) -> None:
        """Delete a secret.

        Raises:
            NotFoundError: there is none.
            ConflictError: a job that is not over names it.
        """
        await self._transport.send("DELETE", f"/secrets/{name}")
