"""CPU time of one verdict by kind of reward (`make bench-verdicts`; `ARGS='--ifeval input_data.jsonl'`).

Answers are the worked examples of the tests, and texts of the bundled dataset, alone and joined to about 2,000 words.
Every constraint type judges each of them. With `--ifeval`, IFEval's published prompts are judged as well. The output is
a table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from tests.uniapl.rewards import math_verdicts, math_verdicts_forms, math_verdicts_reports
from tests.uniapl.rewards.constraint_examples import IF_RLVR, IFBENCH
from tests.uniapl.rewards.test_ifeval import CASES
from uniapl.data.encoding import load_rows
from uniapl.rewards.ifeval import Reading
from uniapl.rewards.verify import reward_of
from uniapl.spec.reward import IfevalReward, MathReward, Reward, RewardOptions

DATA = Path(__file__).parent.parent / "examples" / "data" / "train.jsonl"
LONG_WORDS = 2000
"""Words of the joined texts."""
Asked = tuple[str, Reward]
"""An answer and what it is judged by."""


def texts() -> list[str]:
    """Twenty references of the bundled dataset, and all references joined, cut to `LONG_WORDS` words."""
    references = [row.reference or "" for row in load_rows(DATA)]
    words = "\n\n".join(references).split(" ")
    return [*references[:20], " ".join(words[:LONG_WORDS])]


def mathematics() -> Iterator[Asked]:
    """The verdict tables of the tests."""
    for table in (math_verdicts.VERDICTS, math_verdicts_forms.FORMS, math_verdicts_reports.REPORTED):
        for cases in table.values():
            yield from ((answer, MathReward(answer=gold)) for gold, answer, _ in cases)


def constraints(examples: Iterable[tuple[str, dict[str, Any], str, str]], answers: list[str]) -> Iterator[Asked]:
    """Each type with its worked examples and the texts."""
    for name, arguments, good, bad in examples:
        reward = IfevalReward.model_validate({"instruction_id_list": [name], "kwargs": [arguments]})
        yield from ((answer, reward) for answer in (good, bad, *answers))


def prompts(file: Path, answers: list[str]) -> Iterator[Asked]:
    """IFEval's published prompts with the texts."""
    for line in file.read_text().splitlines():
        row = json.loads(line)
        given = {"instruction_id_list": row["instruction_id_list"], "kwargs": row["kwargs"]}
        yield from ((answer, IfevalReward.model_validate(given)) for answer in answers)


def milliseconds(asked: Iterable[Asked], options: RewardOptions) -> list[float]:
    """CPU time of each verdict."""
    found = []
    for answer, reward in asked:
        began = time.process_time()
        reward_of(answer, reward, options)
        found.append(1000 * (time.process_time() - began))
    return sorted(found)


def line(name: str, values: list[float]) -> str:
    """A row of the table."""
    median, most, nearly_all = (values[int(share * (len(values) - 1))] for share in (0.5, 0.9, 0.99))
    return f"| {name} | {len(values)} | {median:.2f} | {most:.1f} | {nearly_all:.1f} | {values[-1]:.0f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-verdicts")
    parser.add_argument("--ifeval", type=Path, help="IFEval's prompts as JSON lines (input_data.jsonl)")
    file: Path | None = parser.parse_args().ifeval
    answers = texts()
    kinds = {"IFEval": CASES, "IF-RLVR": IF_RLVR, "IFBench": IFBENCH}
    print("| judged | verdicts | p50, ms | p90, ms | p99, ms | max, ms |\n|---|---:|---:|---:|---:|---:|")
    milliseconds([("x+y", MathReward(answer="y+x"))], RewardOptions())  # imports
    print(line("mathematics", milliseconds(mathematics(), RewardOptions())))
    for reading in get_args(Reading):
        options = RewardOptions(ifeval=reading)
        for kind, examples in kinds.items():
            print(line(f"{kind}, `{reading}`", milliseconds(constraints(examples, answers), options)))
        if file is not None:
            print(line(f"IFEval's prompts, `{reading}`", milliseconds(prompts(file, answers), options)))


if __name__ == "__main__":
    main()
