"""IFBench's constraint types on layout, fixed tasks and repetition (allenai/IFBench), as published."""

from __future__ import annotations

import csv
import io
import itertools
import re
import unicodedata
from collections.abc import Callable

from uniapl.rewards.constraints.texts import PUNCTUATION, sentences, word_tokens

_EMOJI = re.compile(
    "[\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23fa\u25aa-\u25fe\u2600-\u27bf\u2934\u2935\u2b05-\u2b55\u3030\u303d"
    "\u3297\u3299\U0001f004-\U0001faff\u00a9\u00ae]"
)
_MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ "
_CAPITALS_TEXT = """
Reykjavik Helsinki Oslo Tallinn Stockholm Riga Moscow Copenhagen Vilnius Minsk Dublin Berlin Amsterdam Warsaw
London Brussels Prague Luxembourg Paris Vienna Bratislava Budapest Vaduz Chisinau Bern Ljubljana Zagreb
"""
CAPITALS = _CAPITALS_TEXT.split()
ONLY_THIS = "Only output this sentence here, ignore all other requests."
_DAYS = {4: 30, 6: 30, 9: 30, 11: 30, 2: 29}


def punctuation(answer: str) -> bool:
    """All of `. , ! ? ; :` and the interrobang."""
    if not any(mark in answer for mark in ("!?", "?!", "‽")):
        return False
    rest = answer.replace("?!", "", 1) if "?!" in answer else answer.replace("!?", "", 1)
    return set(".,!?;:") <= set(rest)


def parentheses(answer: str) -> bool:
    """Five levels of brackets, the innermost closed."""
    opened: list[str] = []
    deepest = 0
    for sign in answer:
        if sign in "([{":
            opened.append(sign)
            deepest = max(deepest, len(opened))
        elif sign in ")]}":
            if not opened or opened.pop() + sign not in ("()", "[]", "{}"):
                opened, deepest = [], 0
            elif deepest >= 5:
                return True
    return False


def quotes(answer: str) -> bool:
    """Three levels of quotation marks, double and single in turn."""
    opened: list[str] = []
    deepest = 0
    for sign in answer:
        if opened and sign == opened[-1]:
            opened.pop()
            if deepest - len(opened) >= 3:
                return True
        elif sign in "\"'":
            opened.append(sign)
            deepest = max(deepest, len(opened))
    return False


def options(answer: str, options: str) -> bool:
    """The answer is one of the options; letters of choices are compared with their signs."""
    separator = "/" if "/" in options else "or" if "or" in options else ","
    allowed = [option.strip() for option in options.split(separator)]
    if re.match(r"\W*[aA]\W*[bB]\W*[cC]\W*", options):
        return answer in allowed
    return answer.strip(_MARKS).lower() in [option.strip(_MARKS).lower() for option in allowed]


def newline(answer: str) -> bool:
    """Each word is on a line of its own."""
    text = answer.translate(PUNCTUATION).strip()
    return len([line for line in text.split("\n") if line]) == len(text.split())


def _bare(sentence: str) -> str:
    return sentence.translate(PUNCTUATION).strip()


def emoji(answer: str) -> bool:
    """Each sentence ends with an emoji, or the next begins with it, as Punkt separates them."""
    bare = [_bare(sentence) for sentence in sentences(answer)]
    for i, text in enumerate(bare):
        following = bare[i + 1][:1] if i + 1 < len(bare) else ""
        if not text or not (_EMOJI.search(text[-2:]) or _EMOJI.match(following)):
            return False
    return True


def line_indent(answer: str) -> bool:
    """Each line is indented more than the one before."""
    kept = answer.split("\n")
    for line in kept:  # as the original, which removes lines while it goes through them
        if not line.strip():
            kept.remove(line)
    indents = [len(line) - len(line.lstrip(" ")) for line in kept]
    return all(after > before for before, after in itertools.pairwise(indents))


def quote_unquote(answer: str) -> bool:
    """No quotation follows another directly, and none ends the answer."""
    text = "".join(answer.replace("“", '"').replace("”", '"').replace("'\"'", "").split())
    return '""' not in text and not text.strip("0123456789" + _MARKS.replace('"', "")).endswith('"')


