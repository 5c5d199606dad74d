"""Rules of CharXiv that need no judge.

The official grading asks GPT-4o with a rubric for each kind of question; what its rubrics decide without reading
(equal numbers, yes or no, layouts, `Not Applicable`, an equal text) is decided here, and the rest is left to the judge.
"""

import re
from fractions import Fraction

from foveal.reward.number import number, read_quantity
from foveal.reward.text import normalise, unwrapped
from foveal.trajectory import Question

YES_OR_NO, LAYOUT = 11, 18
"""Numbers of the descriptive templates with an answer of their own form."""

_NOT_APPLICABLE = re.compile(r"(?:not applicable|n\s*/\s*a)\.?", re.IGNORECASE)
_LAYOUT = re.compile(r"(\d+)\s*(?:by|x|×)\s*(\d+)", re.IGNORECASE)
_YES_OR_NO = re.compile(r"(yes|no)\b.*", re.IGNORECASE | re.DOTALL)


def rubric(answer: str, question: Question) -> float | None:
    """1 or 0 where the rubric of the question leaves nothing to judge; else None."""
    text, gold, template = unwrapped(answer), question.gold[0], question.meta.get("template")
    if normalise(text) == normalise(gold):
        return 1.0
    if _NOT_APPLICABLE.fullmatch(gold.strip()) or _NOT_APPLICABLE.fullmatch(text):
        both = _NOT_APPLICABLE.fullmatch(gold.strip()) and _NOT_APPLICABLE.fullmatch(text)
        return 1.0 if both else 0.0 if _short(text) else None
    if template == YES_OR_NO and (said := _YES_OR_NO.fullmatch(text)):
        return float(said[1].casefold() == gold.strip().casefold())
    if template == LAYOUT and (given := _LAYOUT.fullmatch(text)) and (right := _LAYOUT.fullmatch(gold.strip())):
        return float(given.groups() == right.groups())
    same = number(text, [gold], Fraction(0), Fraction(0))
    return None if same is None else float(same)


def _short(text: str) -> bool:
    """A number or a text of one line that says nothing of applying: not `Not Applicable` in other words."""
    return read_quantity(text) is not None or _NOT_APPLICABLE.fullmatch(text) is not None
