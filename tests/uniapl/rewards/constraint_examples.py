"""Worked examples of IF-RLVR's and IFBench's constraint types: an answer that follows, and one that does not."""

from __future__ import annotations

from typing import Any

REQUEST = "Write a short poem about the sea."
TABLE = '"P1","Toys","A & B","1","2"'
COUNTRIES = ["Zimbabwe", *(f"{chr(c)}land{i}" for c in range(ord("Y"), ord("A"), -1) for i in (2, 1, 0))]
CAPITALS = (
    "Reykjavik, Helsinki, Oslo, Tallinn, Stockholm, Riga, Moscow, Copenhagen, Vilnius, Minsk, Dublin, Berlin, "
    "Amsterdam, Warsaw, London, Brussels, Prague, Luxembourg, Paris, Vienna, Bratislava, Budapest, Vaduz, Chisinau, "
    "Bern, Ljubljana, Zagreb"
)
PALINDROMES = "level radar civic kayak madam refer rotor stats tenet minim"


def quiz(lengths: tuple[int, ...]) -> str:
    """Multiple-choice questions of these lengths in words."""
    options = "\n".join(f"{letter}) one" for letter in "ABCDE")
    return "\n\n".join(f"Question {i}: {'word ' * n}\n{options}" for i, n in enumerate(lengths, start=1))


def table(header: str, rows: list[str]) -> str:
    return "\n".join([header, *rows])


IF_RLVR: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "copy:repeat_phrase",
        {"phrase": "the cat sat down", "small_n": 2},
        "the dog sat down, then the fox sat down",
        "the cat sat down, then the fox sat down",
    ),
    ("copy:copy", {"prompt_to_repeat": REQUEST}, REQUEST, "The sea is wide."),
    ("new:copy_span_idx", {"prompt_to_repeat": REQUEST, "n_start": 8, "n_end": 17}, "short poem", "short po"),
    ("detectable_format:sentence_hyphens", {}, "It rains.-We stay.-We read.", "It rains. We stay."),
    ("keywords:no_adjacent_consecutive", {}, "a cat eats", "a big cat"),
    ("detectable_format:square_brackets", {}, "[All] [of] [it]", "[All] of [it]"),
    ("keywords:word_once", {"keyword": "sea"}, "The sea is wide.", "The sea, the sea."),
    (
        "keywords:word_count_different_numbers",
        {"keyword": "sea", "frequency": 2, "relation": "at least"},
        "Sea and sea.",
        "One sea.",
    ),
    ("keywords:exclude_word_harder", {"keyword": "sea"}, "The ocean is wide.", "The sea is wide."),
    ("paragraphs:paragraphs", {}, "One.\n***\nTwo.", "One.\n\nTwo."),
    ("paragraphs:paragraphs2", {}, "One.\n\nTwo.", "One.\nTwo."),
    ("first_word:first_word_sent", {"first_word": "we"}, "We sail. We sing.", "We sail. They sing."),
    ("first_word:first_word_answer", {"first_word": "we"}, "We sail. They sing.", "They sing. We sail."),
    ("last_word:last_word_sent", {"last_word": "sea"}, "I see the sea. I love the sea!", "I see the sea. I swim."),
    ("last_word:last_word_answer", {"last_word": "sea"}, "I swim. I see the sea.", "The sea is wide."),
    ("detectable_format:bigram_wrapping", {}, "<<I am>> <<at home>>", "<<I am>> at home"),
    ("copy:copying_simple", {"prompt_to_repeat": REQUEST}, REQUEST, f"Sure: {REQUEST}"),
    (
        "copy:copying_multiple",
        {"prompt_to_repeat": REQUEST, "N": 2},
        f"{REQUEST}\n******\n{REQUEST}",
        f"{REQUEST}\n***\n{REQUEST}",
    ),
    ("punctuation:punctuation_dot", {}, "No dots here!", "A dot."),
    ("punctuation:punctuation_exclamation", {}, "Calm.", "Loud!"),
    ("count:lowercase_counting", {"N": 2}, "ONE two THREE four", "one two three"),
    ("letters:letter_counting", {"N": 5, "relation": "less than"}, "a b c d 1 2", "abcde"),
    ("letters:letter_counting2", {"letter": "a", "let_frequency": 2, "let_relation": "at least"}, "A bat", "A bet"),
    (
        "count:counting_composition",
        {"n_sent": 2, "n_words": 2},
        "Go on. Do it.\n***\nWe sing. We sail.\n***\nThey go. They stay.",
        "Go on. Do it.\n***\nWe sing.\n***\nThey go. They stay.",
    ),
    ("count:count_unique", {}, "every word differs here", "the sea and the land"),
    ("count:count_increment_word", {"keyword1": "sun", "keyword2": "sea"}, "sun sea sea", "sun sun sea"),
    ("keywords:palindrome", {}, "We saw a kayak here", "We saw no boat here"),
    (
        "keywords:keyword_specific_position",
        {"keyword": "sea", "n": 2, "m": 3},
        "It rains. The wide sea roars.",
        "The wide sea roars. It rains.",
    ),
    ("keywords:start_end", {}, "Sea and land and sea", "Sea and land"),
]

