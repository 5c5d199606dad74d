"""Bars and columns without script or style attributes, which the policy of the pages forbids."""

from collections.abc import Sequence
from typing import NamedTuple

from foveal.view.html import Html, tag

MOST_NUMBERS = 12
"""Columns that have room for their number above them."""
MOST_LABELS = 9


class Part(NamedTuple):
    """A piece of a bar."""

    share: float
    """Of the whole width, 0 to 1."""
    kind: str
    """Class name: its color."""


class Columns(NamedTuple):
    """A histogram; all of the same length."""

    labels: tuple[str, ...]
    counts: tuple[int, ...]
    kinds: tuple[str, ...]
    """Class names: their colors."""


def bar(parts: Sequence[Part]) -> Html:
    """Pieces side by side, from the left."""
    drawn, start = [], 0.0
    for part in parts:
        drawn.append(tag("rect", x=f"{start:.2%}", width=f"{part.share:.2%}", height="100%", class_=part.kind))
        start += part.share
    return tag("svg", *drawn, class_="bar", aria_hidden="true")


def whisker(low: float, value: float, high: float) -> Html:
    """An interval with its point, on a line from 0 to 1."""
    span = tag("rect", x=f"{low:.2%}", width=f"{high - low:.2%}", height="100%", class_="span")
    point = tag("circle", cx=f"{value:.2%}", cy="50%", r="4", class_="point")
    return tag("svg", span, point, class_="whisker", aria_hidden="true")


def columns(histogram: Columns) -> Html:
    """A column for each count, with its number above it if there is room, and its label below."""
    highest, number = max(histogram.counts, default=0), len(histogram.counts)
    every = -(-number // MOST_LABELS)
    drawn = []
    for place, (label, count, kind) in enumerate(zip(*histogram, strict=True)):
        height = count / highest if highest else 0.0
        top = tag("span", tally(count)) if number <= MOST_NUMBERS else None
        column = tag("rect", y=f"{1 - height:.2%}", width="100%", height=f"{height:.2%}", class_=kind)
        below = tag("small", label if place % every == 0 else "")
        drawn.append(tag("li", top, tag("svg", column, aria_hidden="true"), below, title=f"{label}: {count:,}"))
    return tag("ol", *drawn, class_="columns")


def legend(entries: Sequence[tuple[str, str, str | None]]) -> Html:
    """What the colors mean.

    Args:
        entries: Words, class name of the color, and a number if there is one.
    """
    keys = [
        tag(
            "span", tag("span", class_=f"swatch {kind}"), words, " ", tag("b", number) if number else None, class_="key"
        )
        for words, kind, number in entries
    ]
    return tag("p", *keys, class_="keys-of-colors")


def percent(part: int, whole: int) -> str:
    """A share: `64.2 %`; `<0.1 %` for what would be none, `-` of nothing."""
    if not whole:
        return "-"
    return "<0.1 %" if 0 < part < whole / 2000 else f"{part / whole:.1%}".replace("%", " %")


def tally(number: int) -> str:
    """A large number in short: `1.2 M`."""
    if number >= 999_500:  # what rounds to 1000 k is said in millions
        return f"{number / 1e6:,.1f} M"
    return f"{number / 1e3:.0f} k" if number >= 1e4 else f"{number:,}"
