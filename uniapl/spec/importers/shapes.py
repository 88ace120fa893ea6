"""Recognition of published datasets by their fields, and conversion of these fields' names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from uniapl.spec.importers.fields import RowError
from uniapl.spec.importers.golds import bare_value, worked_value
from uniapl.spec.importers.layouts import turn_list, turns_in_text
from uniapl.spec.importers.turns import ROLES

CONVERSATIONS = ("messages", "conversations", "conversation", "contents", "trajectory")
PROMPTS = ("instruction", "question", "problem", "query", "input")
"""Fields with a prompt as text."""
ADDITIONS = ("input", "context")
"""Fields whose text follows an `instruction`."""
ANSWERS = ("output", "response", "generated_solution", "deepseek_solution")
"""Fields with an answer to imitate."""
GOLDS = ("answer", "final_answer", "expected_answer", "solution", "ground_truth_solution")
"""Fields with a gold value, or with a worked solution that contains it; the first value is used."""
WORKED = ("answer", "solution")
"""Fields whose worked solution is the answer to imitate if a row has no other."""
SHAPE_FIELDS = (
    *(*PROMPTS, *ADDITIONS, *ANSWERS, *GOLDS, "history", "preferred_output", "non_preferred_output", "rejected"),
    *("deepseek_reasoning", "generations", "choices", "options", "passage"),
)
"""Fields of these formats."""
_PROMPT_PARTS = re.compile(
    r"(choices|options|passage|paragraph|document|article|table|context|starter_code|op[a-e]|(option|choice)_?\w|"
    r"[A-E])",
    re.IGNORECASE,
)
"""Fields without which a question is incomplete."""
_HH = re.compile(r"(\n\n)?Human: ")
_HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_HH_QUESTION = re.compile(r"(?:^|\n\n)Human: ")


@dataclass
class Usual:
    """A row with the fields of UniAPL, TRL and IF-RLVR."""

    row: dict[str, Any]
    uses: dict[str, list[str]] = field(default_factory=dict)
    """Names in `row` of each renamed field."""
    ignored: set[str] = field(default_factory=set)
    """Fields that a renamed field replaces."""

    def move(self, name: str, to: str) -> Any:
        """Rename a field, and return its value."""
        value = self.row.pop(name)
        self.copy(name, to, value)
        return value

    def copy(self, name: str, to: str, value: Any) -> None:
        """Add a value that was read from a field."""
        if to in self.row and not any(to in names for names in self.uses.values()):
            self.ignored.add(to)
        self.row[to] = value
        self.uses.setdefault(name, []).append(to)

    def source(self, message: str) -> str:
        """An error message, with the name that its field has in the given row."""
        name = re.split(r"[.:]", message, maxsplit=1)[0]
        sources = [f"`{given}`" for given, names in self.uses.items() if name in names and given != name]
        return f"{message} (`{name}` is read from {' and '.join(sources)})" if sources else message

    def given(self, path: str) -> list[str]:
        """The paths of a part of `row` in the given row."""
        name, rest = re.match(r"([^.\[]*)(.*)", path, re.DOTALL).groups()  # type: ignore[union-attr]
        sources = [given for given, names in self.uses.items() if name in names]
        return [source + rest for source in sources] or [path]

    def has_text(self, name: str) -> bool:
        """Whether a field has a text that is not blank."""
        value = self.row.get(name)
        return isinstance(value, str) and bool(value.strip())


def with_usual_names(fields: dict[str, Any]) -> Usual:
    """The row with `prompt`, `completion`, `chosen` and `reward` where it has one of these formats.

    Raises:
        RowError: the row contains unsupported parts of such a format.
    """
    usual = Usual({name: value for name, value in fields.items() if value is not None})
    row = usual.row
    if any(name in row for name in ("prompt", *PROMPTS)):
        for name in CONVERSATIONS:
            if row.get(name) == []:  # a column that other rows have
                del row[name]
    row |= {name: turn_list(row[name]) for name in CONVERSATIONS if name in row}
    row |= {name: turns_in_text(row[name]) for name in ("prompt", "completion", "chosen") if name in row}
    if isinstance(row.get("input"), dict) and "preferred_output" in row:
        _preference(usual)
    elif isinstance(row.get("chosen"), str) and _HH.match(row["chosen"]):
        row["chosen"] = _human_and_assistant(row["chosen"])
    elif not any(name in row for name in ("prompt", *CONVERSATIONS)) and not isinstance(row.get("chosen"), list):
        _prompt(usual)
    if _begins_an_answer(row.get("prompt")):
        row["prompt"] = _human_and_assistant(row["prompt"])[:-1]
    _answer(usual)
    _gold(usual)
    if isinstance(row.get("prompt"), str) and not any(name in row for name in CONVERSATIONS):
        _refuse_parts(usual, row["prompt"])
    return usual


def format_name(fields: dict[str, Any]) -> str:
    """The name of a row's format, by its fields."""
    given = {name for name, value in fields.items() if value is not None}
    return next(name for name, matches in _FORMATS.items() if matches(fields, given))


