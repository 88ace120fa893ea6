"""Rendering of a conversation by a tokenizer's chat template, with a fixed date and a reasoning mode."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Literal

from jinja2 import TemplateError

Turn = Mapping[str, Any]
"""One turn: `role`, `content`, and `tool_calls` or `reasoning_content` where it has them."""
Thinking = Literal["off", "on", "auto"]
TEMPLATE_BUGS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""Exceptions raised by code in a chat template."""
TEMPLATE_ERRORS = (TemplateError, *TEMPLATE_BUGS)
"""Exceptions of rendering."""
PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n\n{% endfor %}"
"""`data.chat_template: plain`: for base students, which were trained on text without turns."""
_PROBE = "5027391846"
_CLOCK_CALL = re.compile(r"strftime_now\s*\(\s*(?:format\s*=\s*)?(?:\"([^\"]*)\"|'([^']*)')\s*\)")


@dataclass(frozen=True)
class TemplateOptions:
    """Arguments of the template that do not depend on the conversation."""

    thinking: Thinking = "auto"
    """`off` and `on` set `enable_thinking` and `thinking`; `auto` leaves both to the template's default."""
    date: date | None = None
    """The result of `strftime_now`; by default the current time."""


def render(
    tokenizer: Any,  # a transformers tokenizer
    turns: Sequence[Turn],
    *,
    generation: bool = False,
    options: TemplateOptions | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """A conversation as text.

    Args:
        tokenizer: tokenizer with a chat template.
        turns: the turns.
        generation: whether to add the generation prompt.
        options: mode and date.
        tools: definitions in OpenAI's format.

    Raises:
        TemplateError: the template rejects the turns; a broken template raises one of `TEMPLATE_BUGS`.
    """
    options = options or TemplateOptions()
    flags = (
        {} if options.thinking == "auto" else dict.fromkeys(("enable_thinking", "thinking"), options.thinking == "on")
    )
    template = tokenizer.get_chat_template(None, tools)
    if options.date is not None:
        template = with_date(template, options.date)
    return str(
        tokenizer.apply_chat_template(
            [_in_parts(turn) if takes_parts(template) else dict(turn) for turn in turns],
            tools=list(tools) if tools else None,
            chat_template=template,
            add_generation_prompt=generation,
            tokenize=False,
            **dict.fromkeys(flags, options.thinking == "on"),
        )
    )


def _in_parts(turn: Turn) -> dict[str, Any]:
    """A turn whose content is a list with one text."""
    content = turn.get("content")
    return dict(turn) | ({"content": [{"type": "text", "text": content}]} if isinstance(content, str) else {})


@lru_cache(maxsize=64)
def takes_parts(template: str) -> bool:
    """Whether a template renders contents that are lists of parts, and no plain text, as templates for images do."""
    from transformers.utils.chat_template_utils import render_jinja_template  # slow to import

    found = []
    for turn in ({"role": "user", "content": _PROBE}, _in_parts({"role": "user", "content": _PROBE})):
        try:
            text = str(render_jinja_template([[turn]], chat_template=template, bos_token="", eos_token=""))
        except TEMPLATE_ERRORS:
            text = ""
        found.append(_PROBE in text)
    return found == [False, True]


def source_text(tokenizer: Any) -> str:
    """The source of all templates of a tokenizer, with line breaks in the place of their escapes."""
    templates = tokenizer.chat_template or ""
    return "\0".join(templates.values() if isinstance(templates, dict) else [templates]).replace("\\n", "\n")


def set_template(tokenizer: Any, template: str) -> None:
    """Set the template, or `PLAIN_TEMPLATE` for `plain`; the token that the tokenizer puts before a text is kept."""
    if template == "plain":
        begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
        template = "{{ bos_token }}" * begins + PLAIN_TEMPLATE
    tokenizer.chat_template = template


def with_date(template: str, day: date) -> str:
    """The template with a macro in the place of `strftime_now`, which formats `day`.

    The macro knows the formats that are constants of the template, and raises an error for others.
    """
    if "strftime_now" not in template:
        return template
    formats = {double or single for double, single in _CLOCK_CALL.findall(template)}
    dates = ", ".join(f"{_quoted(f)}: {_quoted(day.strftime(f))}" for f in sorted(formats))
    unknown = "{{ raise_exception('strftime_now: its format is not a constant') }}"
    known = "{% if format in dates %}{{ dates[format] }}{% else %}"
    body = f"{{% set dates = {{{dates}}} %}}{known}{unknown}{{% endif %}}"
    return f"{{% macro strftime_now(format) %}}{body}{{% endmacro %}}\n{template}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
