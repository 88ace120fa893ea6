"""Conversion of rows with the fields of TRL, IF-RLVR and IFEval, and errors of invalid rows."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from uniapl.data.encoding import load_rows
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.importers.rows import RowError, parse_row

pytestmark = pytest.mark.unit

QUESTION = {"role": "user", "content": "What color is the sky?"}
SYSTEM = {"role": "system", "content": "Be brief."}
ANSWER = {"role": "assistant", "content": "Blue."}
ASKED = {"messages": [QUESTION]}
ANSWERED = {"messages": [QUESTION], "reference": "Blue."}
NO_COMMA = {"type": "ifeval", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
BULLETS = {
    "type": "ifeval",
    "instruction_id_list": ["detectable_format:number_bullet_lists", "punctuation:no_comma"],
    "kwargs": [{"num_bullets": 3}, {}],
}
CONSTRAINTS = [
    {"instruction_id": BULLETS["instruction_id_list"], "kwargs": [{"num_bullets": 3, "keyword": None}, None]}
]

TRL = [
    ({"prompt": "What color is the sky?"}, ASKED),
    ({"prompt": "What color is the sky?", "completion": " Blue."}, ANSWERED),
    ({"prompt": [QUESTION], "completion": [ANSWER]}, ANSWERED),
    ({"prompt": [SYSTEM, QUESTION], "completion": [ANSWER]}, ANSWERED | {"messages": [SYSTEM, QUESTION]}),
    ({"prompt": "What color is the sky?", "chosen": "Blue.", "rejected": "Green."}, ANSWERED),
    ({"prompt": [QUESTION], "chosen": [ANSWER], "rejected": [{"role": "assistant", "content": "Green."}]}, ANSWERED),
    ({"chosen": [QUESTION, ANSWER], "rejected": [QUESTION, {"role": "assistant", "content": "Green."}]}, ANSWERED),
    ({"messages": [QUESTION, ANSWER]}, ANSWERED),
    ({"messages": [QUESTION, ANSWER], "source": "somewhere"}, ANSWERED),
    (
        {"messages": [SYSTEM, QUESTION, ANSWER, QUESTION, ANSWER]},
        ANSWERED | {"messages": [SYSTEM, QUESTION, ANSWER, QUESTION]},
    ),
    ({"prompt": [QUESTION, ANSWER]}, ANSWERED),
    ({"prompt": "What color is the sky?", "completion": "Blue.", "label": True}, ANSWERED),
    ({"prompt": "What color is the sky?", "completion": None}, ASKED),
    (
        {"id": "7", "tags": ["a"], "prompt": [QUESTION], "reward": NO_COMMA},
        ASKED | {"id": "7", "tags": ["a"], "reward": NO_COMMA},
    ),
]
IF_RLVR = [
    ({"messages": [QUESTION], "ground_truth": json.dumps(CONSTRAINTS)}, ASKED | {"reward": BULLETS}),
    ({"messages": [QUESTION], "ground_truth": repr(CONSTRAINTS)}, ASKED | {"reward": BULLETS}),
    ({"messages": [QUESTION], "ground_truth": CONSTRAINTS}, ASKED | {"reward": BULLETS}),
    ({"messages": [QUESTION], "ground_truth": CONSTRAINTS[0]}, ASKED | {"reward": BULLETS}),
    ({"messages": [QUESTION], "ground_truth": repr([json.dumps(CONSTRAINTS[0])])}, ASKED | {"reward": BULLETS}),
    (
        {
            "key": "k1",
            "messages": [QUESTION],
            "ground_truth": repr(CONSTRAINTS),
            "dataset": "ifeval",
            "constraint": "…",
        },
        ASKED | {"id": "k1", "reward": BULLETS},
    ),
    ({"messages": [QUESTION, ANSWER], "ground_truth": repr(CONSTRAINTS)}, ANSWERED | {"reward": BULLETS}),
    (
        {"messages": [QUESTION], "ground_truth": repr([{"instruction_id": ["punctuation:no_comma"], "kwargs": None}])},
        ASKED | {"reward": NO_COMMA},
    ),
]
IFEVAL = [
    (
        {"key": 1000, "prompt": QUESTION["content"], "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        ASKED | {"id": "1000", "reward": NO_COMMA},
    ),
    (
        {
            "key": 1001,
            "prompt": QUESTION["content"],
            "instruction_id_list": BULLETS["instruction_id_list"],
            "kwargs": [{"num_bullets": 3, "num_words": None}, {"num_bullets": None, "num_words": None}],
        },
        ASKED | {"id": "1001", "reward": BULLETS},
    ),
    (
        {
            "prompt": QUESTION["content"],
            "instruction_id_list": ["punctuation:no_comma"],
            "kwargs": "[{}]",
            "completion": "Blue.",
        },
        ANSWERED | {"reward": NO_COMMA},
    ),
]


@pytest.mark.parametrize(("given", "meant"), TRL + IF_RLVR + IFEVAL)
def test_a_row_of_another_tool_is_the_row_that_it_means(given: dict[str, Any], meant: dict[str, Any]) -> None:
    row, line = parse_row(json.dumps(given))
    assert row == DatasetRow.model_validate(meant)
    assert json.loads(line) == meant
    assert parse_row(line) == (row, line)


def test_a_row_of_ours_is_kept_to_the_byte() -> None:
    line = b'{ "messages":[{"role":"user", "content":"\\u00fc"}] }'
    assert parse_row(line)[1] == line


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"text": "The sky is blue."}, "unknown fields 'text'; use `messages` with"),
        ({"completion": "Blue."}, "unknown fields 'completion'; use"),
        ({}, "unknown fields (none); use"),
        ({"messages": [QUESTION], "refernce": "Blue."}, "refernce"),
        ({"messages": [QUESTION, ANSWER], "reference": "Blue."}, "the last turn must have role 'user'"),
        ({"messages": [ANSWER]}, "the last turn must have role 'user'"),
        ({"messages": []}, "messages: List should have at least 1 item"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages: no turn has role 'user'"),
        ({"messages": [{"role": "critic", "content": "x"}]}, "messages.0.role: "),
        ({"messages": [QUESTION, {"role": "assistant"}]}, "reference: is empty; write the answer"),
        ({"prompt": 7}, "messages: Input should be a valid list"),
        ({"prompt": ""}, "messages.0.content: is empty; write the turn's text"),
        ({"prompt": "?", "completion": [ANSWER, QUESTION]}, "completion: must be a text, a list of one assistant turn"),
        ({"prompt": "?", "completion": 7}, "completion: must be a text"),
        ({"prompt": "?", "completion": "Green.", "label": False}, "label: false marks a bad completion"),
        ({"messages": [QUESTION], "ground_truth": "42"}, "ground_truth: must be a list of"),
        (
            {"messages": [QUESTION], "ground_truth": "{'func_name': 'validate'}"},
            "ground_truth.func_name: ",
        ),
        ({"messages": [QUESTION], "ground_truth": "__import__('os')"}, "ground_truth: is neither JSON nor"),
        ({"messages": [QUESTION], "ground_truth": "[" * 100_001}, "longer than 100000 characters"),
        ({"prompt": "?", "instruction_id_list": ["punctuation:no_comma"], "kwargs": 3}, "kwargs: must be a list"),
        ({"prompt": "?", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [3]}, "kwargs.0: Input should be"),
        ({"prompt": "?", "instruction_id_list": ["count:paragraph_range"], "kwargs": [{}]}, "unknown constraint"),
        (
            {"prompt": "?", "instruction_id_list": "no", "kwargs": [{}]},
            "instruction_id_list: Input should be a valid list",
        ),
        ([], "Input should be an object"),
        ("row", "Input should be an object"),
    ],
)
def test_what_is_no_row_is_refused_with_its_reason(given: Any, expected: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_row(json.dumps(given))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "-" * 60_000 + "1",
            "1+" * 30_000 + "1",
            "[" * 30_000,
            "not " * 15_000 + "1",
            "a." * 30_000 + "a",
            "9" * 60_000,
        ),
        *("(" * 50_000, "1if 1else " * 6000 + "1", "{" * 50_000, "lambda:" * 9000 + "1", "f'{" * 20_000, "1,\x00"),
    ],
)
def test_no_literal_breaks_its_reader(text: str) -> None:
    """In a thread, as the API reads rows: its stack is smaller."""
    found: list[BaseException] = []

    def read() -> None:
        try:
            parse_row(json.dumps({"messages": [QUESTION], "ground_truth": text}))
        except BaseException as error:  # noqa: BLE001  (looked at below)
            found.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    (error,) = found
    assert isinstance(error, RowError)
    assert "ground_truth: " in str(error)


@pytest.mark.parametrize(
    "line",
    [
        b"{" * 100_000,
        b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"prompt": ' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}",
        b'{"prompt": "?", "kwargs": ' + b"9" * 5000 + b"}",
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "\xff"}',
        b'{"prompt": "a\\u0000b"}',
        b"\x00\x01\x02",
        b"{'prompt': 'python'}",
        b"nonsense",
    ],
)
def test_no_line_breaks_its_reader(line: bytes) -> None:
    with pytest.raises(RowError):
        parse_row(line)


@pytest.mark.parametrize("depth", [5, 60, 150])
def test_a_deep_schema_is_read_or_refused(depth: int) -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        schema = {"items": schema}
    reward = {"type": "json_schema", "json_schema": schema}
    assert parse_row(json.dumps({"messages": [QUESTION], "reward": reward}))[0].reward is not None


def test_training_on_a_path_reads_the_same_fields(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    cases = TRL + IF_RLVR + IFEVAL
    path.write_text("\n".join(json.dumps(given) for given, _ in cases))
    assert load_rows(path) == [DatasetRow.model_validate(meant) for _, meant in cases]


def test_the_bundled_rows_are_kept_as_they_are() -> None:
    lines = (ROOT / "examples" / "data" / "train.jsonl").read_bytes().splitlines()
    assert [parse_row(line)[1] for line in lines] == lines
