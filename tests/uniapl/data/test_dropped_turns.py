"""Turns that a chat template leaves out are refused; commands that it takes out are not."""

from __future__ import annotations

import pytest

from tests.uniapl.chat.families import chatml
from tests.uniapl.chat.test_renderer import named, renderer_of
from uniapl.data.encoded_row import EncodedRow, encode_rendered
from uniapl.errors import DatasetError
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.training import DataOptions

pytestmark = pytest.mark.unit

USERS = "{% for m in messages if m['role'] == 'user' %}" + chatml().partition("{% for m in messages %}")[2]
LAST = "{% for m in messages[-1:] %}" + chatml().partition("{% for m in messages %}")[2]
EDITS = chatml("", "").replace("{{ m['content'] }}", "{{ m['content'].replace('/no_think', '') | trim }}")


def encoded(template: str, *turns: tuple[str, str]) -> EncodedRow:
    renderer = renderer_of(named("SmolLM2"), "off")
    renderer.tokenizer.chat_template = template
    row = DatasetRow.model_validate({"messages": [{"role": role, "content": content} for role, content in turns]})
    return encode_rendered(row, "r7", renderer, DataOptions(), references=False)


@pytest.mark.parametrize(
    ("template", "lost"),
    [(USERS, "messages.0: .* role 'system': 'Answer in French.'"), (LAST, "messages.0: .*'system'")],
)
def test_a_turn_that_the_template_leaves_out_is_named(template: str, lost: str) -> None:
    with pytest.raises(DatasetError, match=f"row r7: {lost}") as refused:
        encoded(template, ("system", "Answer in French."), ("user", "Hi"))
    assert refused.value.param == "data.chat_template"


def test_a_content_without_its_command_is_rendered() -> None:
    assert "Be brief." in encoded(EDITS, ("system", "Be brief. /no_think"), ("user", "Hi there /no_think")).prompt_text
    assert encoded(USERS, ("system", "/no_think"), ("user", "Hi")).prompt_ids
