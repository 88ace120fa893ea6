"""Control tokens: those that a template writes are tokens, those that a content quotes are plain text.

Quoted control tokens are marked before rendering, by a character after their first one. A marked text is encoded by a
copy of the tokenizer in which every added token has another name: the template's tokens are written with these names,
and the quoted ones, without their marks, are no names of tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from uniapl.chat.errors import RenderError
from uniapl.chat.frames import FRAMES
from uniapl.chat.template import source_text
from uniapl.chat.template_frame import template_frame

MARKS = tuple(map(chr, range(0xFDD0, 0xFDF0)))
"""Characters that Unicode reserves for internal use."""
_REMEDY = "remove the control token from the row's text"
_NAME = "\uf8ff{}\uf8ff"
_DIGITS = {ord(str(digit)): 0xF800 + digit for digit in range(10)}


class ControlTokens:
    """The control tokens of a tokenizer and its chat template."""

    def __init__(self, tokenizer: Any) -> None:  # a transformers tokenizer
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        template = source_text(tokenizer)
        declared = {*tokenizer.all_special_tokens, *(getattr(tokenizer, "chat_control_tokens", None) or ())}
        self._added = {token.content: token_id for token_id, token in added.items()}
        control = {t.content for t in added.values() if t.special or t.content in declared or t.content in template}
        tags = {tag for frame in FRAMES for tag in (frame.opening, frame.closing) if tag in template}
        own = template_frame(tokenizer)
        tags |= {tag for tag in (own.opening, own.closing) if tag} if own else set()
        self._quotable = _any_of(text for text in control | tags if len(text.strip()) > 1)
        self._control_ids = {self._added[text] for text in control if text in self._added and text.strip()}

    def marked(self, given: Any, mark: str) -> Any:
        """A content, or a structure of contents, with a mark in each control token that it quotes."""
        if isinstance(given, str):
            return self._quotable.sub(lambda found: found[0][0] + mark + found[0][1:], given)
        if isinstance(given, dict):
            return {key: self.marked(value, mark) for key, value in given.items()}
        return [self.marked(value, mark) for value in given] if isinstance(given, list) else given

    def encode(self, text: str, mark: str) -> list[int]:
        """Tokens of a rendered text, without special tokens around it.

        Raises:
            RenderError: the tokenizer has no other way to encode a quoted control token.
        """
        plain = text.replace(mark, "")
        if plain == text:
            return list(self._tokenizer(plain, add_special_tokens=False)["input_ids"])
        named = self._found.sub(lambda found: self._names[found[0]], text).replace(mark, "")
        encoding = self._renamed.encode(named, add_special_tokens=False)
        written = {name: self._added[text] for text, name in self._names.items()}
        found = [token for token in encoding.tokens if token in written]
        others = {i for token, i in zip(encoding.tokens, encoding.ids, strict=True) if token not in written}
        if len(found) != sum(named.count(name) for name in written) or others & self._control_ids:
            raise RenderError("the student's tokenizer cannot encode a quoted control token as plain text", _REMEDY)
        return [written.get(token, i) for token, i in zip(encoding.tokens, encoding.ids, strict=True)]

    @cached_property
    def _found(self) -> re.Pattern[str]:
        return _any_of(self._added)

    @cached_property
    def _names(self) -> dict[str, str]:
        return {text: _NAME.format(str(i).translate(_DIGITS)) for i, text in enumerate(self._added)}

    @cached_property
    def _renamed(self) -> Tokenizer:
        """The copy with other names."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise RenderError("a control token is quoted, and the student's tokenizer has no tokenizer.json", _REMEDY)
        state = json.loads(backend.to_str())
        for token in state["added_tokens"]:
            token["content"] = self._names.get(token["content"], token["content"])
        state |= {"post_processor": None, "truncation": None, "padding": None}
        return Tokenizer.from_str(json.dumps(state))


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern of texts that prefers the longest; without texts it matches nothing."""
    return re.compile("|".join(map(re.escape, sorted(texts, key=lambda t: (-len(t), t)))) or "(?!)")
