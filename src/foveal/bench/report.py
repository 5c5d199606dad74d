"""A benchmark run as tables: for the terminal and, as `RUN/report.md`, in Markdown. The same cells in both."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from foveal.bench.answers import Pair
from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.comparison import Comparison, Flip, detectable
from foveal.bench.figures import PREFIXES, TOOLS, Drawn, Figures
from foveal.bench.header import Header
from foveal.bench.scores import FAILED
from foveal.bench.statistics import Z_95
from foveal.bench.words import ASKED, formatted, percent, points
from foveal.files import write_whole

FILE = "report.md"
LISTED = 50
"""Flipped questions that are listed by name; the rest is counted."""


class Table(NamedTuple):
    """A table of texts."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(drawn: Drawn) -> list[Table]:
    """The tables of a run; those without rows are left out."""
    header, figures = drawn.header, drawn.figures
    modes = [_mode_row(mode, "" if mode == header.modes[0] else PREFIXES[mode], figures) for mode in header.modes]
    columns = ("asked", "n", "accuracy", "95 % interval", "calls", "turns", "tokens", "seconds", "cost")
    part, offered = ("n", "accuracy", "95 % interval"), header.tools.get("offered")
    named = [tool for tool in TOOLS if isinstance(offered, list) and tool in offered]
    tools = (*(tool.replace("_", " ") for tool in named), "calls")
    found = [
        Table("Score; calls, turns, tokens, seconds and cost of a question", columns, tuple(modes)),
        Table("Tools", ("", ""), tuple(_tool_rows(figures))),
        Table("Figures of the benchmark", ("", ""), tuple(_own_rows(header, figures))),
        Table("Hard on an axis", ("axis", *part), tuple(_part_rows("axis.", figures))),
        Table("Families, and who of them called what", ("family", *part, *tools), tuple(_family_rows(named, figures))),
        Table("Ends", ("asked", "end", "share"), tuple(_stop_rows(header, figures))),
    ]
    return [table for table in found if table.rows]


def notes(drawn: Drawn) -> list[str]:
    """What a reader of the score has to know, a sentence each."""
    header, figures = drawn.header, drawn.figures
    said = [f"Interval: {figures['interval']}; {header.repeats} {'repeat' if header.repeats == 1 else 'repeats'}."]
    for state, text in (
        ("unscored", "wait for the judge and are not in the score"),
        ("undecided", "count as wrong because no rule could tell and there was no judge: name one (--judge.url)"),
    ):
        waiting = sum(_count(figures.get(prefix + state)) for prefix in ("", *PREFIXES.values()))
        if waiting:
            said.append(f"{waiting:,} answers {text}.")
    if header.tools.get("offered") and _count(figures["trajectories"]) and not figures["call_rate"]:
        said.append("No tool was called. Is the prompt the one that the model learned with (--prompt.system_prompt)?")
    if failures := _count(figures["infrastructure_failures"]):
        kinds = [f"{kind} {count}" for kind in FAILED if (count := figures[f"infrastructure_failures.{kind}"])]
        said.append(f"{failures:,} attempts failed for no fault of the model ({', '.join(kinds)}) and are not counted.")
    if missing := _count(figures["missing"]):
        said.append(f"{missing:,} of {_count(figures['planned']):,} answers are not there yet.")
    if header.left_out:
        said.append(f"Rows of the data that could not become questions: {header.left_out:,}.")
    return said


def headline(drawn: Drawn) -> str:
    """The accuracy of a run with its interval, in a few words."""
    value, between = _accuracy("", drawn.figures)
    return f"{value} ({between}) of {_count(drawn.figures['n']):,} questions"


def whole(drawn: Drawn) -> bool:
    """Whether nothing of the run is left to be asked or judged."""
    waits = [name for name, value in drawn.figures.items() if name.endswith("unscored") and value]
    return not (waits or drawn.figures["infrastructure_failures"] or drawn.figures["missing"])


