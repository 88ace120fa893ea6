"""Negotiation of optional request parameters: all are sent first, rejected ones are replaced or omitted.

OpenAI's reasoning models (o-series, GPT-5) reject `max_tokens` and every `temperature` except 1; other servers support
only `max_tokens`. The model name is no criterion, because proxies rename models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import from_json

from uniapl.inference.http import Reply
from uniapl.spec.teacher import OpenAITeacher

REFUSED = (400, 422)
"""Statuses of rejected parameters."""
OTHER_NAMES = {"max_tokens": "max_completion_tokens"}
"""Replacements of rejected parameters; others are omitted. A length limit is always sent."""
OPTIONAL = ("temperature", "max_tokens")
"""Parameters that may be replaced or omitted; the rejection of any other, or of a replacement, fails the run."""
_UNSUPPORTED = re.compile(
    r"unsupported|(?:not|n't) (?:support|permit|allow|accept|recogni[sz]e|available)|unrecogni[sz]ed|unknown|unexpected"
    r"|extra (?:inputs|fields)|extra_forbidden|deprecated|no longer|only .{1,30}(?:allowed|supported)|may only be",
    re.IGNORECASE,
)
"""Server messages about an unsupported parameter, or one with a single supported value."""


class Parameters:
    """Optional parameters accepted so far by one server, shared by all requests of a run."""

    def __init__(self, teacher: OpenAITeacher) -> None:
        self._taken: dict[str, Any] = {"temperature": teacher.temperature, "max_tokens": teacher.max_tokens}

    def taken(self) -> dict[str, Any]:
        """Parameters of the next request, by name."""
        return dict(self._taken)

    def refused(self, sent: Mapping[str, Any], reply: Reply) -> list[str] | None:
        """Replace or omit the parameters that a reply rejects.

        Each parameter changes at most once per run, which bounds the number of repetitions of a request.

        Returns:
            A description of each change; empty if another request has made the change already. `None` if the reply
            rejects no optional parameter, so that a repetition is useless.
        """
        named = [name for name in _named(reply) if name in sent]
        return [self._give_up(name) for name in named if name in self._taken] if named else None

    def _give_up(self, name: str) -> str:
        value = self._taken.pop(name)
        if (other := OTHER_NAMES.get(name)) is None:
            return f"rejects {name}={value}; it is omitted, and the server's default applies"
        self._taken[other] = value
        return f"rejects {name}={value}; {other}={value} is sent instead"


def _named(reply: Reply) -> list[str]:
    """Optional parameters rejected by a reply, named in its `param` or else in its text."""
    if reply.status not in REFUSED:
        return []
    try:
        body = from_json(reply.content)
    except ValueError:
        body = reply.content.decode(errors="replace")
    text = "\n".join(_texts(body))
    if not _UNSUPPORTED.search(text):
        return []
    error = body.get("error") if isinstance(body, dict) else None
    param = error.get("param") if isinstance(error, dict) else None
    where = param if isinstance(param, str) and param else text
    return [name for name in OPTIONAL if re.search(rf"(?<!\w){name}(?!\w)", where)]


def _texts(value: Any) -> Iterator[str]:
    """All strings in a JSON value."""
    match value:
        case str():
            yield value
        case list():
            for part in value:
                yield from _texts(part)
        case dict():
            yield from _texts(list(value.values()))
