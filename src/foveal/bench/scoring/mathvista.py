"""Answers of MathVista, by the type that every question states."""

from fractions import Fraction

from foveal.bench.rows import parse_literal
from foveal.reward.choice import choice
from foveal.reward.number import read_quantity
from foveal.reward.text import normalise, unwrapped
from foveal.trajectory import Question

_EXACT = 10**15
"""Larger numbers have no places to round to."""


def typed(answer: str, question: Question) -> float | None:
    """1 or 0 where the answer can be read as `question.meta["answer_type"]` says; else None.

    After `normalize_extracted_answer` of the benchmark: an `integer` loses its fraction, a `float` is rounded to
    `precision` places, and both are compared as numbers; a `list` element by element; options by letter or text.
    Other than there, a wrong text is not taken for the most similar option, and units are no obstacle.
    """
    kind = question.meta.get("answer_type")
    if question.meta.get("options"):
        right = choice(answer, question)
        return None if right is None else float(right)
    if kind in ("integer", "float"):
        given, gold = read_quantity(answer), read_quantity(question.gold[0])
        if given is None or gold is None:
            return None
        places = question.meta.get("precision")
        return float(_as(given.value, kind, places) == _as(gold.value, kind, places))
    if kind == "list":
        return float(_listed(answer) == _listed(question.gold[0])) if _listed(answer) else None
    return 1.0 if normalise(unwrapped(answer)) == normalise(question.gold[0]) else None


def _as(value: Fraction, kind: str, places: object) -> Fraction:
    if kind == "integer":
        return Fraction(int(value))
    if abs(value) >= _EXACT:
        return value
    # Rounded as a float, because the benchmark does: round(2.675, 2) is 2.67.
    return Fraction(str(round(float(value), int(places) if isinstance(places, int | float | str) else 1)))


def _listed(text: str) -> list[str] | None:
    read = parse_literal(unwrapped(text))
    return [str(one) for one in read] if isinstance(read, list) else None
