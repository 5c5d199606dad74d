"""How figures are written, in the report and on the page alike."""

from pydantic import JsonValue

ASKED = {
    "with-tools": "with tools",
    "without-tools": "without tools",
    "blind": "without pictures",
    "blank": "tools give back nothing",
}
"""Modes in words."""


def percent(value: JsonValue) -> str:
    """A share as `81.8 %`; `-` if it is not known."""
    return f"{100 * value:.1f} %" if isinstance(value, int | float) else "-"


def points(value: JsonValue) -> str:
    """A difference of shares in points, with its sign: `+3.4`; `-` if it is not known."""
    return f"{100 * value:+.1f}" if isinstance(value, int | float) else "-"


def formatted(value: JsonValue, form: str) -> str:
    """A number in a format; `-` if it is not known."""
    return format(value, form) if isinstance(value, int | float) else "-"