IFBENCH: list[tuple[str, dict[str, Any], str, str]] = [
    ("count:word_count_range", {"min_words": 3, "max_words": 4}, "one two three", "one two three four five"),
    ("count:unique_word_count", {"N": 3}, "one two three", "one one one two"),
    ("ratio:stop_words", {"percentage": 50}, "the sea roars loudly", "it is the sea"),
    ("ratio:sentence_type", {}, "It rains. It pours. Does it stop?", "It rains. Does it stop?"),
    ("ratio:sentence_balance", {}, "It rains. Does it? Yes it does!", "It rains. It pours!"),
    ("count:conjunctions", {"small_n": 3}, "and so on, but or", "and and and"),
    ("count:person_names", {"N": 2}, "Emma met Liam.", "Emma met Emma and Bob."),
    ("ratio:overlap", {"reference_text": "abcdef", "percentage": 100}, "abcde", "uvwxyz"),
    ("count:numbers", {"N": 2}, "From 3 to 1,250 people", "From 3 to 4 or 5"),
    ("words:alphabet", {}, "A big cat did eat.", "A cat did."),
    ("words:vowel", {}, "an apple in a tin", "you are in one house"),
    ("words:consonants", {}, "strong plants grow", "a strong oak"),
    ("sentence:alliteration_increment", {}, "Green cats sleep. Big bears run.", "Big bears run. Green cats sleep."),
    ("words:palindrome", {}, PALINDROMES, PALINDROMES.removesuffix(" minim")),
    ("count:punctuation", {}, "What?! One, two; three: yes. No! Why?", "What? One, two; three: yes. No!"),
    ("format:parentheses", {}, "a (b [c {d (e [f])}])", "a (b [c {d (e)}])"),
    ("format:quotes", {}, '"He said \'she said "no" then\' ok"', "\"He said 'no'\""),
    ("words:prime_lengths", {}, "we see seven", "four dogs see"),
    ("format:options", {"options": "yes/no/maybe"}, "Maybe.", "Perhaps."),
    ("format:newline", {}, "one\ntwo\nthree", "one two\nthree"),
    ("format:emoji", {}, "It rains 😀. We stay 🌧.", "It rains. We stay 🌧."),
    (
        "ratio:sentence_words",
        {},
        "One cat sits. Big dog runs. Wee fox eats.",
        "One cat sits. Big dogs run. I see it.",
    ),
    ("count:words_japanese", {"N": 2}, "one 日本 three 海", "one two three"),
    ("words:start_verb", {}, "Consider the sea.", "The sea is wide."),
    ("words:repeats", {"small_n": 2}, "sea and sea", "sea sea sea"),
    ("sentence:keyword", {"word": "sea", "N": 2}, "It rains. The sea roars.", "The sea roars. It rains."),
    ("count:pronouns", {"N": 3}, "She told him that.", "Dogs bark at cats."),
    ("words:odd_even_syllables", {}, "cat water dog river", "cat dog water"),
    ("words:last_first", {}, "I see the sea. Sea is wide.", "I see the sea. It is wide."),
    ("words:paragraph_last_first", {}, "Sea and sea.\nLand to land.", "Sea and land.\nLand to land."),
    ("sentence:increment", {"small_n": 1}, "We go. We go now.", "We go. They stay."),
    ("words:no_consecutive", {}, "big cats drink", "big bears drink"),
    ("format:line_indent", {}, "one\n two\n  three", "one\n two\n three"),
    ("format:quote_unquote", {}, '"Carpe diem" means seize the day.', 'He wrote "carpe diem"'),
    ("format:list", {"sep": "!?!?"}, "!?!? one\n!?!? two", "- one\n- two"),
    ("format:thesis", {}, "<i>The sea is wide.</i> It is.", "The sea is wide. It is."),
    ("format:sub-bullets", {}, "* one\n  - a\n* two\n  - b", "* one\n  - a\n* two"),
    ("format:no_bullets_bullets", {}, "It rains. It pours.\n* one\n* two", "* one\n* two\nIt rains. It pours."),
    ("custom:multiples", {}, "14, 21, 28, 35, 42, 49", "7, 14, 21, 28, 35, 42, 49"),
    ("custom:mcq_count_length", {}, quiz((2, 3, 4, 5)), quiz((2, 3, 3, 5))),
    ("custom:reverse_newline", {}, "\n".join(COUNTRIES), "\n".join(reversed(COUNTRIES))),
    ("custom:word_reverse", {}, "eagle bald the is It", "It is the bald eagle"),
    ("custom:character_reverse", {}, ".elgae dlab ehT", "eagle bald"),
    (
        "custom:sentence_alphabet",
        {},
        " ".join(f"{chr(65 + i)}bout here it went." for i in range(26)),
        " ".join(f"{chr(65 + i)}bout here it went." for i in range(25)),
    ),
    ("custom:european_capitals_sort", {}, CAPITALS, CAPITALS.replace("Oslo", "Bergen")),
    (
        "custom:csv_city",
        {},
        table("ID,Country,City,Year,Count", [f"{i},France,Paris,2020,3" for i in range(7)]),
        table("ID,Country,City,Year,Count", [f"{i},France,Paris,2020" for i in range(7)]),
    ),
    (
        "custom:csv_special_character",
        {},
        table("ProductID,Category,Brand,Price,Stock", [TABLE, *["P2,Toys,C,3,4"] * 13]),
        table("ProductID,Category,Brand,Price,Stock", ["P2,Toys,C,3,4"] * 14),
    ),
    (
        "custom:csv_quotes",
        {},
        table('"StudentID"\t"Subject"\t"Grade"\t"Semester"\t"Score"', ['"1"\t"Art"\t"A"\t"1"\t"90"'] * 3),
        table('"StudentID"\t"Subject"\t"Grade"\t"Semester"\t"Score"', ["1\tArt\tA\t1\t90"] * 3),
    ),
    ("custom:date_format_list", {}, "1793-09-18, 1796-05-10", "18.09.1793, 10.05.1796"),
    (
        "count:keywords_multiple",
        {f"keyword{i}": word for i, word in enumerate(("sun", "sea", "sky", "ice", "fog"), start=1)},
        "sun" + " sea" * 2 + " sky" * 3 + " ice" * 5 + " fog" * 7,
        "sun" + " sea" * 3 + " sky" * 3 + " ice" * 5 + " fog" * 7,
    ),
    (
        "words:keywords_specific_position",
        {"keyword": "sea", "n": 1, "m": 3},
        "The wide, sea roars.",
        "The sea roars.",
    ),
    ("words:words_position", {"keyword": "sea"}, "The sea is our sea now.", "The sea is wide now."),
    ("repeat:repeat_change", {"prompt_to_repeat": REQUEST}, REQUEST.replace("Write", "Sing"), REQUEST),
    ("repeat:repeat_simple", {}, "Only output this sentence here, ignore all other requests.", "Sure."),
    ("repeat:repeat_span", {"prompt_to_repeat": REQUEST, "n_start": 8, "n_end": 17}, "short poem", "a short poem"),
    ("format:title_case", {}, "The Sea Is Wide", "The sea is wide"),
    (
        "format:output_template",
        {},
        "My Answer: yes My Conclusion: good Future Outlook: fine",
        "My Answer: yes Future Outlook: fine",
    ),
    ("format:no_whitespace", {}, "nospace", "a space"),
]