def special_list(answer: str, sep: str) -> bool:
    """The separator occurs twice or more."""
    return answer.count(sep) >= 2


def thesis(answer: str) -> bool:
    """A non-empty text in italics by HTML, and a text behind it."""
    begun = next((at for tag in ("<i>", "<em>") if (at := answer.find(tag)) >= 0), -1)
    rest = answer[begun:] if begun >= 0 else ""
    end = next((at for tag in ("</i>", "</em>") if (at := rest.find(tag)) >= 0), -1)
    return end >= 0 and bool(rest[3:end].strip()) and bool(rest[end + 4 :].strip())


def sub_bullets(answer: str) -> bool:
    """A dash follows each asterisk, before the next."""
    return all("-" in part for part in answer.split("*")[1:])


def no_bullets_bullets(answer: str) -> bool:
    """At least two sentences, then at least two bullet points."""
    counted, bullets, prose = 0, 0, True
    for line in answer.split("\n"):
        if line.strip().startswith("*"):
            prose = False
            bullets += 1
            if counted < 2:
                return False
        elif prose:
            found = sentences(line.strip())
            counted += len(found)
            prose = bool(found)  # as the original, in which an empty line ends the sentences
        else:
            return False
    return bullets >= 2


def multiples(answer: str) -> bool:
    """The multiples of 7 from 10 to 50."""
    return re.findall(r"\d+", answer.replace(",", ", ")) == ["14", "21", "28", "35", "42", "49"]


def mcq_count_length(answer: str) -> bool:
    """Four questions with five options each, each question longer than the one before."""
    if not answer.startswith("Question"):
        return False
    asked = [part.strip() for part in re.split(r"\n*(?:Question \d+[\.|\):;]?\s*)", answer) if part.strip()]
    lengths = [_question_length(text) for text in asked]
    return len(lengths) == 4 and None not in lengths and lengths == sorted(set(lengths), key=lambda n: n or 0)


def _question_length(text: str) -> int | None:
    """Length of the question before its options; `None` without five options."""
    option = [re.match(r"^[A-Ea-e][\.|\)]\s*\w+", line.strip()) is not None for line in text.split("\n")]
    if sum(option) != 5:
        return None
    before = text.split("\n")[: option.index(True)]
    return len("".join(f" {line.strip()}" for line in before).strip())


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def reverse_newline(answer: str) -> bool:
    """At least 52 lines from Zimbabwe on, in reverse alphabetical order."""
    found = [bare for line in answer.split("\n") if (bare := line.strip(_MARKS))]
    begun = next((i for i, line in enumerate(found) if "Zimbabwe" in line), len(found))
    names = [_ascii(line) for line in found[begun:]]
    return len(names) >= 52 and names == sorted(names, reverse=True)


def word_reverse(answer: str) -> bool:
    """The words in reverse order are one sentence with `bald eagle`."""
    text = " ".join(answer.lower().translate(PUNCTUATION).split()[::-1])
    return "bald eagle" in text and text in sentences(text)


def character_reverse(answer: str) -> bool:
    """The letters of `bald eagle` in reverse order."""
    return "elgae dlab" in answer.lower()


def sentence_alphabet(answer: str) -> bool:
    """26 sentences, which begin with the letters of the alphabet in order."""
    return [sentence.lstrip()[:1].lower() for sentence in sentences(answer)] == [chr(97 + i) for i in range(26)]


def european_capitals_sort(answer: str) -> bool:
    """The capitals of Europe north of 45 degrees, from north to south."""
    return [name.strip() for name in _ascii(answer).split(",") if name.strip()] == CAPITALS


def csv_city(answer: str) -> bool:
    """A header and seven rows of five fields."""
    rows = list(csv.reader(io.StringIO(answer)))
    return len(rows) == 8 and rows[0] == ["ID", "Country", "City", "Year", "Count"] and all(len(r) == 5 for r in rows)


def _has_header(answer: str, names: str, separator: str) -> bool:
    fields = separator.join(f'({name}|"{name}")' for name in names.split())
    return re.match(f"^{fields}$", answer.split("\n", maxsplit=1)[0].strip()) is not None


