"""Rows in other layouts: columns, pairs and texts as turns, content blocks, media, names that occur twice."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from uniapl.spec.importers.rows import Row, RowError, read_row

pytestmark = pytest.mark.unit

Json = dict[str, Any]
ASKED = {"role": "user", "content": "What is 3 + 4?"}
ANSWER = {"role": "assistant", "content": "Seven."}
TALK = [ASKED, ANSWER]
BEFORE = [("system", "Be brief."), ("user", "Hi."), ("assistant", "Hello."), ("user", "What is 3 + 4?")]
ADD = {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}
WORDS = ["Hi.", "Hello.", "What is 3 + 4?", "Seven."]


def read(row: Json) -> Row:
    return read_row(json.dumps(row))


def turns(row: Row) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in row.row.messages]


def refusal(row: Json | str | bytes) -> str:
    with pytest.raises(RowError) as caught:
        read_row(json.dumps(row) if isinstance(row, dict) else row)
    return str(caught.value)


def columns(*names: str) -> Json:
    roles = ["system", "user", "assistant", "user", "assistant"]
    return {names[0]: roles, names[1]: ["Be brief.", *WORDS]}


CONVERSATIONS: dict[str, Json] = {
    "columns of ShareGPT": {"conversations": columns("from", "value")},
    "columns of OpenAI": {"messages": columns("role", "content") | {"weight": [None] * 5}},
    "JSON text": {
        "messages": json.dumps([*({"role": role, "content": text} for role, text in BEFORE), ANSWER]),
    },
    "JSON texts of a list": {
        "messages": [json.dumps({"role": role, "content": text}) for role, text in BEFORE] + [json.dumps(ANSWER)]
    },
    "pairs of Capybara": {
        "conversation": [{"input": "Hi.", "output": "Hello."}, {"input": "What is 3 + 4?", "output": "Seven."}],
        "system": "Be brief.",
    },
    "pairs of XTuner": {
        "conversation": [
            {"system": "Be brief.", "input": "Hi.", "output": "Hello."},
            {"system": "", "input": "What is 3 + 4?", "output": "Seven."},
        ]
    },
    "pairs of MOSS": {
        "conversation": [{"human": "Hi.", "assistant": "Hello."}, {"human": "What is 3 + 4?", "assistant": "Seven."}],
        "system": "Be brief.",
    },
    "texts of LIMA": {"conversations": WORDS, "system": "Be brief."},
    "Gemini": {
        "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": ("user", "model")[place % 2], "parts": [{"text": text}]} for place, text in enumerate(WORDS)
        ],
    },
    "Bedrock": {
        "system": [{"text": "Be "}, {"text": "brief."}],
        "messages": [
            {"role": ("user", "assistant")[place % 2], "content": [{"text": text}]} for place, text in enumerate(WORDS)
        ],
    },
    "Anthropic": {
        "system": [{"type": "text", "text": "Be brief.", "cache_control": None}],
        "messages": [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(WORDS)],
    },
    "Cohere": {
        "messages": [
            {"role": "System", "content": "Be brief."},
            *({"role": ("User", "Chatbot")[place % 2], "message": text} for place, text in enumerate(WORDS)),
        ]
    },
    "LangChain": {
        "messages": [
            {"type": "system", "content": "Be brief."},
            *({"type": ("human", "ai")[place % 2], "data": {"content": text}} for place, text in enumerate(WORDS)),
        ]
    },
    "UltraInteract": {
        "trajectory": [{"from": role, "value": text} for role, text in BEFORE],
        "chosen": "Seven.",
    },
    "one text of Claude 2": {
        "prompt": "Be brief.\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: What is 3 + 4?\n\nAssistant:",
        "completion": " Seven.",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_turns_are_read_from_other_layouts(name: str) -> None:
    found = read(CONVERSATIONS[name])
    assert turns(found) == BEFORE
    assert found.row.reference == "Seven."
    assert read_row(found.line).row == found.row
    assert found.ignored <= {"system"}


def test_a_field_that_the_prompt_contains_is_not_lost() -> None:
    found = read({"prompt": "Translate.\n\nHi.", "instruction": "Translate.", "input": "Hi.", "output": "Hallo."})
    assert found.ignored == {"instruction", "input"}


@pytest.mark.parametrize("encode", [json.dumps, str])
def test_turns_in_a_text_are_turns(encode: Any) -> None:
    for row in (
        {"prompt": encode([ASKED]), "completion": "Seven."},
        {"prompt": encode([ASKED]), "completion": encode([ANSWER])},
        {"chosen": encode(TALK), "rejected": encode(TALK)},
        {"messages": encode(TALK)},
    ):
        found = read(row)
        assert (turns(found), found.row.reference) == ([("user", "What is 3 + 4?")], "Seven.")
    quoted = read({"prompt": encode(["What is 3 + 4?"]), "completion": "{'a': 1}"})
    assert turns(quoted) == [("user", encode(["What is 3 + 4?"]))]


@pytest.mark.parametrize(
    "history",
    [
        [["3 + 4?", "7."], ["", ""]],
        [{"human": "3 + 4?", "assistant": "7."}],
        [{"role": "user", "content": "3 + 4?"}, {"role": "assistant", "content": "7."}],
    ],
)
def test_a_history_may_have_any_layout(history: Any) -> None:
    found = read({"instruction": "And 4 + 4?", "output": "8.", "history": history})
    assert turns(found) == [("user", "3 + 4?"), ("assistant", "7."), ("user", "And 4 + 4?")]


@pytest.mark.parametrize(
    ("content", "text"), [({"sum": 7}, '{"sum": 7}'), ([{"sum": 7}], '[{"sum": 7}]'), (7, "7"), (["7"], "7")]
)
def test_a_tools_result_may_be_any_value(content: Any, text: str) -> None:
    calls = [{"name": "add", "arguments": {"a": 3}}]
    found = read(
        {"messages": [ASKED, {"role": "assistant", "tool_calls": calls}, {"role": "tool", "content": content}, ANSWER]}
    )
    assert turns(found)[-1] == ("tool", text)


def test_a_role_may_be_the_author_and_have_spaces() -> None:
    talk = [{"author": "user", "content": "What is 3 + 4?"}, {"role": " Assistant ", "content": "Seven."}]
    assert read({"messages": talk}).row.reference == "Seven."


def test_further_fields_of_a_pair_are_named() -> None:
    found = read({"conversation": [{"input": "What is 3 + 4?", "output": "Seven.", "score": 3, "note": None}]})
    assert found.ignored == {"conversation[].score"}


def test_a_prompt_of_nectar_is_turns_and_a_chosen_text_may_lack_its_first_newlines() -> None:
    nectar = read({"prompt": "\n\nHuman: What is 3 + 4? \n\nAssistant: ", "source": "a"})
    assert turns(nectar) == [("user", "What is 3 + 4?")]
    found = read({"chosen": "Human: What is 3 + 4?\n\nAssistant: Seven.", "rejected": "Human: Hi.\n\nAssistant: No."})
    assert (turns(found), found.row.reference) == ([("user", "What is 3 + 4?")], "Seven.")


def test_content_blocks_with_tools_are_calls_and_results() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 3, "b": 4}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "7"}]}
    found = read(
        {
            "messages": [
                ASKED,
                {"role": "assistant", "content": [{"type": "text", "text": "I add."}, use]},
                {"role": "user", "content": [result, {"type": "text", "text": "Go on."}]},
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": "7"}, {"type": "text", "text": "7"}],
                },
            ],
            "tools": [{"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}],
        }
    )
    assert turns(found) == [("user", "What is 3 + 4?"), ("assistant", "I add."), ("tool", "7"), ("user", "Go on.")]
    call, answered = found.row.messages[1].tool_calls, found.row.messages[2]
    assert call == [{"type": "function", "id": "t1", "function": {"name": "add", "arguments": {"a": 3, "b": 4}}}]
    assert answered.tool_call_id == "t1"
    assert found.row.tools == [{"type": "function", "function": ADD}]
    assert (found.row.reference, found.ignored) == ("7", {"messages[].content[].thinking"})


def test_tools_may_be_json_texts() -> None:
    assert read({"messages": TALK, "tools": [json.dumps(ADD)]}).row.tools == [{"type": "function", "function": ADD}]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": TALK, "images": ["a.jpg"]}, "images: students read text"),
        ({"query": "<image>What?", "response": "Seven.", "images": ["a.jpg"]}, "images: students read text"),
        ({"prompt": "What?", "completion": "Seven.", "audio": True}, "audio: students read text"),
        ({"question": "What?", "final_answer": ["7"], "image_1": {"path": "a"}}, "image_1: students read text"),
        ({"question": "Which?", "opa": "a", "opb": "b", "cop": 0}, "opa: belongs to the prompt"),
        ({"question": "Write f.", "solutions": "", "starter_code": "def f():"}, "starter_code: belongs to the prompt"),
        ({"question": "Which?", "option_1": "a", "answer": "7"}, "option_1: belongs to the prompt"),
        ({"prompt": "?", "response": "No.", "is_safe": False}, "is_safe: false marks a bad completion"),
        ({"messages": TALK, "resolved": False}, "resolved: false marks a bad completion"),
        (
            {"messages": [ASKED, {**ANSWER, "train_detail": [{"begin_offset": 0, "end_offset": 3, "train": False}]}]},
            "messages.1.train_detail: excludes a part of the answer",
        ),
        ({"messages": [ASKED, {**ANSWER, "prefix": True}]}, "messages.1.prefix: True marks the beginning of an answer"),
        (
            {"conversations": [ASKED, {"from": "assistant", "ground_truth": {"value": "7"}}]},
            "conversations.1: has no `content`, but 'ground_truth'",
        ),
        (
            {"messages": [ASKED, {"role": "tool", "name": "add", "observation": "7"}, ANSWER]},
            "messages.1: has no `content`, but 'observation'",
        ),
        ({"conversations": {"a": 1}, "x": 1}, 'conversations: must be a list, each item a turn {"role": '),
        ({"messages": "Hi."}, 'messages: must be a list, each item a turn {"role": '),
        ({"messages": [7]}, 'messages.0: must be a turn {"role": '),
        ({"messages": [["user", "Hi."]]}, 'messages.0: must be a turn {"role": '),
        ({"id": {"$oid": "a"}, "prompt": "Hi."}, "id: must be a text or a number"),
        ({"id": "x" * 129, "prompt": "Hi."}, "id: has 129 characters, and at most 128 are allowed"),
        (
            {"messages": TALK, "chat_template_kwargs": {"xml_tools": ["{}"], "python_tools": []}},
            "chat_template_kwargs.xml_tools: ",
        ),
        ({"messages": TALK, "chat_template_kwargs": {"custom_instructions": "Rhyme."}}, "kwargs.custom_instructions: "),
        ({"system": {"a": 1}, "messages": TALK}, "system: must be a text"),
        ({"prompt": "?", "response_id": 1, "llm_response": "Seven."}, "llm_response: ignored field"),
        ({"chat": TALK, "source": "x"}, "as in ?map=chat:messages"),
        ({"messages": [ASKED, {**ANSWER, "loss_mask": 0}]}, "messages.1.loss_mask: 0 marks an answer"),
        ({"messages": [ASKED, {**ANSWER, "is_masked": True}]}, "messages.1.is_masked: True marks an answer"),
        ({"messages": TALK, "sample_weight": 0}, "sample_weight: 0 marks an answer"),
        ({"prompt": "What?", "context": "The text.", "completion": "Seven."}, "context: belongs to the prompt"),
        ({"prompt": "What?", "input": "The text.", "output": "Seven."}, "input: belongs to the prompt"),
        ({"instruction": "Translate.", "question": "Hi.", "response": "Seven."}, "question: belongs to the prompt"),
        ({"instruction": "Translate.", "input": {"en": "Hi."}, "output": "Seven."}, "input: belongs to the prompt"),
        ({"messages": [{"role": "user", "content": 7}, ANSWER]}, "messages.0.content: must be a text"),
        ({"messages": [{"role": "user", "content": {"a": "Hi."}}, ANSWER]}, "messages.0.content: must be a text"),
        ({"prompt": "?", "code": "return 7", "test_list": ["assert"]}, "code: ignored field"),
        ({"prompt": "?", "reward": "math"}, "reward: must be an object with a `type`"),
    ],
)
def test_a_row_of_which_a_part_would_be_lost_is_refused(row: Json, expected: str) -> None:
    assert expected in refusal(row)


def test_a_dropped_field_is_named_and_no_reason_to_refuse() -> None:
    found = read({"messages": TALK, "chat_template_kwargs": {"enable_thinking": False, "xml_tools": []}, "images": []})
    assert found.ignored == {"chat_template_kwargs"}
    assert read({"messages": [ASKED, {**ANSWER, "prefix": False}]}).ignored == set()


@pytest.mark.parametrize(
    "line",
    [
        b'{"prompt": "a", "prompt": "b", "completion": "c"}',
        b'{"messages": [{"role": "user", "content": "a"}], "prompt": "c", "reference": "b", "prompt": "c"}',
        b'{"messages": [{"role": "user", "content": "a", "content": "b"}], "reference": "c"}',
    ],
)
def test_a_name_that_occurs_twice_in_an_object_is_refused(line: bytes) -> None:
    assert "occurs twice in one object; remove one of its values" in refusal(line)


def test_the_numbers_that_pandas_writes_for_missing_values_are_absent() -> None:
    line = '{"id": NaN, "system": NaN, "label": NaN, "answer": NaN, "prompt": "Hi.", "completion": "Hello."}'
    found = read_row(line)
    assert (found.row.id, found.row.reference, found.ignored) == (None, "Hello.", set())
    found = read_row('{"messages": [{"role": "user", "content": "Hi.", "weight": NaN}], "reference": NaN}')
    assert found.row.reference is None


@pytest.mark.parametrize(("given", "kept"), [("", None), (3.0, "3.0"), (10**30, str(10**30)), (0, "0")])
def test_ids_of_tables_are_texts(given: Any, kept: str | None) -> None:
    assert read({"id": given, "prompt": "Hi.", "completion": "Hello."}).row.id == kept


@pytest.mark.parametrize(("given", "kept"), [([1, "b"], ["1", "b"]), ("a", ["a"]), ({"a": 1}, None)])
def test_tags_of_other_tools_are_texts_or_named(given: Any, kept: list[str] | None) -> None:
    found = read({"tags": given, "prompt": "Hi.", "completion": "Hello."})
    assert found.row.tags == (kept or [])
    assert found.ignored == (set() if kept else {"tags"})


@pytest.mark.parametrize(
    "text", ["\n\nHuman: Hi." * 50_000, "\n\n" * 300_000 + "x", "[{'" * 100_000, "[" * 400_000, "{'a': " * 15_000]
)
def test_no_text_takes_long(text: str) -> None:
    started = time.process_time()
    assert read({"prompt": text, "completion": "Seven."}).row.reference == "Seven."
    assert time.process_time() - started < 2
