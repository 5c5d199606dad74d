"""The words of a text as they are looked up: folded and stemmed; Chinese, Japanese and Korean in pairs of signs."""

import functools
import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from Stemmer import Stemmer

MAX_WORD = 64
"""Characters of a word that count."""

MAX_QUERY, MAX_TERMS = 10_000, 32
"""Characters and terms of a query that are looked at; the rest cannot slow a search down."""

# Words that say nothing about the subject: Lucene's English list and those that make a question. Left in, "the" and
# "of" in a title outweigh the name that was asked for.
_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with can did do does from had has have how its were what when where which who whom whose why"
)
_STOP = frozenset(_STOP_WORDS.split())

# Chinese and Japanese set no spaces between words, and Korean glues particles to its words, so each of their characters
# is a term together with the next one. Trigrams would find no word of two characters, and most are of two.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_LONE = re.compile(f"[{_CJK}]")
_ASCII = re.compile("[a-z0-9]+")
_ACCENTS = re.compile("[\u0300-\u036f]")


class Word(NamedTuple):
    """A term and where it stands in the text."""

    term: str
    start: int
    end: int


def terms(text: str) -> list[str]:
    """The terms of a text, in order, with repetitions."""
    if text.isascii():  # most text, and many times faster
        return _stemmed(_ASCII.findall(text.lower()))
    return [word.term for word in spans(text)]


def spans(text: str) -> Iterator[Word]:
    """The terms of a text with their places."""
    if text.isascii():
        found = list(_ASCII.finditer(text.lower()))
        for term, match in zip(_stemmed([match[0] for match in found]), found, strict=True):
            yield Word(term, match.start(), match.end())
        return
    for match in _pattern().finditer(text):
        if not _LONE.match(match[0]):
            [term] = _stemmed([_folded(match[0])])
            yield Word(term, match.start(), match.end())
            continue
        places = [match.start() + place for place, sign in enumerate(match[0]) if _LONE.match(sign)]
        for first, second in pairwise(places):
            yield Word(text[first] + text[second], first, second + 1)
        yield Word(text[places[-1]], places[-1], places[-1] + 1)


def query_terms(query: str) -> list[str]:
    """The terms of a query, each once, in order: stop words are left out unless there is nothing else.

    A single Chinese, Japanese or Korean character is a term only where it stands alone: `is_prefix`.
    """
    found: dict[str, bool] = {}
    for match in _pattern().finditer(query[:MAX_QUERY]):
        pairs = [word.term for word in spans(match[0])]
        if _LONE.match(match[0]):
            found |= dict.fromkeys(pairs[:-1] or pairs, False)
        else:
            found[pairs[0]] = match[0].lower() in _STOP
    telling = [term for term, stop in found.items() if not stop]
    return (telling or list(found))[:MAX_TERMS]


def is_prefix(term: str) -> bool:
    """Whether a term of a query stands for all terms that begin with it: a character of which no neighbour is known."""
    return len(term) == 1 and _LONE.match(term) is not None


def _folded(word: str) -> str:
    """A word without case and accents."""
    word = word.lower()
    return word if word.isascii() else _ACCENTS.sub("", unicodedata.normalize("NFKD", word))


@functools.cache
def _pattern() -> re.Pattern[str]:
    """Runs of Chinese, Japanese and Korean, with white space within, as lines end anywhere; and all other words.

    Combining marks belong to a word, or those of many Indian scripts would fall apart.
    """
    marks = "".join(c for c in map(chr, range(0x300, 0x20000)) if unicodedata.category(c)[0] == "M")
    return re.compile(f"[{_CJK}](?:\\s*[{_CJK}])*|[^\\W_{_CJK}](?:[^\\W_{_CJK}]|[{marks}])*")


def _stemmed(words: list[str]) -> list[str]:
    stemmed: list[str] = _stemmer().stemWords([word[:MAX_WORD] for word in words])
    return stemmed


@functools.cache
def _stemmer() -> Stemmer:
    return Stemmer("english")
