"""Strings that end a completion, found in the text of its last tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uniapl.model.policy import Policy

MARGIN = 8
"""Tokens before a stop string that are decoded too, since a decoder may alter the first character of a text."""


def before_stop(text: str, stop: Sequence[str]) -> str:
    """The text up to the first stop string, which a judge does not see."""
    return text[: min((at for each in stop if (at := text.find(each)) >= 0), default=len(text))]


@dataclass(frozen=True)
class StopStrings:
    """The stop strings of a job, in the text of the policy's tokens without special tokens."""

    policy: Policy
    stop: Sequence[str]

    def end(self, ids: Sequence[int]) -> bool:
        """Whether the last token of a completion completes a stop string; it has none before that."""
        if not self.stop:
            return False
        longest = max(len(each.encode()) for each in self.stop)  # a token has at least one byte
        tail = self.policy.text(list(ids[-longest - MARGIN :]))
        return any(each in tail for each in self.stop)
