"""References of students whose tokenizer puts a space before a text, as SentencePiece does for Llama 2 and Mistral."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from uniapl.chat.renderer import Renderer
from uniapl.chat.template import TemplateOptions

pytestmark = pytest.mark.integration

TURNS = "{% for m in messages %}{{ HEADER + m['content'] + eos_token + '\\n' }}{% endfor %}"
FRAMES = {
    "a header on its own line": ("'<|' + m['role'] + '|>\\n'", "'<|assistant|>\\n'"),
    "a header that ends with a space": ("'[' + m['role'] + ']: '", "'[assistant]: '"),
    "a header that touches the answer": ("'[' + m['role'] + ']'", "'[assistant]'"),
}
PREPEND = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
ASKED, ANSWER = {"role": "user", "content": "Name a fruit."}, "Apple pie, then plum."


def tokenizer_of(scheme: str, frame: str) -> PreTrainedTokenizerFast:
    """A small BPE tokenizer that marks spaces by `▁`: in its normaliser, or by a Metaspace scheme."""
    inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if scheme == "normalizer":
        inner.normalizer = normalizers.Sequence(PREPEND)
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=500, show_progress=False, special_tokens=special)
    inner.train_from_iterator([ASKED["content"], ANSWER, "x Apple", "user assistant"] * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    header, generation = FRAMES[frame]
    prompt = "{% if add_generation_prompt %}{{ " + generation + " }}{% endif %}"
    tokenizer.chat_template = TURNS.replace("HEADER", header) + prompt
    return tokenizer


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("scheme", ["normalizer", "always", "first", "never"])
def test_prompt_and_reference_are_the_tokens_of_the_whole_conversation(scheme: str, frame: str) -> None:
    """Where the header ends with a space, that is a token of the prompt, and the texts are compared."""
    tokenizer = tokenizer_of(scheme, frame)
    renderer = Renderer(tokenizer, tokenizer.eos_token_id, TemplateOptions())
    prompt = renderer.prompt([ASKED])
    ours = [*prompt.ids, *renderer.target(prompt, ANSWER).ids]
    text = tokenizer.apply_chat_template([ASKED, {"role": "assistant", "content": ANSWER}], tokenize=False)
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    whole = whole[: len(whole) - whole[::-1].index(tokenizer.eos_token_id)]
    found, expected = tokenizer.convert_ids_to_tokens(ours), tokenizer.convert_ids_to_tokens(whole)
    assert "".join(found) == "".join(expected)
    if not frame.endswith("space"):
        assert found == expected
