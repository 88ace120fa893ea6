"""Syllables and verbs of English words by rules; the published checkers ask a dictionary and a tagger.

Limit: about one word in ten differs from a dictionary. NLTK's tagger and syllapy's dictionary are downloads.
"""

from __future__ import annotations

import re

_VERBS_TEXT = """
be am is are was were do does did have has had go goes went come came get got make made take took give gave see
saw know knew think thought say said find found use try ask need feel felt become became leave left put mean
meant keep kept let begin began seem help show hear heard play run ran move live believe bring brought happen
write wrote provide sit sat stand stood lose lost pay paid meet met include continue set learn change lead led
understand understood watch follow stop create speak spoke read allow add spend spent grow grew open walk win
won offer remember love consider appear buy bought wait serve die send sent expect build built stay fall fell
cut reach kill remain suggest raise pass sell sold require report decide pull imagine explore discover start
avoid choose chose note check ensure explain describe list call visit eat ate drink drank sleep slept work study
teach taught draw drew sing sang dance cook bake mix stir pour boil chop slice place press turn push click
select enter type install download plan prepare practice apply join follow enjoy accept achieve analyze answer
identify improve increase reduce share compare define develop design evaluate examine focus gather implement
look maintain manage measure monitor organize perform reflect remove replace research review save solve support
test treat update view wonder can could may might must shall should will would embrace picture dream listen
welcome welcome consult discuss invest seek contact submit track travel drive drove ride rode fly flew swim swam
climb jump carry hold held catch caught throw threw break broke fix clean wash wear wore fill
"""
_VERBS = frozenset(_VERBS_TEXT.split())
_NO_VERBS_TEXT = """
during morning evening nothing something anything everything king ring thing string spring being
"""
_NO_VERBS = frozenset(_NO_VERBS_TEXT.split())
_NO_PAST_TEXT = """
red bed need seed indeed hundred speed feed weed breed kindred sacred naked wicked
"""
_NO_PAST = frozenset(_NO_PAST_TEXT.split())


def syllables(word: str) -> int:
    """Number of syllables by spelling: groups of vowels, without a silent final e."""
    word = re.sub("[^a-z]", "", word.lower())
    if not word:
        return 0
    bare = re.sub(r"(?<=[^aeiouy])e$", "", word) if not re.search("[^aeiouy]le$", word) else word
    bare = re.sub(r"(?<=[^aeioutd])ed$", "d", bare) if len(bare) > 3 else bare
    bare = re.sub(r"(?<=[^aeiouysxzc])es$", "s", bare) if not re.search("(ch|sh|g)es$", bare) else bare
    groups = len(re.findall("[aeiouy]+", bare))
    groups += len(re.findall("(?<![ctsgq])i[ao](?!u)|[^q]ua|eo(?!u)|uou", bare))
    return max(1, groups)


def verb_begins(tokens: list[str]) -> bool:
    """Whether the first token is a verb form: of a list of common verbs, or by its ending."""
    if not tokens or not tokens[0].isalpha():
        return False
    word = tokens[0].lower()
    stem = re.sub("(?:ies|es|s)$", "", word)
    if word in _VERBS or {stem, stem + "e", stem + "y"} & _VERBS:
        return True
    if word.endswith("ing"):
        return word not in _NO_VERBS and len(word) > 4
    if word.endswith("ed"):
        return word not in _NO_PAST and len(word) > 3
    return re.search(r"(?:ize|ise|ify|ate)$", word) is not None and len(word) > 5