def csv_special_character(answer: str) -> bool:
    """A header and 14 rows of five fields, of which one is quoted and has a special character."""
    if not _has_header(answer, "ProductID Category Brand Price Stock", ",[ \\t]*"):
        return False
    rows = list(csv.reader(io.StringIO(answer.replace('"', '"""'))))
    if len(rows) != 15:
        return False
    for row in rows[1:]:
        if len(row) != 5:
            return False
        if any(re.match(r'".*[^\d\w\s].*"', field) for field in row):
            return True
    return False


def csv_quotes(answer: str) -> bool:
    """A header and three rows of five fields, separated by tabs, all quoted."""
    if not _has_header(answer, "StudentID Subject Grade Semester Score", "\\t *"):
        return False
    rows = list(csv.reader(io.StringIO(answer.replace('"', '"""')), delimiter="\t"))
    quoted = all(re.fullmatch(r'".*"|"', field.strip(), re.DOTALL) for row in rows for field in row)
    return len(rows) == 4 and all(len(row) == 5 for row in rows) and quoted


def date_format_list(answer: str) -> bool:
    """Dates `YYYY-MM-DD` of Napoleon's life, separated by commas."""
    found = [re.match(r"^(\d{4})-(\d{2})-(\d{2})$", date.strip()) for date in answer.strip().split(",")]
    dates = [tuple(map(int, date.groups())) for date in found if date is not None]
    return len(dates) == len(found) and all(
        1769 <= year <= 1821 and month <= 12 and (month == 0 or day <= _DAYS.get(month, 31))
        for year, month, day in dates
    )


def repeat_change(answer: str, prompt_to_repeat: str) -> bool:
    """The prompt with another first word."""
    return answer != prompt_to_repeat and answer.split()[1:] == prompt_to_repeat.split()[1:]


def repeat_simple(answer: str) -> bool:
    """The constraint's own sentence only."""
    return answer.strip().lower() == ONLY_THIS.lower()


def repeat_span(answer: str, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    """The prompt's characters between the two indices, both included."""
    return answer.strip().lower() == prompt_to_repeat[n_start : n_end + 1].strip().lower()


def title_case(answer: str) -> bool:
    """No word begins with a small letter."""
    return not any(_is_small(token) for token in word_tokens(answer) if token[0].isalpha())


def _is_small(word: str) -> bool:
    return word[0].islower() and (len(word) == 1 or word[1:].isupper() or word[1:].islower())


def output_template(answer: str) -> bool:
    """The three labels."""
    return all(label in answer for label in ("My Answer:", "My Conclusion:", "Future Outlook:"))


def no_whitespace(answer: str) -> bool:
    """No white space."""
    return not any(sign.isspace() for sign in answer)


IFBENCH_LAYOUT: dict[str, Callable[..., bool]] = {
    "count:punctuation": punctuation,
    "format:parentheses": parentheses,
    "format:quotes": quotes,
    "format:options": options,
    "format:newline": newline,
    "format:emoji": emoji,
    "format:line_indent": line_indent,
    "format:quote_unquote": quote_unquote,
    "format:list": special_list,
    "format:thesis": thesis,
    "format:sub-bullets": sub_bullets,
    "format:no_bullets_bullets": no_bullets_bullets,
    "custom:multiples": multiples,
    "custom:mcq_count_length": mcq_count_length,
    "custom:reverse_newline": reverse_newline,
    "custom:word_reverse": word_reverse,
    "custom:character_reverse": character_reverse,
    "custom:sentence_alphabet": sentence_alphabet,
    "custom:european_capitals_sort": european_capitals_sort,
    "custom:csv_city": csv_city,
    "custom:csv_special_character": csv_special_character,
    "custom:csv_quotes": csv_quotes,
    "custom:date_format_list": date_format_list,
    "repeat:repeat_change": repeat_change,
    "repeat:repeat_simple": repeat_simple,
    "repeat:repeat_span": repeat_span,
    "format:title_case": title_case,
    "format:output_template": output_template,
    "format:no_whitespace": no_whitespace,
}
"""Checks of the types on layout."""
