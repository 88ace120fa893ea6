"""Other tools' rows are kept with their meaning or refused by name; nothing that they hold is lost unnamed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniapl.run.config import RunConfig
from uniapl.run.reporter import Reporter
from uniapl.spec.importers.fields import MAX_NAMES, OTHERS, IgnoredFields
from uniapl.spec.importers.marks import ANSWERS
from uniapl.spec.importers.rows import FIELDS, RowError, parse_row, read_row
from uniapl.spec.importers.shapes import GOLDS
from uniapl.training.rows import load_dataset

pytestmark = pytest.mark.integration

ASKED = {"role": "user", "content": "What is 3 + 4?"}
ANSWER = {"role": "assistant", "content": "7."}
TALK = [ASKED, ANSWER]
PROMPT = {"prompt": [ASKED]}
CALL = [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}]
SEVEN = {"type": "math", "answer": "7"}

KEPT = [
    ({"prompt": "What is 3 + 4?", "chosen": TALK, "rejected": TALK, "messages": TALK}, "7.", None, {"rejected"}),
    ({"prompt": "What is 3 + 4?", "prompt_id": "p", "messages": TALK}, "7.", None, {"prompt_id"}),
    ({"prompt": "What is 3 + 4? ", "messages": [*TALK, ASKED, ANSWER]}, "7.", None, set()),
    ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "7."}]}, "7.", None, set()),
    ({"system": "Be brief.", "conversations": [{"from": "user", "value": "Hi"}, ANSWER]}, "7.", None, set()),
    ({"instruction": "Add.", "input": "3 + 4", "output": "7.", "text": "Add. 7."}, "7.", None, {"text"}),
    ({"instruction": "Add.", "context": "", "response": "7.", "category": "qa"}, "7.", None, {"category"}),
    ({"question": "3 + 4?", "answer": "It is <<3+4=7>>7.\n#### 7"}, "It is <<3+4=7>>7.\n#### 7", SEVEN, set()),
    ({"messages": [ASKED], "ground_truth": "7", "dataset": "gsm8k"}, None, SEVEN, set()),
    ({"messages": [ASKED], "ground_truth": ["7"], "dataset": ["MATH"]}, None, SEVEN, set()),
    ({"messages": [ASKED], "ground_truth": 7, "dataset": "math", "x": 1}, None, SEVEN, {"x"}),
    (
        {
            "data_source": "math_dapo",
            **PROMPT,
            "reward_model": {"ground_truth": "7", "style": "rule"},
            "extra_info": {},
        },
        None,
        SEVEN,
        {"reward_model.style"},
    ),
    ({"messages": [{**ASKED, "name": "ann"}, {**ANSWER, "weight": 1}]}, "7.", None, {"messages[].name"}),
    (
        {"messages": [ASKED, {**ANSWER, "weight": 0}, ASKED, {**ANSWER, "weight": 1}]},
        "7.",
        None,
        set(),
    ),
    ({"messages": [{"role": "developer", "content": "Be brief."}, *TALK]}, "7.", None, set()),
    ({"messages": [{"role": "system", "content": ""}, *TALK]}, "7.", None, {"messages[]"}),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, ANSWER]}, "7.", None, set()),
    ({"messages": [ASKED, {**ANSWER, "tool_calls": None, "refusal": None}], "tools": []}, "7.", None, set()),
    (
        {"messages": [ASKED, {**ANSWER, "reasoning_content": "3 and 4"}]},
        "7.",
        None,
        {"messages[].reasoning_content"},
    ),
    (
        {
            "input": {"messages": [ASKED], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [ANSWER],
            "non_preferred_output": [ANSWER],
        },
        "7.",
        None,
        {"input.parallel_tool_calls", "non_preferred_output"},
    ),
    ({"id": 3, "prompt": "Hi", "completion": "7.", "label": 1}, "7.", None, set()),
    ({"messages": [ASKED], "reference": "7.", "source": "here", "rejected": "8."}, "7.", None, {"source", "rejected"}),
    ({"prompt": "Hi", "reference": "7.", "completion": "8."}, "7.", None, {"completion"}),
    (
        {"messages": [ASKED], "reward": SEVEN, "ground_truth": "7", "answer": "7"},
        None,
        SEVEN,
        {"answer", "ground_truth"},
    ),
    ({"prompt": "Hi", "difficulty": "hard"}, None, None, {"difficulty"}),
]


@pytest.mark.parametrize(("row", "reference", "reward", "ignored"), KEPT)
def test_a_row_is_kept_with_its_meaning_and_what_is_not_read_is_named(
    row: dict[str, Any], reference: str | None, reward: Any, ignored: set[str]
) -> None:
    read = read_row(json.dumps(row))
    assert read.row.reference == reference
    assert (read.row.reward and read.row.reward.model_dump()) == reward
    assert read.ignored == ignored
    assert parse_row(read.line) == (read.row, read.line)


def test_what_is_put_into_other_words_is_all_there() -> None:
    def first(row: dict[str, Any]) -> list[tuple[str, str]]:
        return [(m.role, m.content) for m in parse_row(json.dumps(row))[0].messages]

    assert first({"instruction": "Add.", "input": "3 + 4", "output": "7."}) == [("user", "Add.\n\n3 + 4")]
    assert first({"system": "S", "conversations": [{"from": "human", "value": "Hi"}, ANSWER]})[0] == ("system", "S")
    assert first({"messages": [{"role": "developer", "content": "D"}, *TALK]})[0] == ("system", "D")
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert first({"messages": [{"role": "user", "content": parts}, ANSWER]}) == [("user", "ab")]
    assert parse_row(json.dumps({"id": 3, "prompt": "Hi"}))[0].id == "3"


@pytest.mark.parametrize(
    "mark", [{"weight": 0}, {"weight": "0"}, {"weight": 0.0}, {"weight": False}, {"weight": "0.0"}]
)
@pytest.mark.parametrize("row", [{"messages": "LAST"}, {**PROMPT, "completion": "ONE"}, {"chosen": "LAST"}])
def test_an_answer_of_weight_0_is_refused(row: dict[str, Any], mark: dict[str, Any]) -> None:
    turns = {"LAST": [ASKED, {**ANSWER, **mark}], "ONE": [{**ANSWER, **mark}]}
    with pytest.raises(RowError, match=r"\.weight: .* must not be imitated"):
        parse_row(json.dumps({name: turns.get(str(value), value) for name, value in row.items()}))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": [ASKED, {**ANSWER, "train": False}]}, "messages.1.train: False marks"),
        ({"messages": [ASKED, {**ANSWER, "train_on_turn": "false"}]}, "messages.1.train_on_turn: 'false' marks"),
        ({"messages": [ASKED, {**ANSWER, "masked": True}]}, "messages.1.masked: True marks"),
        ({"messages": [ASKED, {**ANSWER, "weight": 0.5}]}, "messages.1.weight: 0.5 is neither 0 nor 1"),
        ({"messages": TALK, "train": False}, "train: False marks"),
        ({"messages": TALK, "masked": True}, "masked: True marks"),
        *(
            ({"prompt": "?", "completion": "8.", "label": label}, "marks a bad completion")
            for label in (0, 0.0, "false", "False", "0", -1)
        ),
        ({"prompt": "?", "completion": "8.", "label": "bad"}, "label: 'bad' is neither true nor false"),
        *(
            ({**PROMPT, "completion": [{"role": role, "content": "x"}]}, "completion.0.role: ")
            for role in ("user", "system", "tool", "function", "developer")
        ),
        ({**PROMPT, "completion": [{"content": "x"}]}, "completion.0.role: must be 'assistant', not None"),
        ({**PROMPT, "chosen": [{"role": "user", "content": "x"}]}, "chosen.0.role: must be 'assistant', not 'user'"),
        ({"chosen": [ASKED, ANSWER, ASKED], "rejected": TALK}, "chosen: must be"),
        ({**PROMPT, "chosen": [{"role": "user", "content": "Another?"}, ANSWER]}, "chosen: must be"),
        ({"prompt": "Another?", "messages": TALK}, "prompt: does not occur in messages"),
        ({"messages": [ASKED, {**ANSWER, "tool_calls": CALL}]}, "messages.1.tool_calls: "),
        ({"messages": [ASKED, {**ANSWER, "content": None, "tool_calls": CALL}]}, "messages.1.tool_calls: "),
        ({"messages": [ASKED, {**ANSWER, "function_call": CALL[0]}]}, "messages.1.tool_calls: the answer"),
        ({**PROMPT, "completion": [{"role": "assistant", "tool_calls": CALL}]}, "completion.0.tool_calls: "),
        ({"messages": TALK, "tools": [{"type": "function"}]}, "tools.0: must be"),
        ({"messages": TALK, "tools": "search the web"}, "tools: 'search the web' is not JSON"),
        ({"messages": [{**ASKED, "tool_calls": CALL}, ANSWER]}, "messages.0.role: 'user' cannot call tools"),
        ({"messages": [{"speaker": "ann", "text": "Hi"}, ANSWER]}, "messages.0: has the fields 'speaker', 'text'"),
        ({"messages": [ASKED, {"role": "assistant", "content": None}]}, "reference: "),
        ({"messages": [ASKED, {"role": "assistant", "refusal": "No."}]}, "messages.1.refusal: "),
        ({"messages": [ASKED, {"role": "assistant", "content": [{"type": "image_url"}]}]}, "messages.1.content: "),
        ({"messages": [ASKED], "reference": " \n\t"}, "reference: is blank"),
        ({"messages": [ASKED], "reference": "\u200b\u00a0"}, "reference: is blank"),
        ({"instruction": "Add.", "output": " "}, "reference: "),
        ({"prompt": "?", "completion": "\n"}, "reference: "),
        ({"instruction": "Add.", "output": "7.", "history": ["a", "b"]}, "history: must be a list of pairs"),
        ({"question": "Who?", "answer": "Ada Lovelace"}, "answer: ignored field"),
        ({"question": "Who?", "answer": True}, "answer: ignored field"),
        ({"problem": "Prove it.", "solution": "It is clear."}, "solution: ignored field"),
        ({**PROMPT, "solution": "Add them."}, "map it with ?map=solution:reference"),
        ({"question": "Which?", "choices": ["a", "b"], "answer": 1}, "choices: belongs to the prompt"),
        ({**PROMPT, "options": ["a", "b"], "answer": "B"}, "options: belongs to the prompt"),
        ({"question": "When?", "context": "In 1066.", "answers": {"text": ["1066"]}}, "context: belongs"),
        ({"instruction": "Add.", "output": "8.", "kto_tag": False}, "kto_tag: false marks a bad completion"),
        ({"conversations": TALK, "kto_tag": "false"}, "kto_tag: false marks"),
        ({"question": "?", "response": "8.", "is_correct": False}, "is_correct: false marks"),
        ({**PROMPT, "reward_model": {"ground_truth": "7"}}, "reward_model.ground_truth: must be"),
        ({**PROMPT, "reward_model": {"style": "model"}}, "reward_model: ignored field"),
        ({"messages": [ASKED], "reference_answer": "7"}, "reference_answer: "),
        ({"messages": [ASKED], "label": 1}, "label: ignored field"),
        (
            {"messages": [ASKED], "ground_truth": ["7", "8"], "dataset": "math"},
            "ground_truth: must be one mathematical value",
        ),
        ({"messages": [ASKED], "ground_truth": "7", "dataset": "code"}, "ground_truth: must be a list"),
        ({"messages": [ASKED], "rewrad": SEVEN}, "rename it to `reward`"),
        ({"prompt": 7, "completion": "7."}, "messages: Input should be a valid list"),
        ({**PROMPT, "completion": "7.", "label": 10**400}, "is neither true nor false"),
    ],
)
def test_a_row_whose_answer_must_not_be_imitated_or_would_be_lost_is_refused(
    row: dict[str, Any], expected: str
) -> None:
    with pytest.raises(RowError) as caught:
        parse_row(json.dumps(row))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("answer", "solution", "ground_truth", "label", "output", "response", "gold", "target", "reward_model"),
        *("rejected", "Answer", "final_answer", "correct_option", "groundTruth", "expected_output", "gt"),
    ],
)
@pytest.mark.parametrize("value", ["7", 7, ["7"], {"value": "7"}, True])
def test_no_field_that_looks_like_an_answer_leaves_a_prompt_alone(name: str, value: Any) -> None:
    if name in GOLDS and value in ("7", 7, ["7"]) and value is not True:
        reward = parse_row(json.dumps({"messages": [ASKED], name: value}))[0].reward
        assert reward is not None
        assert reward.model_dump() == SEVEN
        return
    with pytest.raises(RowError, match=rf"^{name}\b"):
        parse_row(json.dumps({"messages": [ASKED], name: value}))


def texts(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {text for inner in value.values() for text in texts(inner)}
    if isinstance(value, list):
        return {text for inner in value for text in texts(inner)}
    return {value} if isinstance(value, str) and value.startswith("T") else set()


@st.composite
def rows_of_any_tool(draw: st.DrawFn) -> dict[str, Any]:
    """Rows whose every text is another, with fields that many tools have and some that none has."""
    number = 0

    def text() -> str:
        nonlocal number
        number += 1
        return f"T{number}{draw(st.sampled_from(['', ' #### 7']))}"

    def turns() -> list[dict[str, Any]]:
        roles = draw(st.sampled_from([["user"], ["assistant"], ["user", "assistant"], ["system", "user", "assistant"]]))
        extra = draw(st.sampled_from(["name", "weight", "thought"]))
        is_sharegpt = draw(st.booleans())
        made = [{"from": r, "value": text()} if is_sharegpt else {"role": r, "content": text()} for r in roles]
        return [turn | ({extra: text()} if draw(st.integers(0, 5)) == 0 else {}) for turn in made]

    names = draw(st.lists(st.sampled_from([*FIELDS, "problem", "solution", "rejected", "note", "gold"]), max_size=6))
    main = draw(st.sampled_from(["messages", "prompt", "conversations", "instruction", "question"]))
    values: dict[str, Any] = {}
    for name in [main, *names]:
        kind = draw(st.sampled_from(["text", "turns"] + ["object"] * (name not in (*ANSWERS, "prompt"))))
        values[name] = text() if kind == "text" else turns() if kind == "turns" else {"ground_truth": text()}
    if draw(st.booleans()) and isinstance(values.get("prompt"), list):
        values["chosen"] = [*values["prompt"], {"role": "assistant", "content": text()}]
    return values


@settings(max_examples=400)
@given(rows_of_any_tool())
def test_no_text_of_an_accepted_row_is_lost_unnamed(row: dict[str, Any]) -> None:
    try:
        read = read_row(json.dumps(row))
    except RowError:
        return
    kept = read.line.decode()
    for name, value in row.items():
        lost = {text for text in texts(value) if json.dumps(text)[1:-1] not in kept}
        named = any(path == name or path.startswith((f"{name}.", f"{name}[")) for path in read.ignored)
        assert not lost or named, (name, lost, read.ignored)


def test_names_are_counted_by_rows_and_bounded() -> None:
    counted = IgnoredFields()
    counted.add(["a", "b"])
    counted.add(["a"])
    assert counted.rows == {"a": 2, "b": 1}
    for number in range(MAX_NAMES):
        counted.add([f"field {number}", f"other {number}"])
    counted.add(["x" * 1000])
    assert len(counted.rows) == MAX_NAMES + 1
    assert counted.rows["a"] == 2
    assert counted.rows[OTHERS] == MAX_NAMES // 2 + 2
    assert max(map(len, counted.rows)) <= 100


def test_training_on_a_path_names_what_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": [{**ASKED, "name": "ann"}, ANSWER], "source": "x"}))
    spec = {"student": "s", "dataset_mix": [{"dataset": "d"}]}
    datasets = {"d": str(tmp_path / "rows.jsonl")}
    run = RunConfig.model_validate({"spec": spec, "run_dir": str(tmp_path), "datasets": datasets})
    with Reporter(tmp_path / "reports.jsonl") as reporter:
        assert len(load_dataset(run, "d", reporter)) == 1
    (event,) = [json.loads(line) for line in (tmp_path / "reports.jsonl").read_text().splitlines()]
    assert event["data"] == {"dataset": "d", "ignored_fields": {"messages[].name": 1, "source": 1}}


def test_the_elements_of_a_gold_stay_apart_and_its_thousands_do_not() -> None:
    golds = {"(1, 2)": "(1, 2)", "1,234,567": "1234567", "{1,2,3}": "{1,2,3}"}
    for written, read in golds.items():
        reward = parse_row(json.dumps({"question": "q", "answer": f"The value is\n#### {written}"}))[0].reward
        assert reward is not None
        assert reward.model_dump()["answer"] == read
