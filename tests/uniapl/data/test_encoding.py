"""Token encoding of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uniapl.data.encoding import encode_row, encode_rows, load_rows
from uniapl.errors import DatasetError, ModelError
from uniapl.model.policy import Policy, with_chat_template
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.training import DataOptions

pytestmark = pytest.mark.integration


def row(content: str = "Say hello.", reference: str | None = "Hello!") -> DatasetRow:
    return DatasetRow.model_validate({"messages": [{"role": "user", "content": content}], "reference": reference})


def write(folder: Path, *rows: DatasetRow) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(r.model_dump_json() for r in rows))
    return path


def test_the_prompt_is_the_chat_templates_and_the_reference_ends_with_the_end_token(policy: Policy) -> None:
    encoded = encode_row(row(), 4, policy, policy.end_of_turn)
    assert encoded.id == "row-4"
    text = policy.tokenizer.decode(encoded.prompt_ids)
    assert text.endswith("<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n")
    assert encoded.reference_ids is not None
    assert policy.tokenizer.decode(encoded.reference_ids[-1]) == "<|im_end|>"
    assert policy.text(encoded.reference_ids) == "Hello!"


def test_a_line_ends_at_a_newline_and_nowhere_else(tmp_path: Path) -> None:
    odd = "one\u2028two\u0085three\x0bfour"
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": odd}]}, ensure_ascii=False) + "\n", encoding="utf-8-sig"
    )
    assert [r.messages[0].content for r in load_rows(tmp_path / "rows.jsonl")] == [odd]


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, row(), row())
    path.write_text(path.read_text() + '\n{"messages": []}')
    with pytest.raises(DatasetError, match=r"rows\.jsonl line 3: messages: "):
        load_rows(path)


def test_rows_beyond_the_limits_are_left_out_and_named(tmp_path: Path, policy: Policy) -> None:
    path = write(tmp_path, row(), row(content="word " * 200), row(reference="word " * 50), row(reference=None))
    usable, left_out = encode_rows(
        load_rows(path), path.name, policy, DataOptions(max_prompt_tokens=100, max_reference_tokens=20)
    )
    assert [r.id for r in usable] == ["row-0", "row-3"]
    assert left_out == ["row-1", "row-2"]


def test_a_student_without_chat_template_is_refused(tmp_path: Path, policy: Policy) -> None:
    policy.tokenizer.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        encode_rows([row()], "rows", policy, DataOptions())


def test_the_reference_ends_as_the_template_ends_a_turn(policy: Policy) -> None:
    # as in Gemma: the turn ends with a token of its own, which generation stops at, and eos is another
    policy.tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<jupyter_start>\\n' }}{% endfor %}"
    )
    end = policy.tokenizer.convert_tokens_to_ids("<jupyter_start>")
    assert policy.end_of_turn == end  # also where it is not declared
    policy.model.generation_config.eos_token_id = [policy.tokenizer.eos_token_id, end]
    assert policy.end_of_turn == end


def test_templates_get_enable_thinking_false(policy: Policy) -> None:
    policy.tokenizer.chat_template = "{{ messages[0]['content'] }}{% if not enable_thinking %} /plain{% endif %}"
    encoded = encode_row(row(reference=None), 0, policy, policy.end_of_turn)
    assert policy.text(encoded.prompt_ids) == "Say hello. /plain"


def test_turns_that_the_template_rejects_are_a_dataset_error(tmp_path: Path, policy: Policy) -> None:
    policy.tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        "{{ messages[-1]['content'] }}"
    )
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    path = write(tmp_path, row(reference=None), DatasetRow.model_validate({"id": "sys-1", "messages": turns}))
    with pytest.raises(DatasetError, match=r"row sys-1: .*no system turn"):
        encode_rows(load_rows(path), path.name, policy, DataOptions())


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"messages": "\xff"}')
    with pytest.raises(DatasetError, match="not UTF-8 at byte 14"):
        load_rows(tmp_path / "rows.jsonl")


def test_a_base_student_needs_a_template_and_accepts_one(policy: Policy) -> None:
    policy.tokenizer.chat_template = None
    rows = [DatasetRow.model_validate({"messages": [{"role": "user", "content": "Hi"}], "reference": "Yo"})]
    with pytest.raises(ModelError, match="base model") as caught:
        encode_rows(rows, "d", policy, DataOptions())
    assert caught.value.param == "data.chat_template"
    usable, _ = encode_rows(rows, "d", with_chat_template(policy, "plain"), DataOptions())
    assert policy.text(usable[0].prompt_ids) == "Hi\n\n"
    assert usable[0].reference_ids is not None
    assert usable[0].reference_ids[-1] == policy.tokenizer.eos_token_id


def test_a_broken_template_is_refused(policy: Policy) -> None:
    rows = [DatasetRow.model_validate({"messages": [{"role": "user", "content": "Hi"}]})]
    with pytest.raises(ModelError, match="template is broken"):
        encode_rows(rows, "d", with_chat_template(policy, "{% for %}"), DataOptions())


@pytest.mark.parametrize(
    ("template", "says"),
    [("{{ 1 / 0 }}", "division"), ("{{ messages + 1 }}", "chat template"), ("{# nothing #}", "an empty prompt")],
)
def test_a_template_that_fails_or_renders_nothing_is_refused(policy: Policy, template: str, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        encode_rows([row()], "d", with_chat_template(policy, template), DataOptions())
    assert caught.value.param == "data.chat_template"


def test_a_template_that_opens_the_reasoning_is_noticed(policy: Policy) -> None:
    opened = "{{ messages[0]['content'] }}{% if add_generation_prompt %}<think>{% endif %}"
    rows = [row(reference=None)]
    usable, _ = encode_rows(rows, "d", with_chat_template(policy, opened), DataOptions())
    assert usable[0].thinks
    assert usable[0].answer("so") == "<think>so"
    usable, _ = encode_rows(rows, "d", with_chat_template(policy, opened + "</think>"), DataOptions())
    assert not usable[0].thinks


def test_a_reference_that_no_term_reads_may_be_long(policy: Policy) -> None:
    rows, options = [row(reference="word " * 50)], DataOptions(max_reference_tokens=10)
    with pytest.raises(DatasetError):
        encode_rows(rows, "d", policy, options)
    usable, left_out = encode_rows(rows, "d", policy, options, references=False)
    assert (len(usable), left_out) == (1, [])


TOOL_TEMPLATE = (
    "{% for tool in tools or [] %}<{{ tool.function.name }}>{% endfor %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ call.function.name }}({{ call.function.arguments.a }}){% endfor %}; "
    "{% endfor %}"
)


def tool_row() -> DatasetRow:
    call = {"type": "function", "function": {"name": "add", "arguments": '{"a": 3}'}}
    turns = [
        {"role": "user", "content": "3 + 4?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "7"},
    ]
    tools = [{"type": "function", "function": {"name": "add"}}]
    return DatasetRow.model_validate({"messages": turns, "tools": tools, "reference": "Seven."})


def test_tools_and_their_calls_are_rendered_by_the_template(policy: Policy) -> None:
    encoded = encode_row(tool_row(), 0, with_chat_template(policy, TOOL_TEMPLATE), policy.end_of_turn)
    text = policy.tokenizer.decode(encoded.prompt_ids)
    assert text == "<add>user: 3 + 4?; assistant: add(3); tool: 7; "


@pytest.mark.parametrize(
    ("template", "lost"),
    [
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "'add'"),
        ("{% if tools %}{{ tools[0].function.name }}{% endif %}{{ messages[0].content }}", "'7'"),
    ],
)
def test_a_template_that_leaves_tools_out_is_refused(policy: Policy, template: str, lost: str) -> None:
    with pytest.raises(DatasetError, match=f"row-0: the student's chat template does not render {lost}"):
        encode_row(tool_row(), 0, with_chat_template(policy, template), policy.end_of_turn)


def trained(policy: Policy, given: DatasetRow, template: str, **options: Any) -> list[tuple[str, str]]:
    (encoded,), _ = encode_rows([given], "d", with_chat_template(policy, template), DataOptions(**options))
    decode = policy.tokenizer.decode
    return [(decode(prompt), decode(answer)) for prompt, answer in encoded.demonstrations]


def test_every_answer_of_a_conversation_can_be_trained(policy: Policy) -> None:
    turns = [("user", "A?"), ("assistant", "a"), ("user", "B?"), ("assistant", "b"), ("user", "C?")]
    messages: list[dict[str, Any]] = [{"role": role, "content": content} for role, content in turns]
    messages[3]["weight"] = 0
    given = DatasetRow.model_validate({"messages": messages, "reference": "c"})
    template = "{% for m in messages %}{{ m.role[0] + ':' + m.content + '<|im_end|>' }}{% endfor %}"
    template += "{% if add_generation_prompt %}a:{% endif %}"
    last = "u:A?<|im_end|>a:a<|im_end|>u:B?<|im_end|>a:b<|im_end|>u:C?<|im_end|>a:"
    assert trained(policy, given, template) == [(last, "c<|im_end|>")]
    found = trained(policy, given, template, trained_turns="all_answers")
    assert found == [("u:A?<|im_end|>a:", "a<|im_end|>"), (last, "c<|im_end|>")]


def test_calls_of_tools_are_trained_as_the_template_renders_them(policy: Policy) -> None:
    template = TOOL_TEMPLATE.replace("; ", "<|im_end|>") + "{% if add_generation_prompt %}assistant: {% endif %}"
    found = trained(policy, tool_row(), template, trained_turns="all_answers")
    assert found == [
        ("<add>user: 3 + 4?<|im_end|>assistant: ", "add(3)<|im_end|>"),
        ("<add>user: 3 + 4?<|im_end|>assistant: add(3)<|im_end|>tool: 7<|im_end|>assistant: ", "Seven.<|im_end|>"),
    ]
