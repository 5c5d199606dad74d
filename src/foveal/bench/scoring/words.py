"""Short answers in words or numbers."""

import re
import string
from fractions import Fraction

from foveal.reward.number import number
from foveal.reward.text import normalise, unwrapped
from foveal.trajectory import Question

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_OR = re.compile(r"\s+or\s+", re.IGNORECASE)


def short(answer: str, question: Question) -> float | None:
    """1 if the answer is a gold answer, in words or as a number; 0 if all are numbers and it is another; else None."""
    if plain(answer) in {plain(gold) for gold in question.gold}:
        return 1.0
    right = number(answer, question.gold, Fraction(0), Fraction(0))
    return None if right is None else float(right)


def plain(text: str) -> str:
    """The text without case, punctuation, the articles a, an and the, and extra white space.

    That is how SQuAD, InfoSeek and MMSearch-R1 compare answers (infoseek_eval.py, mmsearch_r1_score.py); before it
    comes our own normalisation, so that `10⁵` is not `105`. A text of punctuation alone stays as it is.
    """
    same = normalise(unwrapped(text))
    return " ".join(_ARTICLES.sub(" ", same.translate(_NO_PUNCTUATION)).split()) or same


def alternatives(text: str) -> tuple[str, ...]:
    """The gold answers of RealX-Bench: the whole text, and, where ` or ` stands between words, its parts.

    The whole stays, because an answer may hold an `or` of its own (`trick or treat`).
    """
    parts = [part.strip() for part in _OR.split(text) if part.strip()]
    return tuple(dict.fromkeys([text.strip(), *parts]))
