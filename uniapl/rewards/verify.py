"""From a final answer to a reward between 0 and 1.

Each library is imported with the first answer that needs it: NLTK and SymPy take a second and a hundred megabytes,
in each process that verifies.
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
    """The completion without its reasoning: what follows the first `</think>`; nothing while the reasoning is open.

    Reasoning begins with `<think>`, or before the text does; tags that an answer quotes later are its text. A
    completion without reasoning stays as it is: IFEval counts its leading and trailing lines.
    """
    begun = completion.lstrip().startswith(OPENING)
    reasoning, closed, answer = completion.partition(CLOSING)
    if closed and (begun or OPENING not in reasoning):
        return answer.strip()
    return "" if begun else completion


def reward_of(answer: str, reward: Reward, options: RewardOptions) -> float:
    """Reward of one final answer, in [0, 1]; a blank answer earns 0.

    A pure function. It may take for ever, where a pattern backtracks: `RewardPool` bounds it.

    Args:
        answer: what `final_answer` gives.
        reward: what the row asks for.
        options: for IFEval, whether to judge loosely, and to count the share followed or all of them.

    Raises:
        Exception: whatever the check of a faulty row runs into.
    """
    if not answer.strip():
        return 0.0
    match reward:
        case IfevalReward():
            from uniapl.rewards.ifeval import followed

            verdicts = followed(answer, reward, loose=options.loose)
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