_FORMATS: dict[str, Callable[[dict[str, Any], set[str]], bool]] = {
    "OpenAI preferences": lambda row, given: {"input", "preferred_output"} <= given,
    "IFEval": lambda row, given: "instruction_id_list" in given,
    "verl": lambda row, given: isinstance(row.get("reward_model"), dict),
    "RLVR": lambda row, given: "ground_truth" in given,
    "UniAPL": lambda row, given: "messages" in given and bool(given & {"reference", "reward"}),
    "HH-RLHF": lambda row, given: isinstance(row.get("chosen"), str) and bool(_HH.match(row["chosen"])),
    "preferences": lambda row, given: "chosen" in given,
    "OpenThoughts": lambda row, given: {"problem", "deepseek_solution"} <= given,
    "OpenR1-Math": lambda row, given: {"problem", "generations"} <= given,
    "GSM8K": lambda row, given: "question" in given and "####" in str(row.get("answer")),
    "MATH": lambda row, given: "problem" in given and bool(given & set(GOLDS)),
    "ShareGPT": lambda row, given: bool({"conversations", "conversation"} & given),
    "Gemini": lambda row, given: "contents" in given,
    "Dolly": lambda row, given: {"instruction", "response"} <= given,
    "Alpaca": lambda row, given: "instruction" in given,
    "conversations": lambda row, given: bool({"messages", "trajectory"} & given),
    "prompt and completion": lambda row, given: bool({"completion", "output", "response"} & given),
    "prompt and gold": lambda row, given: bool(given & set(GOLDS)),
    "prompts": lambda row, given: True,
}
"""Whether a row has a format, in order of precedence."""


def _prompt(usual: Usual) -> None:
    """Use the text of an instruction, a question or a problem as prompt; earlier turns are in `history`."""
    row = usual.row
    partners = [name for name in (*ANSWERS, *GOLDS, "completion", "chosen", "reference", "reward") if name in row]
    name = next((name for name in PROMPTS if usual.has_text(name)), None)
    if name is None and isinstance(row.get("input"), list) and partners:
        name = "input"
    if name is None or (name in ("query", "input") and not partners):
        return
    prompt = usual.move(name, "prompt")
    if name == "instruction":
        texts = [prompt, *(usual.move(other, "prompt") for other in ADDITIONS if isinstance(row.get(other), str))]
        row["prompt"] = prompt = "\n\n".join(text for text in texts if text.strip())
    else:
        _refuse_parts(usual)
    if row.get("history"):
        row["prompt"] = [*_turns_of(usual.move("history", "prompt")), {"role": "user", "content": prompt}]


def _turns_of(history: Any) -> list[dict[str, Any]]:
    """The turns of `history`: pairs [user's text, assistant's text], of which blank ones are dropped, or turns."""
    items = history if isinstance(history, list) else [history]
    if all(isinstance(item, list) and len(item) == 2 for item in items):
        return [
            turn
            for asked, answered in filter(any, items)
            for turn in ({"role": "user", "content": asked}, {"role": "assistant", "content": answered})
        ]
    if not all(isinstance(item, dict) for item in items):
        raise RowError("history: must be a list of pairs [user's text, assistant's text]; write it as `messages`")
    turns: list[dict[str, Any]] = turn_list(items)
    return turns


