"""Rewards of final answers, in [0, 1].

Libraries are imported on first use: NLTK and SymPy take a second and a hundred megabytes in each verifying process.
"""

from __future__ import annotations

from uniapl.chat.frames import split_unprompted
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


def final_answer(completion: str) -> str:
    """The completion without reasoning: the text after its block, or empty if the block is not closed.

    Reasoning begins with the opening tag of a known block (`uniapl.chat.frames`), or with the completion itself if its
    first tag is `</think>`; later tags are part of the answer. A completion without reasoning is unchanged, because
    IFEval counts leading and trailing lines.
    """
    parts = split_unprompted(completion)
    return parts.answer if parts.reasoning is None else parts.answer.strip()


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
