"""The token that ends an answer in a chat template, found in a rendered conversation.

Base students often have a template whose end of turn is not the end token of their tokenizer, such as `<|im_end|>` and
`<|endoftext|>`. Sampling must stop at the former, or the student continues with turns of the user.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uniapl.chat.template import TEMPLATE_ERRORS, render

if TYPE_CHECKING:  # transformers takes a second to import
    from transformers import PreTrainedTokenizerBase

ANSWER, NEXT = "4402918375", "9158260437"
"""Contents of an answer and of the turn after it."""
_USER = {"role": "user", "content": "?"}
_ASSISTANT = {"role": "assistant", "content": ANSWER}


@dataclass(frozen=True)
class EndOfTurn:
    """The end of an answer in the chat template."""

    token: int | None
    """Its token; `None` where the template has none."""
    text: str
    """The template's text after the last answer."""

    @property
    def is_unknown(self) -> bool:
        """Whether the template ends an answer with a text that has no token of its own."""
        return self.token is None and bool(self.text.strip())

    def problem(self, tokenizer: PreTrainedTokenizerBase, declared: Collection[int]) -> str | None:
        """Why the declared end tokens are not those of the template, in a sentence; `None` where they are."""
        names = ", ".join(repr(tokenizer.decode([i])) for i in sorted(declared))
        if self.is_unknown:
            return (
                f"the chat template ends an answer with {self.text.strip()!r}, which has no token of its own in the "
                f"student's tokenizer: references end and sampling stops at {names} only, and an answer may continue "
                "with other turns; choose a student whose tokenizer has this token, or set data.chat_template"
            )
        if self.token is None or self.token in declared:
            return None
        return (
            f"the chat template ends an answer with {tokenizer.decode([self.token])!r}, but the student's generation "
            f"stops at {names} only: sampling stops at both, and the checkpoints declare both"
        )


def find_end_of_turn(tokenizer: PreTrainedTokenizerBase, declared: Collection[int]) -> EndOfTurn:
    """The control token after an answer.

    Tokens that follow each answer are preferred to those that follow the last answer only; among several, the first
    declared one, else the last. A template that adds nothing to the last answer ends it with a declared token that
    begins the next turn.

    Args:
        tokenizer: tokenizer with a chat template.
        declared: tokens that end a completion.

    Raises:
        TemplateError: the template rejects a question and an answer; broken templates raise other exceptions.
    """
    final = render(tokenizer, [_USER, _ASSISTANT]).rpartition(ANSWER)
    text = final[2] if final[1] else ""
    last, between = _control_tokens(tokenizer, text), _control_tokens(tokenizer, _between_turns(tokenizer))
    both = [token for token in last if token in between]
    for found in (both, last):
        if found:
            return EndOfTurn(next((token for token in found if token in declared), found[-1]), text)
    return EndOfTurn(None if text.strip() else next((t for t in between if t in declared), None), text)


def _between_turns(tokenizer: PreTrainedTokenizerBase) -> str:
    """The template's text between an answer and the next turn; empty where it rejects a third turn."""
    try:
        text = render(tokenizer, [_USER, _ASSISTANT, {"role": "user", "content": NEXT}])
    except TEMPLATE_ERRORS:
        return ""
    return text.partition(ANSWER)[2].rpartition(NEXT)[0]


def _control_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The control tokens of a text, in order; added tokens count, unless they are white space."""
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.content.strip()}
    control = added | set(tokenizer.all_special_ids)
    return [i for i in tokenizer(text, add_special_tokens=False)["input_ids"] if i in control]
