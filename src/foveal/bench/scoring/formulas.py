r"""Mathematical answers: numbers, formulas, lists of them.

Formulas are compared by `foveal.reward.symbolic`, which needs the extra `math`.
"""

import re
from fractions import Fraction

from foveal.reward.choice import choice
from foveal.reward.number import number, read_quantity
from foveal.reward.symbolic import symbolic
from foveal.reward.text import normalise, unwrapped
from foveal.trajectory import Question

_INTEGER = re.compile(r"\s*([+-]?\d{1,40})(?:\.0*)?\s*")
_OPENING, _CLOSING = "([{", ")]}"
_NOTHING = re.compile(r"\^\{?\\circ\}?|°|\\degree|\\!\s*|\\[,;:]|\\left(?![a-z])|\\right(?![a-z])")
"""Marks of degrees, and of typesetting."""
_NAME = re.compile(r"\s*\\?[A-Za-z]+(?:_(?:\{[^{}=]*\}|\w))?\s*(?:\([A-Za-z, ]*\))?\s*=(?!.*=)", re.DOTALL)
"""A name and an equals sign, the only one: `y =`, `a_{n} =`, `f(x) =`; not `2x + z =`."""
_MEMBER = re.compile(r"\s*[A-Za-z]\s*(?:\\in|∈)\s*")
_PERCENT = re.compile(r"(.*\d)\s*(?:\\?%|percent)", re.DOTALL)
_UNIT = re.compile(
    r"(.*[\d})])\s*\\(?:text|textnormal|textbf|mbox|mathrm)\{\s*([^{}]*?)\s*\}(?:\s*\^\{?\d\}?)?", re.DOTALL
)


def formula(answer: str, question: Question) -> float | None:
    """1 if the answer equals a gold answer as text, option, number or formula; 0 if it is another option or number.

    None if no rule can tell. What stands in the last `boxed` counts. As in the MATH benchmark, degrees, percent signs
    and units are no part of a result: a unit that only one side names is left away.

    Raises:
        MissingDependency: math-verify is not installed.
    """
    given, golds = final(answer), [final(gold) for gold in question.gold]
    if normalise(given) in map(normalise, golds):
        return 1.0
    rulings = (choice(answer, question), choice(given, question), number(given, golds, Fraction(0), Fraction(0)))
    if (right := next((ruling for ruling in rulings if ruling is not None), None)) is not None:
        return float(right)
    pairs = [pair for gold in golds if (pair := without_units(given, gold)) is not None]
    return 1.0 if any(_same(given, gold, Fraction(0)) for given, gold in pairs) else None


def final(text: str) -> str:
    r"""The result that a text states: what stands in its last `\boxed{}`, else all of it; no wrapping, no degrees."""
    start = text.rfind("\\boxed{")
    if start >= 0:
        depth, begin = 0, start + len("\\boxed")
        for end in range(begin, len(text)):
            depth += (text[end] == "{") - (text[end] == "}")
            if depth == 0:
                text = text[begin + 1 : end]
                break
    return _MEMBER.sub("", _NOTHING.sub("", unwrapped(text)), count=1).strip()


def without_units(answer: str, gold: str) -> tuple[str, str] | None:
    """Both without their units, if they have the same one, or one side has none; else None."""
    (given, unit), (right, gold_unit) = _split_unit(answer), _split_unit(gold)
    return None if unit and gold_unit and unit != gold_unit else (given, right)


def _split_unit(text: str) -> tuple[str, str]:
    if percent := _PERCENT.fullmatch(text):
        return percent[1], "%"
    if unit := _UNIT.fullmatch(text):
        return unit[1], unit[2].casefold().rstrip("s")
    return text, ""


def integer(answer: str, question: Question) -> float:
    """1 if the answer is the whole number of the gold answer, leading zeros or not (AIME: `073` is 73); else 0."""
    given = _INTEGER.fullmatch(final(answer).replace(",", ""))
    golds = [match for gold in question.gold if (match := _INTEGER.fullmatch(final(gold)))]
    return float(given is not None and any(int(given[1]) == int(gold[1]) for gold in golds))


def olympiad(answer: str, question: Question) -> float:
    r"""1 if the answer gives every part of the gold answer and nothing else, in any order; else 0.

    After `auto_scoring_judge.py` of OlympiadBench: parts stand between commas outside of brackets, `\pm` gives two,
    and numbers may be off by `question.meta["error"]` (one for all, or one a part). The gold answer is the first of
    `question.gold`, whose others are the same result derived in another way.

    Raises:
        MissingDependency: math-verify is not installed.
    """
    error = str(question.meta.get("error") or "0")
    return float(any(_same_parts(answer, gold, error) for gold in question.gold))


def _same_parts(answer: str, gold: str, error: str) -> bool:
    given, right = parts(answer), parts(gold)
    allowed = [Fraction(one.strip()) if _is_number(one) else Fraction(0) for one in error.split(",")]
    if len(given) != len(right):
        return False
    for position, part in enumerate(right):
        tolerance = allowed[position] if position < len(allowed) else allowed[-1]
        match = next((one for one in given if _same(one, part, tolerance)), None)
        if match is None:
            return False
        given.remove(match)
    return True


def parts(text: str) -> list[str]:
    r"""What stands between the commas of an answer that are in no bracket; `a \pm b` is two parts."""
    depth, found = 0, [""]
    for character in final(text).replace("，", ","):
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    plain = [unwrapped(part).strip() for part in found if part.strip()]
    return [
        one
        for part in plain
        for one in ((part.replace(r"\pm", "+"), part.replace(r"\pm", "-")) if r"\pm" in part else (part,))
    ]


def _same(answer: str, gold: str, tolerance: Fraction) -> bool:
    if normalise(answer) == normalise(gold):
        return True
    right = number(answer, [gold], Fraction(0), tolerance)
    if right is not None:
        return right
    if named := _NAME.match(gold):  # of `I = q / 2` the right side will do
        return symbolic(answer, [gold]) or ("=" not in answer and _same(answer, gold[named.end() :].strip(), tolerance))
    return symbolic(answer, [gold])


def _is_number(text: str) -> bool:
    read = read_quantity(text)
    return read is not None and read.unit is None
