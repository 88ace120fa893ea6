"""Chat templates that behave as those of published models, and the strings that they must be trained on.

Each template is written for these tests; the expected strings are written by hand. Every conversation is the question
`Hi`, the answer `Yo` and, where there is one, the reasoning `R`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers.tokenization_utils_tokenizers import TokenizersBackend

EACH = "{% for m in messages %}"
LAST = "{% if add_generation_prompt %}"
DONE = "{% endif %}{% endfor %}"
SPLIT = (
    "{% set r = m['reasoning_content'] | default('') %}{% set c = m['content'] %}"
    "{% if '</think>' in c %}{% set r = c.split('</think>')[0].split('<think>')[-1] %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}"
)
"""As in Qwen3: reasoning in a field of its own, or in tags."""


def chatml(assistant: str = "", prompt: str = "") -> str:
    """ChatML with a text before each answer and after the generation prompt."""
    return (
        EACH + SPLIT + "{{ '<|im_start|>' + m['role'] + '\n' }}"
        "{% if m['role'] == 'assistant' %}"
        + (assistant or "{{ m['content'] }}")
        + "{% else %}{{ m['content'] }}{% endif %}"
        "{{ '<|im_end|>\n' }}{% endfor %}" + LAST + "{{ '<|im_start|>assistant\n' }}" + prompt + "{% endif %}"
    )


def turns(user: str, assistant: str, prompt: str, begin: str = "") -> str:
    """A template of three pieces, in which `#` is the content."""
    pieces = [piece.replace("#", "' + c + '") for piece in (user, assistant)]
    return (
        f"{{{{ '{begin}' }}}}" + EACH + SPLIT + "{% if m['role'] == 'assistant' %}{{ '" + pieces[1] + "' }}{% else %}"
        "{{ '" + pieces[0] + "' }}" + DONE + LAST + "{{ '" + prompt + "' }}{% endif %}"
    )


@dataclass(frozen=True)
class Family:
    """A template, and the texts of a row in each mode: after the question, and the trained text."""

    name: str
    template: str
    tokens: tuple[str, ...]
    """Control tokens; the first ends a turn, unless `end` names it."""
    prompt: str
    """The prompt without reasoning."""
    target: str
    """What is trained of an answer without reasoning, in mode `off`."""
    reasoned: str
    """What is trained of an answer with reasoning, in mode `off`."""
    prompt_on: str
    """The prompt in mode `on`."""
    target_on: str
    """An answer without reasoning, in mode `on`."""
    reasoned_on: str
    """An answer with reasoning, in mode `on`."""
    plain_tokens: tuple[str, ...] = ()
    """Tokens that are not special, such as `<think>`."""


def plain(name: str, template: str, tokens: tuple[str, ...], prompt: str, target: str, block: str = "") -> Family:
    """A family without reasoning modes: its reasoning is removed, or trained as text."""
    reasoned = block or "<think>R</think>" + target
    return Family(name, template, tokens, prompt, target, target, prompt, target, reasoned)


IM = ("<|im_end|>", "<|im_start|>")
USER = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
TAGS = ("<think>", "</think>")
QWEN3 = "{{ '<think>\n' + r.strip('\n') + '\n</think>\n\n' + c.lstrip('\n') }}"
NO_THOUGHT = "<think>\n\n</think>\n\n"
THOUGHT = "<think>\nR\n</think>\n\n"
DEEPSEEK = ("<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>")
DS_USER = "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>"
HARMONY_TOKENS = ("<|return|>", "<|end|>", "<|start|>", "<|channel|>", "<|message|>")
HARMONY = (
    EACH + "{% if m['role'] == 'assistant' %}{% if m['thinking'] %}"
    "{{ '<|start|>assistant<|channel|>analysis<|message|>' + m['thinking'] + '<|end|>' }}{% endif %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] + '<|return|>' }}{% else %}"
    "{{ '<|start|>' + m['role'] + '<|message|>' + m['content'] + '<|end|>' }}"
    + DONE
    + LAST
    + "{{ '<|start|>assistant' }}{% endif %}"
)
COMMAND_TOKENS = (
    *("<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<BOS_TOKEN>"),
    *("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
)
CO_USER = "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi<|END_OF_TURN_TOKEN|>"
CO_ASKS = "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"

FAMILIES = (
    plain("SmolLM2", chatml(), IM, USER, "Yo<|im_end|>"),
    plain(
        "Qwen2.5",
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are Qwen.<|im_end|>\n' }}{% endif %}"
        + chatml(),
        IM,
        "<|im_start|>system\nYou are Qwen.<|im_end|>\n" + USER,
        "Yo<|im_end|>",
    ),
    Family(
        "Qwen3",
        chatml(
            QWEN3,
            "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}",
        ),
        IM,
        *(USER + NO_THOUGHT, "Yo<|im_end|>", "Yo<|im_end|>"),
        *(USER, NO_THOUGHT + "Yo<|im_end|>", THOUGHT + "Yo<|im_end|>"),
        TAGS,
    ),
    plain("Qwen3-Instruct-2507", chatml("{{ c }}"), IM, USER, "Yo<|im_end|>", THOUGHT + "Yo<|im_end|>"),
    Family(
        "Qwen3-Thinking-2507",
        chatml(QWEN3, "{{ '<think>\n' }}"),
        IM,
        *(USER + "<think>\n", "\n</think>\n\nYo<|im_end|>", "R\n</think>\n\nYo<|im_end|>"),
        *(USER + "<think>\n", "\n</think>\n\nYo<|im_end|>", "R\n</think>\n\nYo<|im_end|>"),
        TAGS,
    ),
    Family(
        "QwQ",
        chatml("{{ c }}", "{{ '<think>\n' }}"),
        IM,
        *(USER + "<think>\n", "\n</think>\n\nYo<|im_end|>", "R\n</think>\n\nYo<|im_end|>"),
        *(USER + "<think>\n", "\n</think>\n\nYo<|im_end|>", "R\n</think>\n\nYo<|im_end|>"),
        TAGS,
    ),
    Family(
        "Qwen3.5",
        chatml(QWEN3, "{% if enable_thinking %}{{ '<think>\n' }}{% else %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"),
        IM,
        *(USER + NO_THOUGHT, "Yo<|im_end|>", "Yo<|im_end|>"),
        *(USER + "<think>\n", "\n</think>\n\nYo<|im_end|>", "R\n</think>\n\nYo<|im_end|>"),
        TAGS,
    ),
    Family(
        "SmolLM3",
        chatml(
            "{% if r %}" + QWEN3 + "{% else %}{{ c }}{% endif %}",
            "{% if not enable_thinking %}{{ '<think>\n\n</think>\n' }}{% endif %}",
        ),
        IM,
        *(USER + "<think>\n\n</think>\n", "Yo<|im_end|>", "Yo<|im_end|>"),
        *(USER, "Yo<|im_end|>", THOUGHT + "Yo<|im_end|>"),
        TAGS,
    ),
    Family(
        "DeepSeek-R1",
        turns(
            "<｜User｜>#",
            "<｜Assistant｜>#<｜end▁of▁sentence｜>",
            "<｜Assistant｜><think>\n",
            "<｜begin▁of▁sentence｜>",
        ),
        DEEPSEEK,
        *(DS_USER + "<think>\n", "\n</think>\n\nYo<｜end▁of▁sentence｜>", "R\n</think>\n\nYo<｜end▁of▁sentence｜>"),
        *(DS_USER + "<think>\n", "\n</think>\n\nYo<｜end▁of▁sentence｜>", "R\n</think>\n\nYo<｜end▁of▁sentence｜>"),
        TAGS,
    ),
    plain(
        "DeepSeek-V3",
        turns("<｜User｜>#", "<｜Assistant｜>#<｜end▁of▁sentence｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>"),
        DEEPSEEK,
        DS_USER,
        "Yo<｜end▁of▁sentence｜>",
        "<think>\nR\n</think>\n\nYo<｜end▁of▁sentence｜>",
    ),
    Family(
        "DeepSeek-V3.1",
        turns(
            "<｜User｜>#", "<｜Assistant｜></think>#<｜end▁of▁sentence｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>"
        )
        + "{% if add_generation_prompt %}{{ '<think>' if thinking else '</think>' }}{% endif %}",
        DEEPSEEK,
        *(DS_USER + "</think>", "Yo<｜end▁of▁sentence｜>", "Yo<｜end▁of▁sentence｜>"),
        *(DS_USER + "<think>", "</think>Yo<｜end▁of▁sentence｜>", "R</think>Yo<｜end▁of▁sentence｜>"),
        TAGS,
    ),
    plain(
        "Llama-2",
        turns("[INST] # [/INST]", " # </s>", "", "<s>"),
        ("</s>", "<s>"),
        "<s>[INST] Hi [/INST]",
        " Yo </s>",
        "<think>\nR\n</think>\n\nYo </s>",
    ),
    plain(
        "Llama-3",
        turns(
            "<|start_header_id|>user<|end_header_id|>\n\n#<|eot_id|>",
            "<|start_header_id|>assistant<|end_header_id|>\n\n#<|eot_id|>",
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "<|begin_of_text|>",
        ),
        ("<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "Yo<|eot_id|>",
        "<think>\nR\n</think>\n\nYo<|eot_id|>",
    ),
    plain(
        "Llama-4",
        turns(
            "<|header_start|>user<|header_end|>\n\n#<|eot|>",
            "<|header_start|>assistant<|header_end|>\n\n#<|eot|>",
            "<|header_start|>assistant<|header_end|>\n\n",
            "<|begin_of_text|>",
        ),
        ("<|eot|>", "<|begin_of_text|>", "<|header_start|>", "<|header_end|>"),
        "<|begin_of_text|><|header_start|>user<|header_end|>\n\nHi<|eot|><|header_start|>assistant<|header_end|>\n\n",
        "Yo<|eot|>",
        "<think>\nR\n</think>\n\nYo<|eot|>",
    ),
    plain(
        "Mistral-7B",
        turns("[INST] #[/INST]", " #</s>", "", "<s>"),
        ("</s>", "<s>", "[INST]", "[/INST]"),
        "<s>[INST] Hi[/INST]",
        " Yo</s>",
        "<think>\nR\n</think>\n\nYo</s>",
    ),
    Family(
        "Magistral",
        "{{ '<s>' }}"
        + EACH
        + "{{ '[INST]' + m['content'] + '[/INST]' if m['role'] == 'user' else m['content'] + '</s>' }}"
        "{% endfor %}{# [THINK] #}",
        ("</s>", "<s>", "[INST]", "[/INST]", "[THINK]", "[/THINK]"),
        *("<s>[INST]Hi[/INST]", "Yo</s>", "Yo</s>"),
        *("<s>[INST]Hi[/INST]", "Yo</s>", "[THINK]R[/THINK]Yo</s>"),
    ),
    plain(
        "Gemma-3",
        turns(
            "<start_of_turn>user\n#<end_of_turn>\n",
            "<start_of_turn>model\n#<end_of_turn>\n",
            "<start_of_turn>model\n",
            "<bos>",
        ),
        ("<end_of_turn>", "<bos>", "<start_of_turn>"),
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
        "Yo<end_of_turn>",
        "<think>\nR\n</think>\n\nYo<end_of_turn>",
    ),
    Family(
        "Gemma-4",
        "{{ '<bos>' }}" + EACH + "{% if m['role'] == 'assistant' %}"
        "{{ '<|turn>model\n' + m['content'].split('<channel|>')[-1] + '<turn|>\n' }}{% else %}"
        "{{ '<|turn>user\n' + m['content'] + '<turn|>\n' }}"
        + DONE
        + LAST
        + "{{ '<|turn>model\n' }}{% if not enable_thinking %}"
        + "{{ '<|channel>thought\\n<channel|>' }}{% endif %}{% endif %}",
        ("<turn|>", "<bos>", "<|turn>", "<|channel>", "<channel|>"),
        *("<bos><|turn>user\nHi<turn|>\n<|turn>model\n<|channel>thought\n<channel|>", "Yo<turn|>", "Yo<turn|>"),
        "<bos><|turn>user\nHi<turn|>\n<|turn>model\n",
        "Yo<turn|>",
        "<|channel>thought\nR<channel|>Yo<turn|>",
    ),
    plain(
        "Phi-3",
        turns("<|user|>\n#<|end|>\n", "<|assistant|>\n#<|end|>\n", "<|assistant|>\n"),
        ("<|end|>", "<|user|>", "<|assistant|>"),
        "<|user|>\nHi<|end|>\n<|assistant|>\n",
        "Yo<|end|>",
        "<think>\nR\n</think>\n\nYo<|end|>",
    ),
    plain(
        "Phi-4",
        turns(
            "<|im_start|>user<|im_sep|>#<|im_end|>",
            "<|im_start|>assistant<|im_sep|>#<|im_end|>",
            "<|im_start|>assistant<|im_sep|>",
        ),
        (*IM, "<|im_sep|>"),
        "<|im_start|>user<|im_sep|>Hi<|im_end|><|im_start|>assistant<|im_sep|>",
        "Yo<|im_end|>",
        "<think>\nR\n</think>\n\nYo<|im_end|>",
    ),
    plain(
        "Command-R",
        turns(
            "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>#<|END_OF_TURN_TOKEN|>",
            CO_ASKS + "#<|END_OF_TURN_TOKEN|>",
            CO_ASKS,
            "<BOS_TOKEN>",
        ),
        COMMAND_TOKENS,
        CO_USER + CO_ASKS,
        "Yo<|END_OF_TURN_TOKEN|>",
        "<think>\nR\n</think>\n\nYo<|END_OF_TURN_TOKEN|>",
    ),
    Family(
        "Command-A",
        "{{ '<BOS_TOKEN>' }}"
        + EACH
        + "{% if m['role'] == 'assistant' %}{{ '"
        + CO_ASKS
        + "' }}{% if m['reasoning_content'] %}"
        "{{ '<|START_THINKING|>' + m['reasoning_content'] + '<|END_THINKING|>' }}{% endif %}"
        "{{ '<|START_RESPONSE|>' + m['content'] + '<|END_RESPONSE|><|END_OF_TURN_TOKEN|>' }}{% else %}"
        "{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + m['content'] + '<|END_OF_TURN_TOKEN|>' }}"
        + DONE
        + LAST
        + "{{ '"
        + CO_ASKS
        + "' }}{% if not enable_thinking %}{{ '<|START_THINKING|><|END_THINKING|>' }}{% endif %}{% endif %}",
        COMMAND_TOKENS,
        CO_USER + CO_ASKS + "<|START_THINKING|><|END_THINKING|>",
        *("<|START_RESPONSE|>Yo<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",) * 2,
        CO_USER + CO_ASKS,
        "<|START_RESPONSE|>Yo<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
        "<|START_THINKING|>R<|END_THINKING|><|START_RESPONSE|>Yo<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    ),
    plain(
        "GLM-4",
        turns("<|user|>\n#", "<|assistant|>\n#", "<|assistant|>\n", "[gMASK]<sop>"),
        ("<|user|>", "<|assistant|>", "[gMASK]", "<sop>"),
        "[gMASK]<sop><|user|>\nHi<|assistant|>\n",
        "Yo<|user|>",
        "<think>\nR\n</think>\n\nYo<|user|>",
    ),
    Family(
        "GLM-4.5",
        "{{ '[gMASK]<sop>' }}" + EACH + SPLIT + "{% if m['role'] == 'assistant' %}"
        "{{ '<|assistant|>\n<think>' + r.strip() + '</think>\n' + c }}{% else %}{{ '<|user|>\n' + c }}"
        + DONE
        + LAST
        + "{{ '<|assistant|>' }}{% if not enable_thinking %}{{ '\n<think></think>' }}{% endif %}{% endif %}",
        ("<|user|>", "<|assistant|>", "[gMASK]", "<sop>"),
        *("[gMASK]<sop><|user|>\nHi<|assistant|>\n<think></think>", "\nYo<|user|>", "\nYo<|user|>"),
        "[gMASK]<sop><|user|>\nHi<|assistant|>",
        "\n<think></think>\nYo<|user|>",
        "\n<think>R</think>\nYo<|user|>",
        TAGS,
    ),
    Family(
        "gpt-oss",
        HARMONY,
        HARMONY_TOKENS,
        "<|start|>user<|message|>Hi<|end|><|start|>assistant",
        *("<|channel|>final<|message|>Yo<|return|>",) * 2,
        "<|start|>user<|message|>Hi<|end|><|start|>assistant",
        "<|channel|>final<|message|>Yo<|return|>",
        "<|channel|>analysis<|message|>R<|end|><|start|>assistant<|channel|>final<|message|>Yo<|return|>",
    ),
    plain(
        "OLMo-2",
        turns("<|user|>\n#\n", "<|assistant|>\n#<|endoftext|>", "<|assistant|>\n", "<|endoftext|>"),
        ("<|endoftext|>",),
        "<|endoftext|><|user|>\nHi\n<|assistant|>\n",
        "Yo<|endoftext|>",
        "<think>\nR\n</think>\n\nYo<|endoftext|>",
    ),
    plain(
        "Granite-3",
        turns(
            "<|start_of_role|>user<|end_of_role|>#<|end_of_text|>\n",
            "<|start_of_role|>assistant<|end_of_role|>#<|end_of_text|>\n",
            "<|start_of_role|>assistant<|end_of_role|>",
        ),
        ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
        "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
        "Yo<|end_of_text|>",
        "<think>\nR\n</think>\n\nYo<|end_of_text|>",
    ),
    Family(
        "Nemotron-Nano",
        turns("<SPECIAL_11>User\n#\n", "<SPECIAL_11>Assistant\n#\n<SPECIAL_12>\n", "<SPECIAL_11>Assistant\n")
        + "{% if add_generation_prompt %}{{ '<think>\n' if enable_thinking else '<think></think>' }}{% endif %}",
        ("<SPECIAL_12>", "<SPECIAL_11>"),
        *("<SPECIAL_11>User\nHi\n<SPECIAL_11>Assistant\n<think></think>", "Yo\n<SPECIAL_12>", "Yo\n<SPECIAL_12>"),
        "<SPECIAL_11>User\nHi\n<SPECIAL_11>Assistant\n<think>\n",
        "\n</think>\n\nYo\n<SPECIAL_12>",
        "R\n</think>\n\nYo\n<SPECIAL_12>",
    ),
    plain(
        "Kimi-K2",
        turns(
            "<|im_user|>user<|im_middle|>#<|im_end|>",
            "<|im_assistant|>assistant<|im_middle|>#<|im_end|>",
            "<|im_assistant|>assistant<|im_middle|>",
        ),
        ("<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>"),
        "<|im_user|>user<|im_middle|>Hi<|im_end|><|im_assistant|>assistant<|im_middle|>",
        "Yo<|im_end|>",
        "<think>\nR\n</think>\n\nYo<|im_end|>",
    ),
    Family(
        "Seed-OSS",
        EACH + "{{ '<seed:bos>' + m['role'] + '\n' }}{% if m['reasoning_content'] %}"
        "{{ '<seed:think>' + m['reasoning_content'] + '</seed:think>' }}{% endif %}{{ m['content'] + '<seed:eos>' }}"
        "{% endfor %}" + LAST + "{{ '<seed:bos>assistant\n' }}{% endif %}",
        ("<seed:eos>", "<seed:bos>"),
        *("<seed:bos>user\nHi<seed:eos><seed:bos>assistant\n", "Yo<seed:eos>", "Yo<seed:eos>"),
        *(
            "<seed:bos>user\nHi<seed:eos><seed:bos>assistant\n",
            "Yo<seed:eos>",
            "<seed:think>R</seed:think>Yo<seed:eos>",
        ),
        ("<seed:think>", "</seed:think>"),
    ),
    plain(
        "Zephyr",
        turns("<|user|>\n#</s>\n", "<|assistant|>\n#</s>\n", "<|assistant|>\n"),
        ("</s>", "<s>"),
        "<|user|>\nHi</s>\n<|assistant|>\n",
        "Yo</s>",
        "<think>\nR\n</think>\n\nYo</s>",
    ),
)


def tokenizer_of(family: Family) -> Any:
    """A tokenizer of bytes with the family's tokens and template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = TokenizersBackend(tokenizer_object=inner, eos_token=family.tokens[0])
    tokenizer.add_special_tokens({"additional_special_tokens": list(family.tokens)})
    tokenizer.add_tokens(list(family.plain_tokens))
    tokenizer.chat_template = family.template
    return tokenizer
