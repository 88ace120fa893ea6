"""More templates that behave as those of published models, for rendering only; see `tests.uniapl.chat.families`."""

from __future__ import annotations

from tests.uniapl.chat.families import (
    CO_ASKS,
    CO_USER,
    COMMAND_TOKENS,
    DEEPSEEK,
    DONE,
    DS_USER,
    EACH,
    IM,
    LAST,
    TAGS,
    USER,
    Family,
    chatml,
)


def spoken(user: str, assistant: str, prompt: str, begin: str = "") -> str:
    """A template of Jinja's expressions for a turn of the user, of the assistant, and for the generation prompt."""
    answer = f"{{% if m['role'] == 'assistant' %}}{{{{ {assistant} }}}}{{% else %}}{{{{ {user} }}}}"
    return f"{begin}{EACH}{answer}{DONE}{LAST}{{{{ {prompt} }}}}{{% endif %}}"


KIMI_TOKENS = ("<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>")
KIMI_ASKS = "<|im_assistant|>assistant<|im_middle|>"
KIMI_USER = "<|im_user|>user<|im_middle|>Hi<|im_end|>" + KIMI_ASKS
TO_USER = "<|start|>user<|message|>Hi<|eot|><|start|>assistant"
ELEMENTS = ("<|end_of_msg|>", "<|open|>", "<|close|>", "<|sep|>")
ELEMENT = "<|open|>message user<|sep|>Hi<|end_of_msg|><|open|>message assistant<|sep|><|open|>"
SPECIAL_ASKS = "<SPECIAL_11>User\nHi\n<SPECIAL_11>Assistant\n<think>\n"
ROLES = ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>")
ROLE_USER = "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"

