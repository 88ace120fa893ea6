"""Rows as published datasets have them: prompt, answer, gold and turns of each."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.conftest import ROOT
from uniapl.spec.importers.rows import RowError, read_row

pytestmark = pytest.mark.unit

ASKED = {"role": "user", "content": "What is 3 + 4?"}
ANSWER = {"role": "assistant", "content": "It is \\boxed{7}."}
BAD = {"role": "assistant", "content": "Eight."}
SEVEN = {"type": "math", "answer": "7"}
WORKED = "Three and four make \\boxed{7}."
NUMBER = "length_constraints:number_words"


def ifeval(*constraints: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "ifeval",
        "instruction_id_list": [name for name, _ in constraints],
        "kwargs": [arguments for _, arguments in constraints],
    }


PUBLISHED = [
    (
        "UltraFeedback binarized",
        {
            **{"prompt": "What is 3 + 4?", "prompt_id": "p", "chosen": [ASKED, ANSWER], "rejected": [ASKED, BAD]},
            **{"messages": [ASKED, ANSWER], "score_chosen": 9.0, "score_rejected": 4.0},
        },
        ("preferences", "It is \\boxed{7}.", None, {"prompt_id", "rejected", "score_chosen", "score_rejected"}),
    ),
    (
        "Tulu-3 preferences",
        {"id": "a", "source": "s", "prompt": ASKED["content"], "chosen": [ASKED, ANSWER], "rejected": [ASKED, BAD]},
        ("preferences", "It is \\boxed{7}.", None, {"source", "rejected"}),
    ),
    (
        "no_robots, ultrachat",
        {"prompt": "What is 3 + 4?", "prompt_id": "p", "messages": [ASKED, ANSWER], "category": "QA"},
        ("conversations", "It is \\boxed{7}.", None, {"prompt_id", "category"}),
    ),
    (
        "HH-RLHF",
        {
            "chosen": "\n\nHuman: What is 3 + 4?\n\nAssistant: It is \\boxed{7}.",
            "rejected": "\n\nHuman: What is 3 + 4?\n\nAssistant: Eight.",
        },
        ("HH-RLHF", "It is \\boxed{7}.", None, {"rejected"}),
    ),
    (
        "ShareGPT preferences of LLaMA-Factory",
        {
            "conversations": [{"from": "human", "value": "What is 3 + 4?"}],
            "chosen": {"from": "gpt", "value": "7."},
            "rejected": {"from": "gpt", "value": "8."},
        },
        ("preferences", "7.", None, {"rejected"}),
    ),
    (
        "Alpaca preferences of LLaMA-Factory",
        {"instruction": "What is 3 + 4?", "input": "", "chosen": "7.", "rejected": "8."},
        ("preferences", "7.", None, {"rejected"}),
    ),
    (
        "Orca DPO pairs",
        {"system": "", "question": "What is 3 + 4?", "chosen": "7.", "rejected": "8."},
        ("preferences", "7.", None, {"rejected"}),
    ),
    (
        "KTO of LLaMA-Factory",
        {"instruction": "What is 3 + 4?", "input": "", "output": "7.", "kto_tag": True},
        ("Alpaca", "7.", None, {"kto_tag"}),
    ),
    (
        "GSM8K",
        {"question": "What is 3 + 4?", "answer": "It is <<3+4=7>>7.\n#### 7"},
        ("GSM8K", "It is <<3+4=7>>7.\n#### 7", SEVEN, set()),
    ),
    (
        "MATH",
        {"problem": "What is 3 + 4?", "level": "Level 1", "type": "Algebra", "solution": WORKED},
        ("MATH", WORKED, SEVEN, {"level", "type"}),
    ),
    (
        "MATH-500",
        {"problem": "What is 3 + 4?", "solution": WORKED, "answer": "7", "subject": "Algebra", "unique_id": "t/1"},
        ("MATH", WORKED, SEVEN, {"subject", "unique_id"}),
    ),
    (
        "NuminaMath-CoT",
        {"source": "aops", "problem": "What is 3 + 4?", "solution": WORKED, "messages": [ASKED, ANSWER]},
        ("MATH", "It is \\boxed{7}.", SEVEN, {"source", "problem"}),
    ),
    (
        "OpenR1-Math",
        {
            **{"problem": "What is 3 + 4?", "solution": WORKED, "answer": "7", "problem_type": "Algebra"},
            **{"generations": ["a", "b"], "correctness_math_verify": [True, False], "messages": [ASKED, ANSWER]},
        },
        (
            "OpenR1-Math",
            "It is \\boxed{7}.",
            SEVEN,
            {"problem", "solution", "problem_type", "generations", "correctness_math_verify"},
        ),
    ),
    (
        "OpenMathInstruct-2",
        {
            **{"problem": "What is 3 + 4?", "generated_solution": WORKED, "expected_answer": "7"},
            "problem_source": "augmented_math",
        },
        ("MATH", WORKED, SEVEN, {"problem_source"}),
    ),
    (
        "DeepMath",
        {"question": "What is 3 + 4?", "final_answer": "7", "difficulty": 3.0, "r1_solution_1": "…"},
        ("prompt and gold", None, SEVEN, {"difficulty", "r1_solution_1"}),
    ),
    (
        "OpenThoughts, default",
        {
            "system": "Think first.",
            "conversations": [
                {"from": "user", "value": "What is 3 + 4?"},
                {"from": "assistant", "value": "<|begin_of_thought|>…<|end_of_thought|>7."},
            ],
        },
        ("ShareGPT", "<|begin_of_thought|>…<|end_of_thought|>7.", None, set()),
    ),
    (
        "OpenThoughts, metadata",
        {
            **{"problem": "What is 3 + 4?", "deepseek_reasoning": "Add.", "deepseek_solution": "7."},
            **{"ground_truth_solution": WORKED, "domain": "math", "test_cases": None},
        },
        ("OpenThoughts", "<think>\nAdd.\n</think>\n\n7.", SEVEN, {"domain"}),
    ),
    ("TRL GRPO, solution", {"prompt": [ASKED], "solution": "$7$"}, ("prompt and gold", None, "$7$", set())),
    ("TRL GRPO, answer", {"prompt": "What is 3 + 4?", "answer": 7}, ("prompt and gold", None, "7", set())),
    (
        "verl, GSM8K",
        {
            **{"data_source": "openai/gsm8k", "prompt": [ASKED], "ability": "math"},
            **{"reward_model": {"style": "rule", "ground_truth": "7"}, "extra_info": {"answer": "…", "index": 0}},
        },
        ("verl", None, SEVEN, {"reward_model.style", "extra_info"}),
    ),
    (
        "DAPO",
        {
            **{"data_source": "math_dapo", "prompt": [ASKED], "ability": "MATH"},
            **{"reward_model": {"ground_truth": "7", "style": "rule-lighteval/MATH_v2"}, "extra_info": {"index": "u"}},
        },
        ("verl", None, SEVEN, {"reward_model.style", "extra_info"}),
    ),
    (
        "DAPO processed",
        {
            **{"prompt": "What is 3 + 4?", "solution": "7", "data_source": "math_dapo", "source_prompt": [ASKED]},
            **{"ability": "MATH", "reward_model": {"ground_truth": "7", "style": "rule"}},
        },
        ("verl", None, SEVEN, {"solution", "source_prompt", "reward_model.style"}),
    ),
    (
        "verl, Numina",
        {"data_source": "numina_olympiads", "prompt": [ASKED], "reward_model": {"ground_truth": "7"}},
        ("verl", None, SEVEN, set()),
    ),
    (
        "RLVR-GSM",
        {"messages": [ASKED], "ground_truth": "7", "dataset": "gsm8k"},
        ("RLVR", None, SEVEN, set()),
    ),
    (
        "Open-Instruct",
        {"messages": [ASKED], "ground_truth": ["7"], "dataset": ["math"]},
        ("RLVR", None, SEVEN, set()),
    ),
    (
        "RLVR-IFeval",
        {
            **{"messages": [ASKED], "dataset": "ifeval", "constraint_type": "Length", "constraint": "…"},
            "ground_truth": json.dumps(
                {"func_name": "validate_word_constraint", "N": 50, "quantifier": "around", "word": None}
            ),
        },
        (
            "RLVR",
            None,
            ifeval(
                (NUMBER, {"num_words": 45, "relation": "at least"}),
                (NUMBER, {"num_words": 56, "relation": "less than"}),
            ),
            {"constraint_type", "constraint"},
        ),
    ),
    (
        "OpenAI preferences",
        {
            "input": {"messages": [ASKED], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [{**ANSWER, "content": "7."}],
            "non_preferred_output": [BAD],
        },
        ("OpenAI preferences", "7.", None, {"input.parallel_tool_calls", "non_preferred_output"}),
    ),
    (
        "MetaMathQA",
        {"query": "What is 3 + 4?", "response": "7.", "type": "GSM", "original_question": "…"},
        ("prompt and completion", "7.", None, {"type", "original_question"}),
    ),
    (
        "a score beside the answer",
        {"prompt": "What is 3 + 4?", "response": "7.", "reward": 0.9, "tags": "math"},
        ("prompt and completion", "7.", None, {"reward"}),
    ),
]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("name", "row", "expected"), PUBLISHED, ids=[name for name, *_ in PUBLISHED])
def test_a_published_row_has_its_prompt_answer_and_gold(
    name: str, row: dict[str, Any], expected: tuple[str, str | None, Any, set[str]], reverse: bool
) -> None:
    """In any order of fields, and with the nulls that tables add."""
    padded = {**row, "nothing": None, "tool_calls": None}
    given = dict(reversed(padded.items())) if reverse else padded
    read = read_row(json.dumps(given))
    recognised, reference, reward, ignored = expected
    assert [m.content for m in read.row.messages if m.role == "user"] == ["What is 3 + 4?"]
    assert read.row.reference == reference
    reward = {"type": "math", "answer": reward} if isinstance(reward, str) else reward
    assert (read.row.reward and read.row.reward.model_dump()) == reward
    assert (read.format, read.ignored) == (recognised, ignored)


def test_each_field_that_is_read_is_reported_with_its_use() -> None:
    uses = read_row(json.dumps({"question": "3 + 4?", "answer": "It is 7.\n#### 7"})).uses
    assert uses == {"question": ("messages",), "answer": ("reward.math", "reference")}
    uses = read_row(json.dumps({"id": 1, "prompt": "3 + 4?", "chosen": "7.", "source": "x"})).uses
    assert uses == {"id": ("id",), "prompt": ("messages",), "chosen": ("reference",)}


HISTORY = {"instruction": "And 4 + 4?", "input": "", "output": "8.", "history": [["3 + 4?", "7."]], "system": "Brief."}


def test_earlier_turns_are_kept() -> None:
    row = read_row(json.dumps(HISTORY)).row
    assert [(m.role, m.content) for m in row.messages] == [
        ("system", "Brief."),
        ("user", "3 + 4?"),
        ("assistant", "7."),
        ("user", "And 4 + 4?"),
    ]


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"masked": True}, {"loss": "0"}])
def test_an_earlier_turn_keeps_the_mark_that_excludes_it(mark: dict[str, Any]) -> None:
    turns = [ASKED, {**BAD, **mark}, ASKED, {**ANSWER, "weight": 1}]
    read = read_row(json.dumps({"messages": turns}))
    assert [m.weight for m in read.row.messages] == [None, 0, None]
    assert read.ignored == set()
    assert read_row(read.line).row == read.row


TOOL = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
CALL = {"name": "add", "arguments": '{"a": 3, "b": 4}'}
TOOLS = [{"type": "function", "function": TOOL}]
CALLS = [{"id": "c1", "type": "function", "function": CALL}]
WITH_TOOLS = {
    "OpenAI": {
        "messages": [
            ASKED,
            {"role": "assistant", "content": None, "tool_calls": CALLS},
            {"role": "tool", "tool_call_id": "c1", "content": "7"},
            ANSWER,
        ],
        "tools": TOOLS,
    },
    "OpenAI, older": {
        "messages": [
            ASKED,
            {"role": "assistant", "function_call": CALL},
            {"role": "function", "name": "add", "content": "7"},
            ANSWER,
        ],
        "functions": [TOOL],
    },
    "ShareGPT": {
        "conversations": [
            {"from": "human", "value": "What is 3 + 4?"},
            {"from": "function_call", "value": json.dumps(CALL)},
            {"from": "observation", "value": "7"},
            {"from": "gpt", "value": ANSWER["content"]},
        ],
        "tools": json.dumps([TOOL]),
    },
}


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_tools_and_their_calls_are_stored(name: str) -> None:
    read = read_row(json.dumps(WITH_TOOLS[name]))
    assert read.ignored == set()
    assert read.row.reference == ANSWER["content"]
    assert read.row.tools == TOOLS
    _, call, result = read.row.messages
    assert call.tool_calls is not None
    assert call.tool_calls[0]["function"] == CALL
    assert (result.role, result.content) == ("tool", "7")
    assert result.tool_call_id == ("c1" if name == "OpenAI" else None)
    assert read_row(read.line).row == read.row


def test_the_turns_of_a_completion_that_uses_tools_are_kept() -> None:
    turns = WITH_TOOLS["OpenAI"]["messages"]
    preferred = {"input": {"messages": turns[:1], "tools": TOOLS}, "preferred_output": turns[1:]}
    for row in (preferred, {"prompt": turns[:1], "completion": turns[1:], "tools": TOOLS}):
        assert read_row(json.dumps(row)).row == read_row(json.dumps(WITH_TOOLS["OpenAI"])).row


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"input": {"messages": [ASKED]}, "preferred_output": []}, "(`chosen` is read from `preferred_output`)"),
        ({"question": "Why?", "response": ""}, "reference: is empty"),
        ({"messages": [ASKED], "ground_truth": "print(1)", "dataset": "code"}, "?map=ground_truth:reward.exact_match"),
    ],
)
def test_a_reason_has_the_names_of_the_given_row(row: dict[str, Any], expected: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(json.dumps(row))
    assert expected in str(caught.value)


def test_an_empty_column_of_turns_is_no_conversation() -> None:
    assert read_row(json.dumps({"conversations": [], "instruction": "Add.", "output": "7."})).row.reference == "7."


def test_an_answer_that_calls_a_tool_is_refused() -> None:
    turns = [ASKED, {"role": "assistant", "content": "", "tool_calls": CALLS}]
    with pytest.raises(RowError, match=r"messages\.1\.tool_calls: the answer to imitate calls a tool"):
        read_row(json.dumps({"messages": turns, "tools": TOOLS}))


FUNCTIONS = {
    "verify_keywords": ({"keyword_list": ["a"]}, [("keywords:existence", {"keywords": ["a"]})]),
    "verify_bullet_points": ({"N": 3}, [("detectable_format:number_bullet_lists", {"num_bullets": 3})]),
    "validate_title": ({}, [("detectable_format:title", {})]),
    "validate_paragraphs": (
        {"N": 3, "first_word": "so", "i": 2},
        [
            (
                "length_constraints:nth_paragraph_first_word",
                {"num_paragraphs": 3, "first_word": "so", "nth_paragraph": 2},
            )
        ],
    ),
    "verify_sentence_constraint": (
        {"N": 5, "quantifier": "at most"},
        [("length_constraints:number_sentences", {"num_sentences": 6, "relation": "less than"})],
    ),
    "validate_sections": (
        {"N": 2, "section_splitter": "Part"},
        [("detectable_format:multiple_sections", {"num_sections": 2, "section_spliter": "Part"})],
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_the_older_form_is_a_constraint(name: str) -> None:
    arguments, constraints = FUNCTIONS[name]
    padded = {"func_name": name, "original_prompt": None, "options": None, **arguments}
    reward = read_row(json.dumps({"messages": [ASKED], "ground_truth": json.dumps(padded)})).row.reward
    assert reward is not None
    assert reward.model_dump() == ifeval(*constraints)


def test_a_choice_is_compared_with_its_options() -> None:
    truth = {"func_name": "validate_choice", "options": ["red", "blue"]}
    reward = read_row(json.dumps({"messages": [ASKED], "ground_truth": json.dumps(truth)})).row.reward
    assert reward is not None
    assert reward.model_dump() == {"type": "exact_match", "answer": ["red", "blue"], "ignore_case": False}
    bad = json.dumps({"func_name": "validate_word_constraint", "N": 3, "quantifier": "roughly"})
    with pytest.raises(RowError, match="validate_word_constraint lacks a valid argument"):
        read_row(json.dumps({"messages": [ASKED], "ground_truth": bad}))


GUIDE = re.findall(
    r"```json ([^\n]+)\n(.*?)```", (ROOT / "docs" / "bring-your-data.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.mark.parametrize(("name", "row"), GUIDE, ids=[name for name, _ in GUIDE])
def test_the_rows_of_the_guide_are_read_as_it_says(name: str, row: str) -> None:
    read = read_row(json.dumps(json.loads(row)))
    assert read.format == name
    assert read.row.reference or read.row.reward


def test_the_guide_has_ten_sets_with_a_command_each() -> None:
    text = (ROOT / "docs" / "bring-your-data.md").read_text(encoding="utf-8")
    assert len(GUIDE) == len(re.findall(r"    uniapl datasets upload data/sets/\S+ --name", text)) == 10


def test_the_last_box_is_the_value() -> None:
    row = {"problem": "3 + 4?", "solution": "First \\boxed{3}, then \\boxed{\\frac{14}{2}}."}
    reward = read_row(json.dumps(row)).row.reward
    assert reward is not None
    assert reward.model_dump() == {"type": "math", "answer": "\\frac{14}{2}"}


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"input": {"messages": [ASKED]}, "preferred_output": [ANSWER], "prompt": "Another?"}, "prompt"),
        ({"messages": [ASKED], "ground_truth": "7", "data_source": "math", "dataset": "a text of words"}, "dataset"),
        ({"input": {"messages": [ASKED]}, "preferred_output": [ANSWER], "completion": "No."}, "preferred_output"),
    ],
)
def test_a_field_that_another_replaces_is_named(row: dict[str, Any], named: str) -> None:
    assert read_row(json.dumps(row)).ignored == {named}