def facts(header: Header) -> list[tuple[str, str]]:
    """What the score depends on."""
    code = [f"foveal {one.foveal}" + (f" at {one.commit}" if one.commit else "") for one in header.code]
    limits = ", ".join(f"{name} {value}" for name, value in header.limits.items() if name != "max_image_pixels")
    offered = header.tools.get("offered")
    where = [f"{name} in {header.tools[name]}" for name in ("search", "image_search") if header.tools.get(name)]
    if index := header.tools.get("index"):
        where.append(f"index with SHA-256 {str(index)[:12]}")
    named = [str(name) for name in offered] if isinstance(offered, list) else []
    return [
        ("policy", f"{header.policy}, temperature {header.temperature:g}, seed {header.seed}"),
        ("questions", f"{header.n:,} of {header.items:,} from {header.data} (SHA-256 {header.questions_sha256[:12]})"),
        ("tools", "; ".join([", ".join(named) or "none", *where, header.tools_why])),
        ("prompt", f"{header.profile}; SHA-256 " + ", ".join(f"{m} {sha[:12]}" for m, sha in header.prompts.items())),
        ("behind every question", header.suffix or "nothing"),
        ("image budget", f"{_count(header.limits.get('max_image_pixels')):,} pixels"),
        ("limits", limits),
        ("scored by", header.scorer + (f"; the judge is {header.judge}" if header.judge else "; there was no judge")),
        ("code", "; ".join(code)),
    ]


def write_report(folder: Path, drawn: Drawn) -> Path:
    """Write the report of a run in Markdown.

    Raises:
        InputError: It cannot be written.
    """
    header = drawn.header
    lines = [f"# {_cell(header.title)}: {_cell(header.policy)}", ""]
    for table in tables(drawn):
        lines += [f"## {table.title}", "", *_markdown(table), ""]
    lines += ["## To be read with it", "", *(f"- {_cell(note)}" for note in notes(drawn)), ""]
    lines += ["## What the score depends on", "", *_markdown(Table("", ("", ""), tuple(facts(header)))), ""]
    for mode, pair in drawn.pairs.items():
        for what, flips in (("right only", pair.comparison.gained), ("wrong only", pair.comparison.lost)):
            if flips:
                lines += [f"## Questions {what} {ASKED[header.modes[0]]}, against {ASKED[mode]}: {len(flips)}", ""]
                lines += [listed(flips), ""]
    write_whole(folder / FILE, "\n".join(lines))
    return folder / FILE


def listed(flips: Sequence[Flip]) -> str:
    """The questions by name, as far as they are listed."""
    names = ", ".join(_cell(flip.id) for flip in flips[:LISTED])
    return f"{names} and {len(flips) - LISTED} more" if len(flips) > LISTED else names


def smallest_difference(pair: Pair) -> float | None:
    """The smallest difference that these questions show in four of five runs (power 0.8 at level 0.05).

    For McNemar's test by Connor's formula. Else from the interval that was found, as wide as 3.92 standard errors: a
    difference has to be 2.80 of them. None where no question flipped: nothing says how much there is to find.
    """
    found = pair.comparison
    if found.test == "mcnemar":
        return detectable(found.n, found.discordance) if found.discordance else None
    return (found.high - found.low) / (2 * Z_95) * (Z_95 + 0.8416212335729143) if found.gained or found.lost else None


def verdict(found: Comparison) -> str:
    """`better`, `worse`, or `cannot tell`: where the interval holds 0, or p is 0.05 or more.

    The two need not agree: with few flips the exact test is the stricter one.
    """
    if found.low <= 0 <= found.high or found.p >= 0.05:
        return "cannot tell"
    return "better" if found.difference > 0 else "worse"


