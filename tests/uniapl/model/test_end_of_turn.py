"""The end of turn of a chat template: it stops sampling, ends references, and is declared in checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.uniapl.model.test_policy import spec
from uniapl.data.encoding import encode_rows
from uniapl.model.policy import Policy
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.training import DataOptions
from uniapl.training import checkpoint
from uniapl.training.learner import Learner

pytestmark = pytest.mark.integration

# tokens of the tiny Llama that are not its end token, in the place of <|im_end|> and others
END, OTHER, EOS = "<jupyter_start>", "<jupyter_output>", "<|im_end|>"
EACH = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + 'END' }}{% endfor %}"


def token(policy: Policy, text: str) -> int:
    return int(policy.tokenizer.convert_tokens_to_ids(text))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (EACH.replace("END", END + "\\n"), END),
        (EACH.replace("END", OTHER + END), END),  # as in Command-R, the turn ends with the last
        (EACH.replace("END", END) + "{{ eos_token }}", END),  # the end of the conversation is not that of a turn
        (EACH.replace("END", "\\n\\n"), EOS),  # no token at all
        ("{% for m in messages %}{{ m['content'] }}{% if not loop.last %}" + EOS + "{% endif %}{% endfor %}", EOS),
        # the last answer of harmony ends with another token than earlier ones
        (
            "{% for m in messages %}{{ m['content'] }}{{ '"
            + END
            + "' if loop.last else '"
            + OTHER
            + "' }}{% endfor %}",
            END,
        ),
    ],
)
def test_the_end_of_turn_is_the_templates(template: str, expected: str, policy: Policy) -> None:
    policy.tokenizer.chat_template = template
    assert policy.tokenizer.decode([policy.end_of_turn]) == expected
    assert policy.end_of_turn in policy.stop_ids
    row = DatasetRow.model_validate({"messages": [{"role": "user", "content": "Hi."}], "reference": "Hello."})
    (encoded,), _ = encode_rows([row], "rows", policy, DataOptions())
    assert encoded.reference_ids is not None
    assert encoded.reference_ids[-1] == token(policy, expected)


def test_a_declared_token_is_preferred(policy: Policy) -> None:
    policy.tokenizer.chat_template = EACH.replace("END", OTHER + END)
    policy.model.generation_config.eos_token_id = [token(policy, OTHER)]
    assert policy.end_of_turn == token(policy, OTHER)


def test_an_answer_ends_with_a_declared_token_that_begins_the_next_turn(policy: Policy) -> None:
    policy.tokenizer.chat_template = (  # as in GLM-4, which stops at <|user|>
        "{% for m in messages %}{{ '" + OTHER + "' if m['role'] == 'user' else '" + END + "' }}{{ m['content'] }}"
        "{% endfor %}"
    )
    assert policy.end_of_turn == policy.tokenizer.eos_token_id
    policy.model.generation_config.eos_token_id = [policy.tokenizer.eos_token_id, token(policy, OTHER)]
    assert policy.end_of_turn == token(policy, OTHER)


def test_sampling_stops_at_the_templates_end_of_turn_and_the_checkpoint_declares_it(
    policy: Policy, tmp_path: Path
) -> None:
    policy.tokenizer.chat_template = EACH.replace("END", END + "\\n")
    end = token(policy, END)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[end] *= 60
    problem = policy.declare_end_of_turn()
    assert problem is not None
    assert f"ends an answer with '{END}', but the student's generation stops at '{EOS}' only" in problem
    assert policy.declare_end_of_turn() is None
    sampler = TransformersGenerator(policy, temperature=1.0, max_new_tokens=64, batch_size=8)
    ended = [c for group in sampler.sample([[1, 5], [1, 7]], group_size=4, seed=1) for c in group if end in c.ids]
    assert ended
    assert all(c.ids.index(end) == len(c.ids) - 1 and not c.truncated for c in ended)
    saved = checkpoint.save(tmp_path / "c", policy, Learner(policy, spec(64)).optimizer, spec(64), 1, {})
    declared = json.loads((saved.path / "generation_config.json").read_text())["eos_token_id"]
    assert declared == [policy.tokenizer.eos_token_id, end]


def test_an_end_of_turn_without_a_token_is_reported(policy: Policy) -> None:
    policy.tokenizer.chat_template = EACH.replace("END", "<|end_of_my_turn|>\\n")
    problem = policy.declare_end_of_turn()
    assert problem is not None
    assert "ends an answer with '<|end_of_my_turn|>', which has no token of its own" in problem
    assert policy.stop_ids == [policy.tokenizer.eos_token_id]
