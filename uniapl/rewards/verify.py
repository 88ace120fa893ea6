"""Rewards of final answers, in [0, 1].

Libraries are imported on first use: NLTK and SymPy take a second and a hundred megabytes in each verifying process.
"""

from __future__ import annotations

from uniapl.rewards.text_answer import is_one_of, length_share, matches
from uniapl.spec.reward import (
    ExactMatchReward,
    IfevalReward,
    JsonSchemaReward,
    LengthBandReward,
    MathReward,
    RegexReward,
    Reward,
    RewardOptions,
    WeightedSumReward,
)

OPENING, CLOSING = "<think>", "</think>"


def final_answer(completion: str) -> str:
    """The completion without reasoning: the text after the first `</think>`, or empty if the reasoning is not closed.

    Reasoning begins with `<think>` or with the completion itself; later tags are part of the answer. A completion
    without reasoning is unchanged, because IFEval counts leading and trailing lines.
    """
    begun = completion.lstrip().startswith(OPENING)
    reasoning, closed, answer = completion.partition(CLOSING)
    if closed and (begun or OPENING not in reasoning):
        return answer.strip()
    return "" if begun else completion


def reward_of(answer: str, reward: Reward, options: RewardOptions) -> float:
    """Reward of a final answer, in [0, 1]; 0 for a blank answer.

    A pure function without a time limit; `RewardPool` adds one, for patterns that backtrack.

    Args:
        answer: result of `final_answer`.
        reward: reward of the row.
        options: for IFEval, `ifeval`, `loose` and `aggregate`.

    Raises:
        Exception: any error of the check of a faulty row.
    """
    if not answer.strip():
        return 0.0
    match reward:
        case IfevalReward():
            from uniapl.rewards.ifeval import followed

            verdicts = followed(answer, reward, loose=options.loose, reading=options.ifeval)
            return float(all(verdicts)) if options.aggregate == "strict" else sum(verdicts) / len(verdicts)
        case MathReward():
            from uniapl.rewards.math_answer import is_equal

            return float(is_equal(answer, reward.answer))
        case JsonSchemaReward():
            from uniapl.rewards.json_answer import is_valid

            return float(is_valid(answer, reward.json_schema))
        case RegexReward():
            return float(matches(answer, reward))
        case ExactMatchReward():
            return float(is_one_of(answer, reward))
        case LengthBandReward():
            return length_share(answer, reward)
        case WeightedSumReward():
            earned = sum(part.weight * reward_of(answer, part.reward, options) for part in reward.parts)
            return earned / sum(part.weight for part in reward.parts)