def _mode_row(mode: str, prefix: str, figures: Figures) -> tuple[str, ...]:
    def figure(name: str) -> JsonValue:
        return figures[prefix + name]

    per = (f"{name}_per_question" for name in ("calls", "turns", "tokens", "seconds", "cost"))
    forms = (".2f", ".2f", ",.0f", ".1f", ".4g")
    costs = [formatted(figure(name), form) for name, form in zip(per, forms, strict=True)]
    return (ASKED[mode], f"{_count(figure('n')):,}", *_accuracy(prefix, figures), *costs)


def _tool_rows(figures: Figures) -> Iterator[tuple[str, str]]:
    if "tool_gain" in figures:
        won, lost = figures["won_by_tools"], figures["lost_by_tools"]
        assert isinstance(won, list) and isinstance(lost, list)
        yield "questions won by tools", f"{len(won):,} ({percent(figures['tool_gain'])})"
        yield "questions lost by tools", f"{len(lost):,} ({percent(figures['tool_harm'])})"
        yield "with tools minus without", _difference("tool_", figures)
        yield "called, where right without tools", percent(figures["call_rate_no_tool_right"])
        yield "called, where wrong without tools", percent(figures["call_rate_no_tool_wrong"])
    if "blind_difference" in figures:
        yield "with pictures minus without", _difference("blind_", figures)
    if "blank_difference" in figures:
        yield "observations minus blanked ones", _difference("blank_", figures)


def _own_rows(header: Header, figures: Figures) -> Iterator[tuple[str, str]]:
    benchmark = BENCHMARKS.get(header.benchmark)
    scale = benchmark.scale if benchmark is not None else 100
    for name, value in figures.items():
        if name.startswith("summary.") and not name.startswith("summary.family."):
            yield name.removeprefix("summary."), formatted(value, ".3f")
            if name == "summary.score":
                yield "as it is published", formatted(value * scale if isinstance(value, float) else None, ".1f")
        if name.startswith("pass_at."):
            yield f"right at least once in {name.removeprefix('pass_at.')}", percent(value)


def _part_rows(start: str, figures: Figures) -> Iterator[tuple[str, ...]]:
    for name in figures:
        if name.startswith(start) and name.endswith(".accuracy"):
            prefix = name.removesuffix("accuracy")
            part = prefix.removeprefix(start).removesuffix(".")
            yield part, f"{_count(figures[prefix + 'n']):,}", *_accuracy(prefix, figures)


def _family_rows(tools: Sequence[str], figures: Figures) -> Iterator[tuple[str, ...]]:
    for row in _part_rows("family.", figures):
        prefix = f"family.{row[0]}."
        shares = (percent(figures[f"{prefix}tools.{tool}"]) for tool in tools)
        yield *row, *shares, formatted(figures[f"{prefix}calls_per_question"], ".2f")


def _stop_rows(header: Header, figures: Figures) -> Iterator[tuple[str, ...]]:
    for mode in header.modes:
        start = ("" if mode == header.modes[0] else PREFIXES[mode]) + "stop."
        for name, value in figures.items():
            if name.startswith(start):
                yield ASKED[mode], name.removeprefix(start).replace("_", " "), percent(value)


def _accuracy(prefix: str, figures: Figures) -> tuple[str, str]:
    low, high = figures[f"{prefix}low"], figures[f"{prefix}high"]
    return percent(figures[f"{prefix}accuracy"]), f"{percent(low).removesuffix(' %')} to {percent(high)}"


def _difference(prefix: str, figures: Figures) -> str:
    value, low, high = (points(figures[f"{prefix}difference{end}"]) for end in ("", "_low", "_high"))
    return f"{value} points ({low} to {high}), p = {formatted(figures[f'{prefix}difference_p'], '.3g')}"


def _count(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0


def _markdown(table: Table) -> Iterable[str]:
    for cells in (table.columns, ("---",) * len(table.columns), *table.rows):
        yield f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """One line that ends no cell and begins no markup: names come from data and users."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    for mark in "\\|<`*_[":
        plain = plain.replace(mark, f"\\{mark}")
    return plain
