"""Numbers that were rounded on the way from a tool's result to the words of the model: 0.71834, 0.72, 72 %."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

_NUMBER = re.compile(
    r"(?<![\w.])(\d{1,30})(?:\.(\d{1,30}))?(?:e([+-]?\d{1,2}))?(?!\d|\.\d)"
    r"(?:\s?(%|percent\b|thousand\b|million\b|billion\b))?"
)
_SCALES = {"%": -2, "percent": -2, "thousand": 3, "million": 6, "billion": 9}
"""Powers of ten."""


class Written(NamedTuple):
    """A number as it stands in a text, without its sign."""

    value: Decimal
    half: Decimal
    """Half of its last digit: so far it can be from what it was rounded from."""
    digits: int
    """That say something: zeros at the end of a whole number may be there for its size alone."""


def numbers(text: str) -> Iterator[Written]:
    """The numbers of a text in small letters, without commas in numbers; `72 %` is both 72 and 0.72."""
    for match in _NUMBER.finditer(text):
        whole, decimals, power, scale = match.groups()
        digits = whole + (decimals or "")
        number = int(digits)
        zeros = len(whole) - len(whole.rstrip("0")) if decimals is None and number else 0
        last = int(power or 0) - len(decimals or "")
        for ten in {last, last + _SCALES.get(scale or "", 0)}:
            yield Written(Decimal(number).scaleb(ten), Decimal(5).scaleb(ten + zeros - 1), len(digits) - zeros)


def rounded(found: str, known: str, said: str, answer: str) -> bool:
    """Whether the model went on to write a number of a tool's result, rounded as it should be.

    All texts in small letters, without commas in numbers.

    Args:
        found: The result.
        known: What was said before; its numbers are nothing new.
        said: What the model wrote afterwards. A digit alone may stand for anything there, and does not count.
        answer: Its answer, in which it does.
    """
    new = sorted({one.value for one in numbers(found)} - {one.value for one in numbers(known)})
    told = [one for one in numbers(said) if one.digits > 1]
    return any(_between(new, one.value - one.half, one.value + one.half) for one in (*told, *numbers(answer)))


def _between(values: list[Decimal], low: Decimal, high: Decimal) -> bool:
    place = bisect_left(values, low)
    return place < len(values) and values[place] <= high
