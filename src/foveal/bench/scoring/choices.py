"""Multiple choice: one letter, or a set of letters."""

import re

from foveal.reward.choice import choice
from foveal.reward.text import unwrapped
from foveal.trajectory import Question

_LABELS = re.compile(r"\(?[A-Z0-9]\)?(?:(?:\s*[,;&/]\s*(?:and\s+)?|\s+and\s+|\s+)\(?[A-Z0-9]\)?|[A-Z])*\.?")


def letter(answer: str, question: Question) -> float | None:
    """1 if the answer names the right option, 0 if it names another, None if it does not plainly name one."""
    right = choice(answer, question)
    return None if right is None else float(right)


def labels(answer: str, question: Question) -> float | None:
    """1 if the answer names exactly the labels of the gold answer, in any order (`B, D` is `DB`); else 0.

    None if the answer is more than labels. Labels are capitals or single digits, as they stand in the picture.
    """
    given = read_labels(answer)
    right = [read_labels(gold) for gold in question.gold]
    return None if given is None or None in right else float(given in right)


def read_labels(text: str) -> frozenset[str] | None:
    """The labels that the whole text is; None if it is more than that: `B, D`, `BD`, `(B) and (D)`, `b`."""
    plain = unwrapped(text)
    plain = plain.upper() if len(plain) == 1 else plain
    if not _LABELS.fullmatch(plain):
        return None
    return frozenset(re.findall(r"[A-Z0-9]", re.sub(r"\band\b", "", plain)))