OTHERS = (
    Family(
        "Kimi-K2-Thinking",  # an answer that ends a conversation is rendered without its reasoning
        spoken(
            "'<|im_user|>user<|im_middle|>' + m['content'] + '<|im_end|>'",
            f"'{KIMI_ASKS}<think></think>' + m['content'] + '<|im_end|>'",
            f"'{KIMI_ASKS}'",
        ),
        KIMI_TOKENS,
        *(KIMI_USER, "<think></think>Yo<|im_end|>", "<think></think>Yo<|im_end|>"),
        *(KIMI_USER, "<think></think>Yo<|im_end|>", "<think>R</think>Yo<|im_end|>"),
        TAGS,
    ),
    Family(
        "MiniMax-M3",
        spoken(
            "']~b]user\n' + m['content'] + '[e~[\n'",
            "']~b]ai\n' + ('<mm:think>' + m['reasoning_content'] if m['reasoning_content'] else '')"
            " + '</mm:think>' + m['content'] + '[e~[\n'",
            "']~b]ai\n'",
        ),
        ("[e~[", "]~b]"),
        *("]~b]user\nHi[e~[\n]~b]ai\n", "</mm:think>Yo[e~[", "</mm:think>Yo[e~["),
        *("]~b]user\nHi[e~[\n]~b]ai\n", "</mm:think>Yo[e~[", "<mm:think>R</mm:think>Yo[e~["),
    ),
    Family(
        "Muse",
        spoken(
            "'<|start|>user<|message|>' + m['content'] + '<|eot|>'",
            "('<|start|>assistant to=self<|message|>' + m['reasoning'] + '<|eom|>' if m['reasoning'] else '')"
            " + '<|start|>assistant to=user<|message|>' + m['content'] + '<|eot|>'",
            "'<|start|>assistant'",
        ),
        ("<|eot|>", "<|start|>", "<|message|>", "<|eom|>"),
        *(TO_USER, " to=user<|message|>Yo<|eot|>", " to=user<|message|>Yo<|eot|>"),
        *(TO_USER, " to=user<|message|>Yo<|eot|>"),
        " to=self<|message|>R<|eom|><|start|>assistant to=user<|message|>Yo<|eot|>",
    ),
    Family(
        "Kimi-K3",
        spoken(
            "'<|open|>message user<|sep|>' + m['content'] + '<|end_of_msg|>'",
            "'<|open|>message assistant<|sep|><|open|>think<|sep|>' + (m['reasoning_content'] or '')"
            " + '<|close|>think<|sep|><|open|>response<|sep|>' + m['content']"
            " + '<|close|>response<|sep|><|end_of_msg|>'",
            "'<|open|>message assistant<|sep|><|open|>' + ('think' if thinking else 'response') + '<|sep|>'",
        ),
        ELEMENTS,
        ELEMENT + "response<|sep|>",
        *("Yo<|close|>response<|sep|><|end_of_msg|>",) * 2,
        ELEMENT + "think<|sep|>",
        "<|close|>think<|sep|><|open|>response<|sep|>Yo<|close|>response<|sep|><|end_of_msg|>",
        "R<|close|>think<|sep|><|open|>response<|sep|>Yo<|close|>response<|sep|><|end_of_msg|>",
    ),
    Family(
        "DeepSeek-V3.2",
        spoken(
            "'<｜User｜>' + m['content']",
            "'<｜Assistant｜></think>' + m['content'] + '<｜end▁of▁sentence｜>'",
            "'<｜Assistant｜><think>' + ('' if thinking else '</think>')",
            "<｜begin▁of▁sentence｜>",
        ),
        DEEPSEEK,
        *(DS_USER + "<think></think>", "Yo<｜end▁of▁sentence｜>", "Yo<｜end▁of▁sentence｜>"),
        *(DS_USER + "<think>", "</think>Yo<｜end▁of▁sentence｜>", "R</think>Yo<｜end▁of▁sentence｜>"),
        TAGS,
    ),
    Family(
        "Command-R7B",  # names the block, and renders no reasoning
        spoken(
            "'<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + m['content'] + '<|END_OF_TURN_TOKEN|>'",
            f"'{CO_ASKS}<|START_RESPONSE|>' + m['content'] + '<|END_RESPONSE|><|END_OF_TURN_TOKEN|>'",
            f"'{CO_ASKS}'",
            "<BOS_TOKEN>{# <|START_THINKING|> #}",
        ),
        COMMAND_TOKENS,
        CO_USER + CO_ASKS,
        *("<|START_RESPONSE|>Yo<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",) * 2,
        CO_USER + CO_ASKS,
        "<|START_RESPONSE|>Yo<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
        "<|START_THINKING|>R<|END_THINKING|><|START_RESPONSE|>Yo<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    ),
    Family(
        "Nemotron-Nano-2",  # opens the block before every last answer
        spoken(
            "'<SPECIAL_11>User\n' + m['content'] + '\n'",
            "'<SPECIAL_11>Assistant\n<think>\n' + m['content'] + '\n<SPECIAL_12>\n'",
            "'<SPECIAL_11>Assistant\n<think>\n'",
        ),
        ("<SPECIAL_12>", "<SPECIAL_11>"),
        *(SPECIAL_ASKS, "\n</think>\n\nYo\n<SPECIAL_12>", "R\n</think>\n\nYo\n<SPECIAL_12>"),
        *(SPECIAL_ASKS, "\n</think>\n\nYo\n<SPECIAL_12>", "R\n</think>\n\nYo\n<SPECIAL_12>"),
    ),
    Family(
        "Apriel",
        spoken(
            "'<|begin_user|>\n' + m['content'] + '\n'",
            "'<|begin_assistant|>\n' + (m['thinking'] + '\n[BEGIN FINAL RESPONSE]\n' if m['thinking'] else '')"
            " + m['content'] + '\n<|end|>\n'",
            "'<|begin_assistant|>\nHere are my reasoning steps:\n'",
        ),
        ("<|end|>", "<|begin_user|>", "<|begin_assistant|>"),
        "<|begin_user|>\nHi\n<|begin_assistant|>\nHere are my reasoning steps:\n",
        "\n[BEGIN FINAL RESPONSE]\n\nYo\n<|end|>",
        "R\n[BEGIN FINAL RESPONSE]\nYo\n<|end|>",
        "<|begin_user|>\nHi\n<|begin_assistant|>\nHere are my reasoning steps:\n",
        "\n[BEGIN FINAL RESPONSE]\n\nYo\n<|end|>",
        "R\n[BEGIN FINAL RESPONSE]\nYo\n<|end|>",
    ),
    Family(
        "Granite-3.2",  # asks for reasoning in words, which the template does not render
        spoken(
            "'<|start_of_role|>user<|end_of_role|>' + m['content'] + '<|end_of_text|>\n'",
            "'<|start_of_role|>assistant<|end_of_role|>' + m['content'] + '<|end_of_text|>\n'",
            "'<|start_of_role|>assistant<|end_of_role|>'",
            "{# Here is my thought process: #}",
        ),
        ROLES,
        *(ROLE_USER, "Yo<|end_of_text|>", "Yo<|end_of_text|>"),
        *(ROLE_USER, "Yo<|end_of_text|>"),
        "Here is my thought process:\n\nR\n\nHere is my response:\n\nYo<|end_of_text|>",
    ),
    Family(
        "EXAONE-Deep",
        spoken(
            "'[|user|]' + m['content'] + '\n'",
            "'[|assistant|]' + m['content'].split('</thought>')[-1] + '[|endofturn|]\n'",
            "'[|assistant|]<thought>\n'",
        ),
        ("[|endofturn|]", "[|user|]", "[|assistant|]"),
        *(
            "[|user|]Hi\n[|assistant|]<thought>\n",
            "\n</thought>\n\nYo[|endofturn|]",
            "R\n</thought>\n\nYo[|endofturn|]",
        ),
        *(
            "[|user|]Hi\n[|assistant|]<thought>\n",
            "\n</thought>\n\nYo[|endofturn|]",
            "R\n</thought>\n\nYo[|endofturn|]",
        ),
    ),
    Family(
        "Olmo-3-Think",  # opens the block without a line break
        chatml("{{ m['content'] }}", "{{ '<think>' }}"),
        IM,
        *(USER + "<think>", "</think>Yo<|im_end|>", "R</think>Yo<|im_end|>"),
        *(USER + "<think>", "</think>Yo<|im_end|>", "R</think>Yo<|im_end|>"),
        TAGS,
    ),
)
