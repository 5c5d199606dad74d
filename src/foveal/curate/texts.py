"""Questions that are near in their words: how much of a benchmark's question stands in another text.

The measure is the share of the benchmark question's n-grams that the text holds, for n = a sixth of its words, at
least 3 and at most 13. (The 13-grams that are usual for web text find no question of fewer than 13 words.) A text that
lacks one of its numbers is another question: 2012 is not 2013. Operators are words, too: 12 + 5 is not 12 - 5.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

FEWEST_WORDS = 5
"""Shorter questions are not looked for by their words alone: `What is this?` is in every set."""
FLOOR = 0.5
"""Smallest overlap that is told of."""

_RAISED = {ord(raised): f"^{digit}" for digit, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
"""Else they would become plain digits: 10² is not 102."""
_SIGNS = {ord(sign): plain for plain, signs in {"-": "−‐‑–—", "*": "×·⋅∗", "/": "÷⁄∕"}.items() for sign in signs}
"""Other ways to write an operator."""
_WORDS = re.compile(
    r"""
      [㐀-鿿぀-ヿ]                                                # a letter of Chinese or Japanese
    | \d+ (?:\.\d+)+ | (?<![\w.]) \.\d+                          # a number with a decimal point
    | [^\W_㐀-鿿぀-ヿ]+                                          # a word or a number
    | != | [+<=>^±∀-⋿]                                          # signs that are nothing but operators
    | (?<![^\W\d_]) (?<!\*) [-*/]                               # others that begin an operand, unlike in "covid-19"
      (?= \ ?\.?\d | \ ?\\ | [(\[{$√] | [^\W\d_](?![^\W\d_]) )
    | (?: (?<=[\d)\]}$]) | (?<=[\d)\]}$]\ ) | (?<=\b\w) | (?<=\b\w\ ) ) [-*/]+      # or stand between two operands
      (?= \ ?[-+]? (?: \.?\d | [(\[{\\$√] | [^\W\d_](?![^\W\d_]) ) )
    """,
    re.VERBOSE,
)
"""Words, and what tells one calculation from another. Hyphens, dashes and slashes between words do not."""


def words_of(text: str) -> list[str]:
    """The words of a text, without case, forms of letters and punctuation; operators and decimal points are kept."""
    folded = unicodedata.normalize("NFKC", text.translate(_RAISED)).casefold().translate(_SIGNS)
    return _WORDS.findall(" ".join(folded.split()))


def grams(words: Sequence[str], size: int) -> set[str]:
    """All runs of so many words."""
    return {" ".join(words[at : at + size]) for at in range(len(words) - size + 1)}


class KnownText:
    """A question of a benchmark.

    Args:
        text: As it stands there.
    """

    def __init__(self, text: str):
        words = words_of(text)
        self.normal = " ".join(words)
        """The words, joined."""
        self.words = len(words)
        """How many."""
        self.size = max(1, min(len(words), max(3, min(13, len(words) // 6))))
        self.grams = grams(words, self.size)
        """Its n-grams."""
        self._numbers = {word for word in words if any(letter.isdigit() for letter in word)}

    def overlap(self, words: Sequence[str]) -> float:
        """Share of its n-grams that a text has; 0 if the text lacks one of its numbers."""
        if not self.grams or not self._numbers <= set(words):
            return 0.0
        return len(self.grams & grams(words, self.size)) / len(self.grams)


class TextIndex:
    """Finds the known texts that overlap with a text.

    Each is found by its rarest n-grams only, as many of them as that an overlap of `FLOOR` must hit one: words that
    every question has cost nothing.

    Args:
        known: The texts. Those of fewer than `FEWEST_WORDS` words are never found.
    """

    def __init__(self, known: Sequence[KnownText]):
        self.known = known
        often = Counter(gram for text in known for gram in text.grams)
        self._found: dict[str, list[int]] = defaultdict(list)
        for place, text in enumerate(known):
            if text.words < FEWEST_WORDS:
                continue
            rarest = sorted(text.grams, key=lambda gram: (often[gram], gram))
            missable = int(len(rarest) * (1 - FLOOR))
            for gram in rarest[: missable + 1]:
                self._found[gram].append(place)
        self._sizes = sorted({text.size for text in known if text.words >= FEWEST_WORDS})

    def near(self, words: Sequence[str]) -> list[tuple[int, float]]:
        """Places and overlaps of the known texts with at least `FLOOR` of their n-grams in the text."""
        places = {place for size in self._sizes for gram in grams(words, size) for place in self._found.get(gram, ())}
        overlaps = ((place, self.known[place].overlap(words)) for place in sorted(places))
        return [(place, overlap) for place, overlap in overlaps if overlap >= FLOOR]
