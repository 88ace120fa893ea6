"""Reasoning blocks: detection in templates, references inside and after them, and the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MODELS
from uniapl.data.encoded_row import EncodedRow
from uniapl.data.encoding import encode_rows, renderer_of
from uniapl.errors import DatasetError
from uniapl.model.policy import Policy, load_policy, with_chat_template
from uniapl.rewards.verify import final_answer, reward_of
from uniapl.run.config import ModelSource, RunConfig
from uniapl.run.reporter import Reporter
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.objective import Adversarial
from uniapl.spec.reward import ExactMatchReward, RewardOptions
from uniapl.spec.training import DataOptions
from uniapl.training.group_scoring import comparison
from uniapl.training.row_checks import report_mode
from uniapl.training.rows import encode

pytestmark = pytest.mark.integration

TURNS = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' + OPEN }}{% endif %}"
PLAIN = TURNS + PROMPT.replace("OPEN", "''")
OPENS = TURNS + PROMPT.replace("OPEN", "'<think>\n'")
CLOSES = TURNS + PROMPT.replace("OPEN", "'<think>\n\n</think>\n\n'")
ENDLESS = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
SHOWS = (  # as Qwen3-Thinking-2507: an empty block before the last turn's answer
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' and loop.last %}"
    "{{ '<think>\n</think> ' }}{% endif %}{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
) + PROMPT.replace("OPEN", "'<think>\n'")
OPENING_TEMPLATES = {
    "QwQ": OPENS,
    "R1": TURNS + PROMPT.replace("OPEN", "'<think>'"),
    "blank lines": TURNS + PROMPT.replace("OPEN", "'<think>\n\n'"),
    "its own closed block": SHOWS,
    "thinking": TURNS + PROMPT.replace("OPEN", "'<thinking>\n'"),
    "THINK": TURNS + PROMPT.replace("OPEN", "'[THINK]'"),
    "without the flag": TURNS + "{{ '<|im_start|>assistant\n<think>\n' }}",
}
ANSWER = "It is 7."
REWARD = ExactMatchReward(answer=ANSWER)


@pytest.fixture(scope="module")
def student() -> Policy:
    """The tiny random Llama; each test gives it a template."""
    return load_policy(ModelSource(path=str(MODELS / "tiny-random-llama")), torch.device("cpu"))


def rows(reference: str | None, *contents: str, **fields: Any) -> list[DatasetRow]:
    roles = ("user",) if len(contents) < 2 else ("system", "user")
    turns = [{"role": r, "content": c} for r, c in zip(roles, contents or ("How much is 3 + 4?",), strict=True)]
    given = {"id": "sum", "messages": turns, "reference": reference, "reward": REWARD.model_dump(), **fields}
    return [DatasetRow.model_validate(given)]


def encoded(student: Policy, template: str, reference: str | None, *contents: str) -> EncodedRow:
    (row,), _ = encode_rows(rows(reference, *contents), "d", with_chat_template(student, template), DataOptions())
    return row


def imitated(student: Policy, row: EncodedRow) -> str:
    """The answer of a student that reproduces its training target."""
    assert row.reference_ids is not None
    return row.answer(student.text(row.reference_ids))


@pytest.mark.parametrize("reference", [ANSWER, f"<think>\n3 and 4.\n</think>\n\n{ANSWER}", f"3 and 4.</think>{ANSWER}"])
@pytest.mark.parametrize("template", OPENING_TEMPLATES)
def test_a_perfect_imitation_earns_everything_where_the_template_opens_reasoning(
    student: Policy, template: str, reference: str
) -> None:
    row = encoded(student, OPENING_TEMPLATES[template], reference)
    said = imitated(student, row)
    assert reward_of(final_answer(said), REWARD, RewardOptions()) == 1.0
    seen = comparison(row, said, Adversarial())
    assert (seen.output, seen.reference) == (ANSWER, ANSWER)
    trained = student.tokenizer.decode([*row.prompt_ids, *(row.reference_ids or [])])
    assert trained.lower().count("think") == 2  # one opening tag, one closing tag
    assert row.answer("still at it").startswith("<think>")


def test_the_block_is_closed_as_the_template_closes_it(student: Policy) -> None:
    shown = encoded(student, SHOWS, ANSWER)
    assert shown.reference_ids is not None
    assert student.text(shown.reference_ids) == f"</think> {ANSWER}"
    plain = encoded(student, OPENS, ANSWER)
    assert plain.reference_ids is not None
    assert student.text(plain.reference_ids) == f"\n</think>\n\n{ANSWER}"


@pytest.mark.parametrize("template", [PLAIN, CLOSES])
@pytest.mark.parametrize("reasoning", ["<think>\n3 and 4.\n</think>\n\n", " <think></think>", "3 and 4.</think>\n"])
def test_reasoning_is_left_out_where_the_template_opens_none(student: Policy, template: str, reasoning: str) -> None:
    row = encoded(student, template, reasoning + ANSWER)
    assert row.reference_ids is not None
    assert (student.text(row.reference_ids), row.reference, row.change) == (ANSWER, ANSWER, "left out")
    assert not row.thinks


@pytest.mark.parametrize("template", [PLAIN, OPENS])
@pytest.mark.parametrize("reference", ["<think>3 and 4", "<think>3 and 4</think>\n", "<think></think>"])
def test_a_reference_without_an_answer_is_refused_where_it_is_read(
    student: Policy, template: str, reference: str
) -> None:
    with pytest.raises(DatasetError, match="row sum: the reference has reasoning and no answer"):
        encoded(student, template, reference)
    usable, _ = encode_rows(rows(reference), "d", student, DataOptions(), references=False)
    assert usable[0].reference_ids is None


@pytest.mark.parametrize("template", [PLAIN, CLOSES, ENDLESS, "plain", OPENS])
@pytest.mark.parametrize(
    "contents",
    [
        ("What does the <think> tag do?",),
        ("What does </think> do?",),
        ("Continue: <think>",),
        ("Continue:\n<think>\n",),
        ("[THINK] or <thinking>?",),
        ("Write your plan after <think>.", "How much is 3 + 4?"),
    ],
)
def test_tags_within_turns_are_plain_text(student: Policy, template: str, contents: tuple[str, ...]) -> None:
    row = encoded(student, template, ANSWER, *contents)
    assert row.thinks is (template == OPENS)
    assert final_answer(imitated(student, row)) == ANSWER
    assert final_answer(row.answer(f"hm</think>{ANSWER}" if row.thinks else ANSWER)) == ANSWER


@pytest.mark.parametrize(
    "quoting", ["The <think> tag opens it, </think> closes it.", "`</think>` closes it.", "<think> opens it."]
)
def test_an_answer_may_quote_the_tags(student: Policy, quoting: str) -> None:
    assert final_answer(f"<think>hm</think>{quoting}") == quoting
    assert final_answer(encoded(student, OPENS, None).answer(f"hm</think>\n\n{quoting}")) == quoting
    if not quoting.startswith("<think>"):
        assert final_answer(encoded(student, PLAIN, None).answer(quoting)) == quoting


def test_changes_of_references_are_events_with_their_rows(student: Policy, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text("")
    given = {"student": "s", "dataset_mix": [{"dataset": "d"}]}
    run = RunConfig.model_validate({"spec": given, "run_dir": str(tmp_path)})
    with Reporter(tmp_path / "reports.jsonl") as reporter:
        for template, reference in ((CLOSES, f"<think>3 and 4.</think>{ANSWER}"), (OPENS, ANSWER), (PLAIN, ANSWER)):
            policy = with_chat_template(student, template)
            encode(rows(reference), run, "d", policy, reporter, references=True)
    left_out, closed = [json.loads(line) for line in (tmp_path / "reports.jsonl").read_text().splitlines()]
    assert (left_out["level"], left_out["data"]) == ("warning", {"rows": ["sum"]})
    assert "reasoning is removed" in left_out["message"]
    assert "first row: sum" in left_out["message"]
    assert (closed["level"], closed["data"]) == ("warning", {"rows": ["sum"]})
    assert "the block is closed before them" in closed["message"]


def test_an_answer_left_without_its_reasoning_may_quote_the_closing_tag(student: Policy) -> None:
    row = encoded(student, PLAIN, "<think>hm</think>The </think> tag closes it.")
    assert row.reference_ids is not None
    assert student.text(row.reference_ids) == "The </think> tag closes it."
    assert comparison(row, "x", Adversarial()).reference == "The </think> tag closes it."


def test_a_mode_that_is_not_the_templates_default_is_reported(student: Policy, tmp_path: Path) -> None:
    template = PLAIN + "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    policy = with_chat_template(student, template)
    with Reporter(tmp_path / "reports.jsonl") as reporter:
        for thinking in ("auto", "off", "on"):
            options = DataOptions.model_validate({"thinking": thinking})
            report_mode(renderer_of(policy, policy.end_of_turn, options), reporter)
    (reported,) = [json.loads(line) for line in (tmp_path / "reports.jsonl").read_text().splitlines()]
    assert reported["level"] == "warning"
    assert "requests to the checkpoints must set enable_thinking=false" in reported["message"]
