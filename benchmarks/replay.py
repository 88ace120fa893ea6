"""Synthetic rollouts as input of both sides of a comparison: random tokens with fixed lengths and rewards."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property

LENGTHS = {4: (86, 45, 30, 19), 8: (86, 70, 55, 45, 38, 30, 22, 14)}
"""Completion lengths of a group with different lengths, in tokens; 45 on average."""
REFERENCE = 60
"""Length of the teacher's answer in tokens."""


@dataclass(frozen=True)
class Case:
    """One prompt, a group of completions, and the teacher's answer."""

    prompt: int
    """Length of the prompt in tokens."""
    group: int
    """Number of completions."""
    lengths: str
    """`equal` or `spread`."""

    def __str__(self) -> str:
        return f"prompt {self.prompt}, group of {self.group}, {self.lengths} lengths"

    @property
    def arguments(self) -> tuple[int, int, str]:
        """Command-line arguments; see `parse`."""
        return self.prompt, self.group, self.lengths

    @staticmethod
    def parse(prompt: str, group: str, lengths: str) -> Case:
        """Inverse of `arguments`."""
        return Case(int(prompt), int(group), lengths)

    @cached_property
    def _drawn(self) -> list[list[int]]:
        spread = LENGTHS[self.group]
        equal = (sum(spread) // self.group,) * self.group
        draw = random.Random(0)
        lengths = (self.prompt, REFERENCE, *(spread if self.lengths == "spread" else equal))
        return [[draw.randrange(1000, 40_000) for _ in range(length)] for length in lengths]

    @property
    def prompt_ids(self) -> list[int]:
        """Token ids of the prompt."""
        return self._drawn[0]

    @property
    def reference_ids(self) -> list[int]:
        """Token ids of the teacher's answer."""
        return self._drawn[1]

    @property
    def completions(self) -> list[list[int]]:
        """Token ids of the completions."""
        return self._drawn[2:]

    @property
    def rewards(self) -> list[float]:
        """Rewards of the completions, all different."""
        draw = random.Random(1)
        return [draw.random() for _ in range(self.group)]

    @property
    def num_tokens(self) -> int:
        """Useful tokens: prompt and completion of each sample, independent of sharing and padding."""
        return sum(self.prompt + len(ids) for ids in self.completions)
