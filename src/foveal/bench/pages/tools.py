"""What tools win and lose, what each way of asking costs, and what calls are for, by family of questions."""

from collections.abc import Iterator, Sequence

from pydantic import JsonValue

from foveal.bench.operations import OPERATIONS
from foveal.bench.pages.shown import Line, Shown, link, share, table
from foveal.bench.paper import CALL_RATES
from foveal.bench.words import ASKED, formatted, percent, points
from foveal.view.bars import Part, bar, legend
from foveal.view.html import Html, join, tag

LINKED = 40
"""Questions that tools won or lost which are linked; the rest is counted."""

WORDS = {
    "crop": "cut out a piece", "mark": "draw a mark", "numeric": "compute", "other": "other code",
    "search": "text search", "image_search": "image search", "visit": "read a page",
}  # fmt: skip
"""Kinds of calls in words."""


def gain_table(shown: Sequence[Shown]) -> Html | None:
    """What tools win and lose, whether they are called where they are needed, and the checks that were run."""
    asked = [one for one in shown if "tool_gain" in one.figures or "blind_difference" in one.figures]
    columns = ["won by tools", "lost by tools", "with tools minus without", "called, where right without",
               "called, where wrong without", "adaptiveness"]  # fmt: skip
    named = (("blind", "with pictures minus without"), ("blank", "observations minus blanked"))
    checks = [pair for pair in named if any(f"{pair[0]}_difference" in one.figures for one in shown)]
    if not any("tool_gain" in one.figures for one in shown):
        columns = []
    lines = [
        Line(
            title(one),
            [*(_gain(one) if columns else ()), *(_difference(f"{mode}_", one) for mode, _ in checks)],
        )
        for one in asked
    ]
    return table([*columns, *(words for _, words in checks)], lines) if lines else None


def title(one: Shown) -> Html:
    """Benchmark and model in front of a line."""
    return join([tag("b", one.drawn.header.title), tag("small", one.model, class_="dim")])


def _gain(one: Shown) -> Iterator[Html]:
    figures = one.figures
    if "tool_gain" not in figures:
        yield from (tag("span", "-", class_="dim") for _ in range(6))
        return
    for flips, part in (("won_by_tools", "tool_gain"), ("lost_by_tools", "tool_harm")):
        names = figures[flips]
        number = tag("b", f"{len(names) if isinstance(names, list) else 0}")
        yield join([number, tag("small", f"{percent(figures[part])} of {figures['tool_questions']}", class_="dim")])
    yield _difference("tool_", one)
    for name in ("call_rate_no_tool_right", "call_rate_no_tool_wrong"):
        yield tag("span", percent(figures[name]))
    yield tag("b", points(figures["adaptiveness"]))


def flips(shown: Sequence[Shown]) -> Html | None:
    """Links to the questions that tools won or lost."""
    folds = [fold for one in shown for words, name in (("won", "won_by_tools"), ("lost", "lost_by_tools"))
             if (fold := _flipped(one, words, one.figures.get(name)))]  # fmt: skip
    return tag("div", *folds, class_="flips") if folds else None


def _flipped(one: Shown, words: str, names: JsonValue) -> Html | None:
    if not isinstance(names, list) or not names:
        return None
    numbers: dict[str, int] = {}
    for number, trajectory in enumerate(one.main, start=1):
        numbers.setdefault(trajectory.question.id, number)
    links = [link(str(name), one.page(numbers[str(name)])) for name in names[:LINKED] if str(name) in numbers]
    more = f" and {len(names) - LINKED:,} more" if len(names) > LINKED else None
    spaced = [piece for one_link in links for piece in (one_link, " ")]
    said = f"{one.drawn.header.title} · {one.model}: {len(names):,} {words} by tools"
    return tag("details", tag("summary", said), tag("p", *spaced, more, class_="ids"))


def cost_table(shown: Sequence[Shown]) -> Html:
    """Every way in which questions were asked, with accuracy and cost."""
    columns = ("right", "with a call", "calls", "turns", "tokens read", "tokens written", "seconds", "cost")
    lines = [
        Line(
            join([title(one), tag("small", link(ASKED.get(mode, mode), one.answers(mode)))]),
            _cost(one, mode),
        )
        for one in shown
        for mode in one.drawn.header.modes
    ]
    return table(columns, lines)


def _cost(one: Shown, mode: str) -> list[Html]:
    prefix, figures = one.prefix(mode), one.figures
    forms = {"calls": ".2f", "turns": ".2f", "prompt_tokens": ",.0f", "completion_tokens": ",.0f", "seconds": ",.1f",
             "cost": ".4g"}  # fmt: skip
    each = [formatted(figures[f"{prefix}{name}_per_question"], form) for name, form in forms.items()]
    shares = link(share(figures, prefix), one.answers(mode)), tag("span", percent(figures[f"{prefix}call_rate"]))
    return [*shares, *(tag("span", text) for text in each)]


def use_panels(shown: Sequence[Shown]) -> Iterator[Html]:
    """For every run with tools: what its calls were for, by family of questions."""
    for one in shown:
        if one.mode == "with-tools" and one.main:
            names = [
                name.split(".")[1:-1] for name in one.figures if name.startswith("family.") and name.endswith(".n")
            ]
            families = [".".join(pieces) for pieces in names]
            lines = [_use(one, "all", ""), *(_use(one, family, f"family.{family}.") for family in families)]
            columns = ("right", "questions", "what calls are for", "with a call", "calls each")
            yield tag("div", tag("h3", one.drawn.header.title), tag("p", one.model, class_="dim"), _quoted_rate(one),
                      table(columns, lines), class_="panel")  # fmt: skip


def key_of_kinds() -> Html:
    """What the colors of the bars mean."""
    return legend([(WORDS[kind], f"op-{kind}", None) for kind in OPERATIONS])


def _use(one: Shown, name: str, prefix: str) -> Line:
    figures, n = one.figures, one.figures[f"{prefix}n"]
    shares = [(kind, figures[f"{prefix}operations.{kind}"]) for kind in OPERATIONS]
    parts = [Part(value, f"op-{kind}") for kind, value in shares if isinstance(value, float) and value]
    said = ", ".join(f"{WORDS[kind]} {percent(value)}" for kind, value in shares if value)
    drawn = tag("span", bar(parts), class_="drawn", title=said, role="img", aria_label=said or "no call")
    asked = f"{n:,}" if isinstance(n, int) else "-"
    calls = percent(figures[f"{prefix}call_rate"]), formatted(figures[f"{prefix}calls_per_question"], ".2f")
    return Line(tag("b", name), [share(figures, prefix), asked, drawn, *calls])


def _quoted_rate(one: Shown) -> Html | None:
    rates = CALL_RATES.get(one.drawn.header.benchmark)
    if rates is None:
        return None
    words = f"DeepEyesV2 7B calls a tool in {rates.cold_start} % after its cold start, in {rates.after_rl} % after RL"
    return tag("p", f"{words} (quoted, Figure 7)", class_="dim")


def _difference(prefix: str, one: Shown) -> Html:
    value, low, high, p = (one.figures.get(f"{prefix}difference{end}") for end in ("", "_low", "_high", "_p"))
    if not isinstance(value, float):
        return tag("span", "-", class_="dim")
    between = f"{points(low)} to {points(high)}, p = {formatted(p, '.2g')}"
    return join([tag("b", points(value)), tag("small", between, class_="interval")])