def _refuse_parts(usual: Usual, prompt: str | None = None) -> None:
    """Reject a row with a further part of its prompt.

    Args:
        usual: the row; a part is a field such as `choices`.
        prompt: the prompt's text, which may contain the parts; a second prompt or addition is then a part, too.

    Raises:
        RowError: there is such a field.
    """
    for name, value in usual.row.items():
        is_part = _PROMPT_PARTS.fullmatch(name) or (prompt is not None and name in (*PROMPTS, *ADDITIONS))
        if not is_part or value in ("", [], {}) or (isinstance(value, str) and value.strip() in (prompt or "")):
            continue
        raise RowError(
            f"{name}: belongs to the prompt and would be lost; write it into the prompt's text, or drop it with "
            f"?map={name}:ignore"
        )


def _answer(usual: Usual) -> None:
    """Use an output, response or generated solution as completion, with its reasoning if that is a field."""
    row = usual.row
    if "prompt" not in row or any(name in row for name in ("completion", "chosen", "reference", *CONVERSATIONS)):
        return
    name = next((name for name in ANSWERS if isinstance(row.get(name), str)), None)
    if name is None:
        return
    answer = usual.move(name, "completion")
    if name == "deepseek_solution" and usual.has_text("deepseek_reasoning"):
        reasoning = usual.move("deepseek_reasoning", "completion").strip()
        row["completion"] = f"<think>\n{reasoning}\n</think>\n\n{answer.strip()}"


def _gold(usual: Usual) -> None:
    """Use a mathematical answer as reward, and a worked solution as completion if there is no other."""
    row = usual.row
    answered = any(name in row for name in ("completion", "chosen", "reference"))
    talk = next((row[name] for name in CONVERSATIONS if name in row), None)
    answered = answered or (isinstance(talk, list) and bool(talk) and _is_assistant(talk[-1]))
    rewarded = isinstance(row.get("reward"), dict) or any(
        name in row for name in ("ground_truth", "reward_model", "instruction_id_list")
    )
    for name in GOLDS:
        if name not in row or not ("prompt" in row or talk is not None):
            continue
        text = row[name] if isinstance(row[name], str) else ""
        worked = worked_value(text)
        value = worked or bare_value(row[name])
        imitated = name in WORKED and not answered and worked is not None
        if value is not None and not rewarded:
            _refuse_parts(usual)
            usual.copy(name, "reward", {"type": "math", "answer": value})
        if imitated:
            usual.copy(name, "completion", text)
        if imitated or (value is not None and not rewarded):
            del row[name]
        answered, rewarded = answered or imitated, rewarded or value is not None


def _is_assistant(turn: Any) -> bool:
    role = str(turn.get("role") or turn.get("from") or turn.get("type")).lower() if isinstance(turn, dict) else ""
    return ROLES.get(role, role) == "assistant"


def _begins_an_answer(prompt: Any) -> bool:
    """Whether a text with a turn of `Human:`, maybe after a system text, ends where an assistant's turn begins."""
    is_text = isinstance(prompt, str) and prompt.rstrip().endswith("\n\nAssistant:")
    return is_text and _HH_QUESTION.search(prompt) is not None


def _human_and_assistant(text: str) -> list[dict[str, Any]]:
    r"""The turns of a text in which `\n\nHuman:` and `\n\nAssistant:` begin turns, maybe after a system text."""
    system, *parts = _HH_TURN.split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [{"role": roles[who], "content": text.strip()} for who, text in zip(parts[::2], parts[1::2], strict=True)]
    return [{"role": "system", "content": system.strip()}, *turns] if system.strip() else turns


def _preference(usual: Usual) -> None:
    asked = usual.row.pop("input")
    usual.move("preferred_output", "chosen")
    usual.row |= {f"input.{name}": value for name, value in asked.items() if name not in ("messages", "tools")}
    usual.copy("input", "prompt", asked.get("messages"))
    if asked.get("tools"):
        usual.copy("input", "tools", asked["tools"])
