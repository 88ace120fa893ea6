"""Constraint types of instruction following, with the argument names of the published data files.

IFEval (arXiv:2311.07911) has 25 types; IF-RLVR (arXiv:2507.02833, allenai/open-instruct) adds 29 for training, and
IFBench (allenai/IFBench) has 58 for evaluation.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter
from typing_extensions import TypedDict

Relation = Literal["less than", "at least"]
Text = Annotated[str, Field(min_length=1)]
Words = Annotated[list[Text], Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Ordinal = Annotated[int, Field(ge=1)]
Word = Annotated[Text, BeforeValidator(lambda word: word[0] if isinstance(word, list) and len(word) == 1 else word)]
"""A word; IF-RLVR's files write some as a list of one."""


def _arguments(**fields: Any) -> TypeAdapter[Any]:
    """Validator of an object with exactly these fields."""
    return TypeAdapter(TypedDict("Arguments", fields, closed=True))  # type: ignore[operator]


IFEVAL: dict[str, TypeAdapter[Any]] = {
    "keywords:existence": _arguments(keywords=Words),
    "keywords:frequency": _arguments(keyword=Text, frequency=Count, relation=Relation),
    "keywords:forbidden_words": _arguments(forbidden_words=Words),
    "keywords:letter_frequency": _arguments(letter=Text, let_frequency=Count, let_relation=Relation),
    "language:response_language": _arguments(language=Text),
    "length_constraints:number_sentences": _arguments(num_sentences=Count, relation=Relation),
    "length_constraints:number_paragraphs": _arguments(num_paragraphs=Ordinal),
    "length_constraints:number_words": _arguments(num_words=Count, relation=Relation),
    "length_constraints:nth_paragraph_first_word": _arguments(
        num_paragraphs=Ordinal, nth_paragraph=Ordinal, first_word=Text
    ),
    "detectable_content:number_placeholders": _arguments(num_placeholders=Count),
    "detectable_content:postscript": _arguments(postscript_marker=Text),
    "detectable_format:number_bullet_lists": _arguments(num_bullets=Count),
    "detectable_format:constrained_response": _arguments(),
    "detectable_format:number_highlighted_sections": _arguments(num_highlights=Count),
    "detectable_format:multiple_sections": _arguments(section_spliter=Text, num_sections=Ordinal),
    "detectable_format:json_format": _arguments(),
    "detectable_format:title": _arguments(),
    "combination:two_responses": _arguments(),
    "combination:repeat_prompt": _arguments(prompt_to_repeat=Text),
    "startend:end_checker": _arguments(end_phrase=Text),
    "startend:quotation": _arguments(),
    "change_case:capital_word_frequency": _arguments(capital_frequency=Count, capital_relation=Relation),
    "change_case:english_capital": _arguments(),
    "change_case:english_lowercase": _arguments(),
    "punctuation:no_comma": _arguments(),
}
"""The 25 types of IFEval (arXiv:2311.07911, table 1)."""

_SPAN = {"prompt_to_repeat": Text, "n_start": Count, "n_end": Count}
IF_RLVR: dict[str, TypeAdapter[Any]] = {
    "copy:repeat_phrase": _arguments(phrase=Text, small_n=Ordinal),
    "copy:copy": _arguments(prompt_to_repeat=Text),
    "new:copy_span_idx": _arguments(**_SPAN),
    "detectable_format:sentence_hyphens": _arguments(),
    "keywords:no_adjacent_consecutive": _arguments(),
    "detectable_format:square_brackets": _arguments(),
    "keywords:word_once": _arguments(keyword=Word),
    "keywords:word_count_different_numbers": _arguments(keyword=Word, frequency=Count, relation=Relation),
    "keywords:exclude_word_harder": _arguments(keyword=Word),
    "paragraphs:paragraphs": _arguments(),
    "paragraphs:paragraphs2": _arguments(),
    "first_word:first_word_sent": _arguments(first_word=Word),
    "first_word:first_word_answer": _arguments(first_word=Word),
    "last_word:last_word_sent": _arguments(last_word=Word),
    "last_word:last_word_answer": _arguments(last_word=Word),
    "detectable_format:bigram_wrapping": _arguments(),
    "copy:copying_simple": _arguments(prompt_to_repeat=Text),
    "copy:copying_multiple": _arguments(prompt_to_repeat=Text, N=Ordinal),
    "punctuation:punctuation_dot": _arguments(),
    "punctuation:punctuation_exclamation": _arguments(),
    "count:lowercase_counting": _arguments(N=Count),
    "letters:letter_counting": _arguments(N=Count, relation=Relation),
    "letters:letter_counting2": _arguments(letter=Text, let_frequency=Count, let_relation=Relation),
    "count:counting_composition": _arguments(n_sent=Ordinal, n_words=Ordinal),
    "count:count_unique": _arguments(),
    "count:count_increment_word": _arguments(keyword1=Word, keyword2=Word),
    "keywords:palindrome": _arguments(),
    "keywords:keyword_specific_position": _arguments(keyword=Word, n=Ordinal, m=Ordinal),
    "keywords:start_end": _arguments(),
}
"""The 29 types that IF-RLVR adds for training."""

_PLAIN = """
ratio:sentence_type ratio:sentence_balance words:alphabet words:vowel words:consonants sentence:alliteration_increment
words:palindrome count:punctuation format:parentheses format:quotes words:prime_lengths format:newline format:emoji
ratio:sentence_words words:start_verb words:odd_even_syllables words:last_first words:paragraph_last_first
words:no_consecutive format:line_indent format:quote_unquote format:thesis format:sub-bullets format:no_bullets_bullets
custom:multiples custom:mcq_count_length custom:reverse_newline custom:word_reverse custom:character_reverse
custom:sentence_alphabet custom:european_capitals_sort custom:csv_city custom:csv_special_character custom:csv_quotes
custom:date_format_list repeat:repeat_simple format:title_case format:output_template format:no_whitespace
"""
IFBENCH: dict[str, TypeAdapter[Any]] = {
    "count:word_count_range": _arguments(min_words=Count, max_words=Count),
    "count:unique_word_count": _arguments(N=Count),
    "ratio:stop_words": _arguments(percentage=Count),
    "count:conjunctions": _arguments(small_n=Count),
    "count:person_names": _arguments(N=Count),
    "ratio:overlap": _arguments(reference_text=Text, percentage=Count),
    "count:numbers": _arguments(N=Count),
    "format:options": _arguments(options=Text),
    "count:words_japanese": _arguments(N=Ordinal),
    "words:repeats": _arguments(small_n=Ordinal),
    "sentence:keyword": _arguments(word=Word, N=Ordinal),
    "count:pronouns": _arguments(N=Count),
    "sentence:increment": _arguments(small_n=Count),
    "format:list": _arguments(sep=Text),
    "count:keywords_multiple": _arguments(**{f"keyword{i}": Word for i in range(1, 6)}),
    "words:keywords_specific_position": _arguments(keyword=Word, n=Ordinal, m=Ordinal),
    "words:words_position": _arguments(keyword=Word),
    "repeat:repeat_change": _arguments(prompt_to_repeat=Text),
    "repeat:repeat_span": _arguments(**_SPAN),
    **{name: _arguments() for name in _PLAIN.split()},
}
"""The 58 types of IFBench."""
