"""Short answers in words or numbers."""

import re
import string
from collections.abc import Iterable
from fractions import Fraction

from foveal.reward.number import number
from foveal.reward.text import normalise, unwrapped
from foveal.trajectory import Question

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = re.compile(rf"[,.;:!?](?=\s|$)|(?<!\d)[{re.escape(string.punctuation)}](?!\d)")
"""Not what stands at a digit: 3.14 is not 314, -5 not 5, and 10^5 not 105."""
_OR = re.compile(r"\s+or\s+", re.IGNORECASE)


def short(answer: str, question: Question) -> float | None:
    """1 if the answer is a gold answer, in words or as a number; 0 if all are numbers and it is another; else None."""
    if equal_words(answer, question.gold):
        return 1.0
    right = number(answer, question.gold, Fraction(0), Fraction(0))
    return None if right is None else float(right)


def equal_words(answer: str, golds: Iterable[str]) -> bool:
    """Whether the answer is one of the gold answers in `plain` words."""
    return plain(answer) in {plain(gold) for gold in golds} - {""}


def plain(text: str) -> str:
    """The text without case, punctuation, the articles a, an and the, and extra white space.

    That is how SQuAD, InfoSeek and MMSearch-R1 compare answers (infoseek_eval.py, mmsearch_r1_score.py), but for
    punctuation at digits, which they drop. A text of articles or punctuation alone stays as it is.
    """
    same = normalise(unwrapped(text))
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION.sub("", same)).split()) or same


def alternatives(text: str) -> tuple[str, ...]:
    """The gold answers of RealX-Bench: the whole text, and, where ` or ` stands between words, its parts.

    The whole stays, because an answer may hold an `or` of its own (`trick or treat`).
    """
    parts = [part.strip() for part in _OR.split(text.strip()) if part.strip()]
    return tuple(dict.fromkeys([text.strip(), *parts]))
