"""From a completion to a reward between 0 and 1."""

from __future__ import annotations

from uniapl.errors import RewardError
from uniapl.rewards.ifeval import followed
from uniapl.spec.reward import Reward, RewardOptions


def final_answer(completion: str) -> str:
    """The completion without its reasoning: what follows the last `</think>`; nothing while the reasoning is open."""
    _, closed, answer = completion.rpartition("</think>")
    if not closed and "<think>" in answer:
        return ""
    return answer.strip()


def verify(completion: str, reward: Reward, options: RewardOptions, *, row: str) -> float:
    """Reward of one completion.

    Args:
        completion: decoded text, special tokens left out.
        reward: what the row asks for.
        options: fraction of constraints followed (IF-RLVR), or all of them.
        row: the row's id, for the error.

    Raises:
        RewardError: a check could not be made.
    """
    try:
        verdicts = followed(final_answer(completion), reward)
    except Exception as error:
        kinds = ", ".join(reward.instruction_id_list)
        raise RewardError(f"row {row}: checking {kinds} failed: {type(error).__name__}: {error}") from error
    if options.aggregate == "strict":
        return float(all(verdicts))
    return sum(verdicts) / len(verdicts)
