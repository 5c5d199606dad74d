"""A small table of units that can be converted into each other."""

from fractions import Fraction
from typing import NamedTuple


class Unit(NamedTuple):
    """A value v in this unit is `v * factor + offset` in the base unit of its kind."""

    kind: str
    factor: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)


BARE = Unit("")
PERCENT = Unit("percent", Fraction(1, 100))
COUNT = "count of "
"""How the kinds of units begin that are no measure, but name what is counted: apples."""

_TABLE: dict[str, tuple[tuple[str, str, str], ...]] = {
    "length": (
        ("m", "metre meter metres meters", "1"),
        ("km", "kilometre kilometer kilometres kilometers", "1000"),
        ("dm", "", "0.1"),
        ("cm", "centimetre centimeter centimetres centimeters", "0.01"),
        ("mm", "millimetre millimeter millimetres millimeters", "0.001"),
        ("µm um", "micrometre micrometer micrometres micrometers", "0.000001"),
        ("nm", "nanometre nanometer nanometres nanometers", "0.000000001"),
        ("in", "inch inches", "0.0254"),
        ("ft", "foot feet", "0.3048"),
        ("yd", "yard yards", "0.9144"),
        ("mi", "mile miles", "1609.344"),
    ),
    "mass": (
        ("kg", "kilogram kilograms", "1"),
        ("g", "gram grams", "0.001"),
        ("mg", "milligram milligrams", "0.000001"),
        ("t", "tonne tonnes", "1000"),
        ("lb lbs", "pound pounds", "0.45359237"),
        ("oz", "ounce ounces", "0.028349523125"),
    ),
    "time": (
        ("s", "sec second seconds", "1"),
        ("ms", "millisecond milliseconds", "0.001"),
        ("min", "minute minutes", "60"),
        ("h hr", "hour hours", "3600"),
        ("d", "day days", "86400"),
        ("", "week weeks", "604800"),
    ),
    "speed": (("m/s", "", "1"), ("km/h kmh kph", "", "5/18"), ("mph", "", "0.44704")),
    "area": (
        ("m^2", "", "1"),
        ("cm^2", "", "0.0001"),
        ("mm^2", "", "0.000001"),
        ("km^2", "", "1000000"),
        ("ha", "hectare hectares", "10000"),
        ("ft^2", "", "0.09290304"),
    ),
    "volume": (
        ("l L", "litre liter litres liters", "1"),
        ("ml mL", "millilitre milliliter millilitres milliliters", "0.001"),
        ("cm^3", "", "0.001"),
        ("m^3", "", "1000"),
    ),
    "angle": (("° deg ^\\circ ^{\\circ}", "degree degrees", "1"),),
    "dollar": (("$ US$ USD", "dollar dollars", "1"),),
    "euro": (("€ EUR", "euro euros", "1"),),
    "pound sterling": (("£ GBP", "", "1"),),
    "yen or yuan": (("¥", "", "1"),),
}


def _units() -> dict[str, Unit]:
    units = {"%": PERCENT, "\\%": PERCENT, "percent": PERCENT, "per cent": PERCENT}
    for kind, rows in _TABLE.items():
        for symbols, words, factor in rows:
            units |= dict.fromkeys([*symbols.split(), *words.split()], Unit(kind, Fraction(factor)))
    kelvin = Fraction("273.15")
    units |= dict.fromkeys(("K", "kelvin"), Unit("temperature"))
    units |= dict.fromkeys(("°C", "celsius", "degrees celsius"), Unit("temperature", Fraction(1), kelvin))
    fahrenheit = Unit("temperature", Fraction(5, 9), kelvin - Fraction(160, 9))
    return units | dict.fromkeys(("°F", "fahrenheit", "degrees fahrenheit"), fahrenheit)


UNITS = _units()
"""Symbols as written (M is no metre), words in lower case."""


def read_unit(text: str) -> Unit | None:
    """The unit of that name; a single unknown word is a unit of its own kind; None if the text is neither."""
    name = " ".join(text.split())
    unit = UNITS.get(name) or (UNITS.get(name.lower()) if len(name) > 2 else None)
    if unit is None and name.isalpha() and len(name) > 1:
        unit = Unit(COUNT + name.lower().removesuffix("s"))
    return unit
