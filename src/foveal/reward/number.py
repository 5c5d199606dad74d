r"""Numbers with units, read as a whole and compared exactly.

Read are: a sign, thousands separators (comma or thin space, in groups of three), decimals, `3e8`, `3 × 10^8`, `10^8`, a
fraction `3/4` or `\frac{3}{4}`, `thousand` to `trillion`, a currency sign in front, and a unit or `%` behind. Anything
else in the text makes it no number: `about 5`, `5 or 6`. A leading zero makes it a code: `007`.
"""

import re
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from foveal.reward.text import unwrapped, with_powers
from foveal.reward.units import BARE, COUNT, PERCENT, UNITS, Unit, read_unit

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?:[\u00a0\u2009\u202f]\d{3})+|\d+)"
_QUANTITY = re.compile(
    rf"""(?P<sign>[+-]?)\s*(?P<currency>US\$|\\?\$|[€£¥])?\s*(?P<inner>[+-]?)
    (?: \\[dt]?frac\{{(?P<over>\d+)\}}\{{(?P<under>\d+)\}}
      | (?P<top>\d+)\s*/\s*(?P<bottom>\d+)
      | 10\s*(?:\^|\*\*)\s*\{{?(?P<ten>[+-]?\d+)\}}?
      | (?P<whole>{_DIGITS})?(?P<point>\.\d+|\.(?!\d))?
        (?: [eE](?P<exponent>[+-]?\d+)
          | \s*(?:×|x|\*|·|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*\{{?(?P<power>[+-]?\d+)\}}?
        )?
    )
    (?:\s*(?P<scale>thousand|million|billion|trillion)\b)?
    \s*(?P<unit>.*)""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm)\{([^{}]*)\}")
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MAX_EXPONENT = 400
_MAX_LENGTH = 400
"""Longer texts are no numbers: arithmetic on a million digits is a way to stall a scorer."""


class Quantity(NamedTuple):
    """A number as written, with its unit."""

    value: Fraction
    unit: Unit | None
    """None for a bare number."""


def read_quantity(text: str) -> Quantity | None:
    """The quantity that the whole text is, or None."""
    if len(text) > _MAX_LENGTH:
        return None
    plain = with_powers(_LATEX_TEXT.sub(r"\1", unwrapped(text).replace("−", "-").replace("–", "-")))
    match = _QUANTITY.fullmatch(plain.replace(r"\,", " ").replace("{,}", ","))
    value = _value(match) if match else None
    if match is None or value is None or (match["sign"] and match["inner"]):
        return None
    unit = _unit(match)
    if unit is None and (match["unit"] or match["currency"]):
        return None
    return Quantity(-value if "-" in (match["sign"], match["inner"]) else value, unit)


def _value(match: re.Match[str]) -> Fraction | None:
    top, bottom = match["over"] or match["top"], match["under"] or match["bottom"]
    if top:
        value = Fraction(int(top), int(bottom)) if int(bottom) else None
    else:
        whole = "1" if match["ten"] else re.sub(r"\D", "", match["whole"] or "")
        point = (match["point"] or "").rstrip(".")
        if (not whole and not point) or (len(whole) > 1 and whole.startswith("0")):
            return None
        exponent = int(match["exponent"] or match["power"] or match["ten"] or 0)
        value = Fraction(f"{whole or 0}{point}") * Fraction(10) ** exponent if abs(exponent) <= _MAX_EXPONENT else None
    return None if value is None else value * _SCALES.get((match["scale"] or "").lower(), 1)


def _unit(match: re.Match[str]) -> Unit | None:
    if not match["currency"]:
        return read_unit(match["unit"]) if match["unit"] else None
    front = UNITS[match["currency"].lstrip("\\").upper()]
    behind = read_unit(match["unit"]) if match["unit"] else front
    return front if behind == front else None


def number(answer: str, golds: Iterable[str], relative: Fraction, absolute: Fraction) -> bool | None:
    """Whether the answer is the number of one of the golds; None if that cannot be told.

    Right: |answer - gold| <= max(absolute, relative * |gold|), all in the unit of the gold answer. Units of different
    kinds are wrong. A unit on one side only: fine if it names what is counted (`5 apples` for 5), or if `%` makes the
    numbers agree (`5 %` for 0.05); else it cannot be told.
    """
    given = read_quantity(answer)
    if given is None:
        return None
    verdicts = [_equal(given, read_quantity(gold), relative, absolute) for gold in golds]
    if any(verdicts):
        return True
    return None if None in verdicts or not verdicts else False


def _equal(given: Quantity, gold: Quantity | None, relative: Fraction, absolute: Fraction) -> bool | None:
    if gold is None:
        return None
    ours, theirs = given.unit or BARE, gold.unit or BARE
    in_gold_unit = (given.value * ours.factor + ours.offset - theirs.offset) / theirs.factor
    close = abs(in_gold_unit - gold.value) <= max(absolute, relative * abs(gold.value))
    if ours.kind == theirs.kind:
        return close
    if BARE not in (ours, theirs):
        return False
    kind = ours.kind or theirs.kind
    if kind.startswith(COUNT):
        return close
    return True if kind == PERCENT.kind and close else None
