"""Secret methods of the client."""

from __future__ import annotations

from uniapl.spec.resources import Page, Secret
from uniapl_client._async.transport import AsyncTransport


class AsyncSecrets:
    """`client.secrets`: API keys for external servers such as a teacher; values are write-only."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def put(self, name: str, value: str) -> Secret:
        """Store or replace a secret, for use as `teacher.api_key_secret`.

        Raises:
            InvalidRequestError: the name or the value contains invalid characters.
        """
        return await self._transport.request(Secret, "PUT", f"/secrets/{name}", json={"value": value})

    async def list(self) -> list[Secret]:
        """All secrets, without values."""
        return (await self._transport.request(Page[Secret], "GET", "/secrets")).data

    async def delete(self, name: str) -> None:
        """Delete a secret.

        Raises:
            NotFoundError: it does not exist.
            ConflictError: an unfinished job refers to it.
        """
        await self._transport.send("DELETE", f"/secrets/{name}")
