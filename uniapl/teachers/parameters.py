"""Which optional parameters a teacher's server takes: all are sent, and what it refuses is replaced or left out once.

The reasoning models of OpenAI (o-series, GPT-5) refuse `max_tokens` and every `temperature` but 1; other servers know
`max_tokens` alone. A model's name does not decide it, for proxies give models names of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import from_json

from uniapl.inference.http import Reply
from uniapl.spec.teacher import OpenAITeacher

REFUSED = (400, 422)
"""Statuses with which servers refuse a parameter."""
OTHER_NAMES = {"max_tokens": "max_completion_tokens"}
"""What is sent in place of a refused parameter; the others are left out. No limit of length at all is never sent."""
OPTIONAL = ("temperature", "max_tokens")
"""What may be replaced or left out; a reply that refuses anything else, another name of these too, ends the run."""
_UNSUPPORTED = re.compile(
    r"unsupported|(?:not|n't) (?:support|permit|allow|accept|recogni[sz]e|available)|unrecogni[sz]ed|unknown|unexpected"
    r"|extra (?:inputs|fields)|extra_forbidden|deprecated|no longer|only .{1,30}(?:allowed|supported)|may only be",
    re.IGNORECASE,
)
"""Words of servers for a parameter that they do not take, or take with one value only."""


class Parameters:
    """The optional parameters of requests to one server, shared by all requests of a run."""

    def __init__(self, teacher: OpenAITeacher) -> None:
        self._taken: dict[str, Any] = {"temperature": teacher.temperature, "max_tokens": teacher.max_tokens}

    def taken(self) -> dict[str, Any]:
        """What to send now, by name."""
        return dict(self._taken)

    def refused(self, sent: Mapping[str, Any], reply: Reply) -> list[str] | None:
        """Learn from a reply which of the parameters that were sent are not taken.

        Each parameter changes at most once in a run, so a request is repeated as often at most.

        Returns:
            What changed, in words; empty if another request's refusal has changed it already. `None` where the reply
            refuses no parameter that can be replaced or left out: repeating the request is of no use then.
        """
        named = [name for name in _named(reply) if name in sent]
        return [self._give_up(name) for name in named if name in self._taken] if named else None

    def _give_up(self, name: str) -> str:
        value = self._taken.pop(name)
        if (other := OTHER_NAMES.get(name)) is None:
            return f"refuses {name}={value}; it is left out, and the server's default applies"
        self._taken[other] = value
        return f"refuses {name}={value}; {other}={value} is sent instead"


def _named(reply: Reply) -> list[str]:
    """The optional parameters that a reply refuses by name, in its `param` or, without one, anywhere in its text."""
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
    """Every text within a value of JSON."""
    match value:
        case str():
            yield value
        case list():
            for part in value:
                yield from _texts(part)
        case dict():
            yield from _texts(list(value.values()))
