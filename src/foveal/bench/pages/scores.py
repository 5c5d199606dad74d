"""The table of scores: a line a benchmark, a column a model, and what the papers print, quoted."""

from collections.abc import Iterator, Sequence

from foveal.bench.answers import compare_runs
from foveal.bench.header import differences
from foveal.bench.pages.shown import Line, Shown, interval, link, scaled, share, table
from foveal.bench.paper import QUOTED
from foveal.bench.report import verdict
from foveal.bench.scoring.realx import AXES
from foveal.errors import InputError
from foveal.view.bars import whisker
from foveal.view.html import Html, join, tag
from foveal.view.words import count

HARD = {"perception": "hard to see", "search": "needs search", "reason": "needs reasoning", "integration": "all three"}
"""Axes of RealX-Bench in words."""

Column = tuple[str, int]
"""A policy, and which of its runs of a benchmark: 0 for the first."""


def score_table(shown: Sequence[Shown]) -> Html:
    """The table of all runs."""
    benchmarks = list(dict.fromkeys(one.drawn.header.benchmark for one in shown))
    rows = {name: _by_column([one for one in shown if one.drawn.header.benchmark == name]) for name in benchmarks}
    columns = list(dict.fromkeys(column for found in rows.values() for column in found))
    quoted = any(name in QUOTED for name in benchmarks)
    heads = [_head(column, rows) for column in columns]
    lines = [line for name in benchmarks for line in _lines(name, [rows[name].get(one) for one in columns], quoted)]
    return table([*heads, *([tag("span", "quoted from the papers, which give no intervals")] if quoted else [])], lines)


def _by_column(shown: Sequence[Shown]) -> dict[Column, Shown]:
    found: dict[Column, Shown] = {}
    for one in shown:
        policy = one.drawn.header.policy
        found[policy, sum(known == policy for known, _ in found)] = one
    return found


def _head(column: Column, rows: dict[str, dict[Column, Shown]]) -> Html:
    first = next(found[column] for found in rows.values() if column in found)
    return tag("span", first.model, title=column[0], class_="name")


def _lines(name: str, runs: Sequence[Shown | None], quoted: bool) -> Iterator[Line]:
    there = [one for one in runs if one is not None]
    first = there[0]
    scores = [_score(one, first) if one is not None else _none() for one in runs]
    yield Line(_title(first, there), [*scores, *([_quoted(name, "", first)] if quoted else [])])
    for axis in (*AXES, "integration"):
        if any(f"axis.{axis}.accuracy" in one.figures for one in there):
            cells = [_axis(one, axis) if one is not None else _none() for one in runs]
            title = tag("span", HARD[axis])
            yield Line(title, [*cells, *([_quoted(name, f"axis.{axis}", first)] if quoted else [])], "part")


def _none() -> Html:
    return tag("span", "not run", class_="dim")


def _title(first: Shown, there: Sequence[Shown]) -> Html:
    scale = _scale(first)
    unit = "per cent" if scale == 100 else f"points of {scale:,}"
    differ = sorted(
        {name for one in there[1:] for name in differences(first.drawn.header, one.drawn.header)} - {"policy"}
    )
    warn = tag("small", f"the runs differ in {', '.join(differ)}", class_="warn") if differ else None
    return join([tag("b", first.drawn.header.title), tag("small", unit, class_="dim"), warn])


def _scale(one: Shown) -> int:
    return one.benchmark.scale if one.benchmark is not None else 100


def _score(one: Shown, first: Shown) -> Html:
    """The score as it is published; where that is no plain mean, the accuracy with its interval beside it."""
    figures, scale = one.figures, _scale(one)
    score, accuracy = figures.get("summary.score"), figures["accuracy"]
    shown = share(figures, "", scale)
    if isinstance(score, float) and isinstance(accuracy, float) and abs(score - accuracy) > 1e-9:
        low, high = figures["low"], figures["high"]
        assert isinstance(low, float) and isinstance(high, float)
        plain = tag("small", f"accuracy {scaled(accuracy, scale)},", class_="interval")
        shown = join([tag("b", scaled(score, scale)), plain, interval(low, high, scale), whisker(low, accuracy, high)])
    offered = one.drawn.header.tools.get("offered")
    tools = ", ".join(map(str, offered)).replace("_", " ") if isinstance(offered, list) and offered else "no tools"
    asked = f"{count(_number(one, 'n'), 'question')}, {tools}"
    return join([
        link(shown, one.answers(one.mode)), tag("small", asked, class_="dim"),
        *(tag("small", text, class_="warn") for text in _warnings(one)),
        _against(first, one) if one is not first else None,
    ])  # fmt: skip


def _warnings(one: Shown) -> Iterator[str]:
    if missing := _number(one, "missing"):
        yield f"{count(missing, 'answer')} not there yet"
    if failed := _number(one, "infrastructure_failures"):
        yield f"{count(failed, 'attempt')} failed for no fault of the model"
    if waiting := _number(one, "unscored"):
        yield f"{count(waiting, 'answer')} not judged yet"
    if undecided := _number(one, "undecided"):
        yield f"{count(undecided, 'answer')} wrong for want of a judge"


def _number(one: Shown, name: str) -> int:
    value = one.figures[name]
    return value if isinstance(value, int) else 0


def _against(first: Shown, one: Shown) -> Html:
    """The comparison with the first model of the line."""
    try:
        pair = compare_runs(first.folder, one.folder)
    except InputError as error:
        return tag("small", f"not compared: {error.what}", class_="warn")
    found = pair.comparison
    said = {
        "better": "better than the first",
        "worse": "worse than the first",
        "cannot tell": "cannot tell from the first",
    }
    points = f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f}), p = {found.p:.2g}"
    return tag("small", tag("b", said[verdict(found)]), f" on {found.n:,} questions: {points}")


def _axis(one: Shown, axis: str) -> Html:
    n = one.figures.get(f"axis.{axis}.n")
    return join([
        link(share(one.figures, f"axis.{axis}."), one.answers(one.mode)),
        tag("small", count(n, "question") if isinstance(n, int) else "", class_="dim"),
    ])  # fmt: skip


def _quoted(name: str, figure: str, first: Shown) -> Html:
    found = QUOTED.get(name, {}).get(figure, ())
    if not found:
        return tag("span", "not in the papers", class_="dim")
    own, *others = found
    form = ",.1f" if _scale(first) == 100 else ",.0f"
    return join([
        tag("b", f"{own.value:{form}}"), tag("small", f"{own.model}; {own.source}"),
        *(tag("small", f"{other.model}: {other.value:{form}}", class_="dim") for other in others),
    ])  # fmt: skip
