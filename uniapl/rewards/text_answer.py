"""Checks of an answer's text: pattern, exact match, length, and its preparation."""

from __future__ import annotations

import re

from uniapl.spec.reward import ExactMatchReward, LengthBandReward, RegexReward


def unfenced(answer: str) -> str:
    """The answer without an enclosing Markdown code fence."""
    text = answer.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    return text.removesuffix("```").strip()


def matches(answer: str, reward: RegexReward) -> bool:
    """Whether the pattern matches a part of the answer, or all of it if `reward.full`."""
    match = re.fullmatch if reward.full else re.search
    return match(reward.pattern, answer.strip()) is not None


def is_one_of(answer: str, reward: ExactMatchReward) -> bool:
    """Whether the answer equals a gold answer, up to whitespace."""

    def normal(text: str) -> str:
        text = " ".join(text.split())
        return text.casefold() if reward.ignore_case else text

    golds = [reward.answer] if isinstance(reward.answer, str) else reward.answer
    return normal(answer) in {normal(gold) for gold in golds}


def length_share(answer: str, reward: LengthBandReward) -> float:
    """Length reward: 1 within the band, n / at_least below it, max(0, 2 - n / at_most) above it."""
    n = len(re.findall(r"\w+", answer)) if reward.unit == "words" else len(answer.strip())
    if reward.at_least is not None and n < reward.at_least:
        return n / reward.at_least
    if reward.at_most is not None and n > reward.at_most:
        return max(0.0, 2 - n / reward.at_most)
    return 1.0
