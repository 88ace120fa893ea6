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
    r"unsupported|unrecogni[sz]ed|unknown|unexpected|deprecated|obsolete|no longer|removed"
    r"|(?:not|n't) (?:support|permit|allow|accept|recogni[sz]e|available|implement)"
    r"|not (?:an? )?(?:valid|known|legal) (?:parameter|argument|field|property|option|key)"
    r"|extra (?:inputs|fields)|extra_forbidden|additional propert"
    r"|only .{1,30}(?:allowed|supported)|(?:may|can|must) only be|cannot be (?:set|specified|changed)\b"
    r"|(?:must|should|has to) be (?:set to |equal to |exactly )?(?:the default|unset|1(?:\.0+)?(?= |[.,;]?\s|[.,;]?$)"
    r"(?! ?[-–]| to | or ))"
    r"|use .{0,3}max_completion_tokens|不支持|仅支持",
    re.IGNORECASE,
)
"""Server messages about an unsupported parameter, or one with a single supported value."""
_NOT_ZERO = re.compile(
    r"(?:must|should|has to) be (?:an? )?(?:strictly )?(?:positive|(?:greater|larger|more) than 0(?!\.?\d*[1-9])|> ?0)"
    r"|in (?:the range )?\(0",
    re.IGNORECASE,
)
"""Server messages about a parameter that must not be 0."""


class Parameters:
    """Optional parameters accepted so far by one server, shared by all requests of a run."""

    def __init__(self, teacher: OpenAITeacher) -> None:
        self._taken: dict[str, Any] = {"temperature": teacher.temperature, "max_tokens": teacher.max_tokens}

    def taken(self) -> dict[str, Any]:
        """Parameters of the next request, by name."""
        return dict(self._taken)

    def refused(self, sent: Mapping[str, Any], reply: Reply) -> list[str] | None:
        """Replace or omit the parameter that a reply rejects; the reply to a repetition may reject another one.

        Each parameter changes at most once per run, which bounds the number of repetitions of a request.

        Returns:
            A description of the change; empty if another request has made the change already. `None` if the reply
            rejects no optional parameter, so that a repetition is useless.
        """
        name = _refused(reply, sent)
        if name is None:
            return None
        return [self._give_up(name)] if name in self._taken else []

    def _give_up(self, name: str) -> str:
        value = self._taken.pop(name)
        if (other := OTHER_NAMES.get(name)) is None:
            return f"rejects {name}={value}; it is omitted, and the server's default applies"
        self._taken[other] = value
        return f"rejects {name}={value}; {other}={value} is sent instead"


def _refused(reply: Reply, sent: Mapping[str, Any]) -> str | None:
    """The optional parameter that a reply rejects: the one in its `param`, else the first one in its text.

    Texts often continue with the parameters that the server supports.
    """
    if reply.status not in REFUSED:
        return None
    try:
        body = from_json(reply.content)
    except ValueError:
        body = reply.content.decode(errors="replace")
    text = "\n".join(_texts(body))
    error = body.get("error") if isinstance(body, dict) else None
    param = error.get("param") if isinstance(error, dict) else None
    where = param if isinstance(param, str) and param else text
    found = re.search(rf"(?<![A-Za-z0-9_])(?:{'|'.join(OPTIONAL)})(?![A-Za-z0-9_])", where)
    if found is None or (name := found.group()) not in sent:
        return None
    return name if _UNSUPPORTED.search(text) or (sent[name] == 0 and _NOT_ZERO.search(text)) else None


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
