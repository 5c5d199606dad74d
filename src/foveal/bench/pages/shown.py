"""Runs as the page has them, and the pieces that its sections share."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pydantic import JsonValue

from foveal.bench.benchmark import Benchmark
from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.figures import PREFIXES, Drawn, Figures
from foveal.records import Run
from foveal.trajectory import Trajectory
from foveal.view.bars import whisker
from foveal.view.html import Html, join, tag
from foveal.view.site import PAGES


class Shown(NamedTuple):
    """A run on the page."""

    folder: Path
    place: str
    """Folder of its pages, from the page."""
    drawn: Drawn
    runs: Mapping[str, Run]
    """By mode, those that were begun."""
    model: str
    """Words for the policy, unlike those of every other run of the same benchmark."""

    @property
    def figures(self) -> Figures:
        """All figures of the run."""
        return self.drawn.figures

    @property
    def benchmark(self) -> Benchmark | None:
        """Its record; None for a benchmark that this foveal does not know."""
        return BENCHMARKS.get(self.drawn.header.benchmark)

    @property
    def mode(self) -> str:
        """The mode that the score is of."""
        return self.drawn.header.modes[0]

    @property
    def main(self) -> Sequence[Trajectory]:
        """The answers that the score is of."""
        return self.runs[self.mode].trajectories if self.mode in self.runs else ()

    def prefix(self, mode: str) -> str:
        """What the figures of a mode begin with."""
        return "" if mode == self.mode else PREFIXES[mode]

    def answers(self, mode: str) -> str | None:
        """Address of the pages of a mode; None if nothing was asked in it yet."""
        return f"{self.place}/{mode}/index.html" if mode in self.runs else None

    def page(self, number: int) -> str:
        """Address of an answer that the score is of, counted from 1."""
        return f"{self.place}/{self.mode}/{PAGES}/{number}.html"


def policy_words(policy: str) -> str:
    """A policy in a few words: of the path of a folder the last two names."""
    return "/".join(PurePosixPath(policy).parts[-2:])


def scaled(value: JsonValue, scale: int = 100) -> str:
    """A share as it is published: `81.8` of 100, `882` of 1,000; `-` if it is not known."""
    if not isinstance(value, int | float):
        return "-"
    return f"{value * scale:,.1f}" if scale == 100 else f"{value * scale:,.0f}"


def share(figures: Figures, prefix: str, scale: int = 100) -> Html:
    """An accuracy with its interval, in numbers and drawn."""
    value, low, high = (figures.get(prefix + name) for name in ("accuracy", "low", "high"))
    if not isinstance(value, int | float) or not isinstance(low, int | float) or not isinstance(high, int | float):
        return tag("span", "-", class_="dim")
    return join([tag("b", scaled(value, scale)), interval(low, high, scale), whisker(low, value, high)])


def interval(low: float, high: float, scale: int = 100) -> Html:
    """The ends of an interval."""
    return tag("small", f"{scaled(low, scale)} to {scaled(high, scale)}", class_="interval")


def link(content: Html | str, address: str | None) -> Html:
    """Words that lead somewhere, or just the words."""
    return tag("a", content, href=address) if address is not None else tag("span", content)


def section(title: str, *children: Html | None, words: str = "") -> Html | None:
    """A part of the page; None if there is nothing in it."""
    if not any(children):
        return None
    return tag("section", tag("h2", title), tag("p", words, class_="dim lead") if words else None, *children)


class Line(NamedTuple):
    """A line of a table."""

    title: Html
    cells: Sequence[Html | str]
    """As many as the table has columns."""
    kind: str = ""
    """Class name."""


def table(columns: Sequence[Html | str], lines: Iterable[Line]) -> Html:
    """A table with a title in front of every line. On a narrow screen each line becomes a card."""
    head = tag("tr", tag("td", ""), *(tag("th", column, scope="col") for column in columns))
    return tag("table", tag("thead", head), tag("tbody", *_rows(columns, lines)), class_="figures")


def _rows(columns: Sequence[Html | str], lines: Iterable[Line]) -> Iterator[Html]:
    for line in lines:
        cells = (
            tag("td", tag("span", column, class_="label", aria_hidden="true"), tag("div", cell))
            for column, cell in zip(columns, line.cells, strict=True)
        )
        yield tag("tr", tag("th", line.title, scope="row"), *cells, class_=line.kind or None)
