"""The page of recipes/micro/curation.py: tables, a plot and a sentence for every ablation, all from its figures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from foveal.bench.answers import pair, read_answers
from foveal.bench.report import verdict
from foveal.bench.statistics import Share, wilson
from foveal.micro.questions import FAMILIES, TOOL_FAMILIES

NAME = "curation"
SAME = "same_as"
ASKED = {"all": FAMILIES, "tools": TOOL_FAMILIES}
"""Families of the questions on which models are compared."""
NEARLY = 0.98
"""An arm that shares so many of its rows with all filters, in every seed, tells what chance makes of the same data."""

Figures = Mapping[str, Any]


def compared(figures: Figures, run: Path, first: str, second: str, families: Sequence[str]) -> dict[str, Any]:
    """The second model against the first, question by question, over all seeds.

    Args:
        figures: Of the models.
        run: Folder with the answers.
        first: Name of a model.
        second: Name of another.
        families: Of the questions.

    Returns:
        `n`, `difference` with `low` and `high`, `p`, `verdict` as `foveal compare` tells them; `seeds`, the difference
        in each; `same`, the number of seeds in which both are the same model; and `agree`: no seed points the other
        way.
    """
    seeds = range(figures["seeds"])
    named = {who: [figures.get(f"{who}.{seed}.{SAME}", who) for seed in seeds] for who in (first, second)}
    ours, theirs = (
        [
            answer
            for seed, model in zip(seeds, named[who], strict=True)
            for answer in read_answers(run / f"seed-{seed}" / "held-out" / model)
            if answer.question.family in families
        ]
        for who in (first, second)
    )
    found = pair(ours, theirs).comparison
    shares = [[_pooled(figures, who, families, (seed,)).value for seed in seeds] for who in (first, second)]
    changes = [after - before for before, after in zip(*shares, strict=True)]
    return {
        "n": found.n, "difference": found.difference, "low": found.low, "high": found.high, "p": found.p,
        "verdict": verdict(found), "seeds": changes,
        "same": sum(a == b for a, b in zip(named[first], named[second], strict=True)),
        "agree": min(changes) >= 0 or max(changes) <= 0,
    }  # fmt: skip


def judged(figures: Figures) -> dict[str, Any]:
    """What the comparisons come to, given `against.<second>.<first>.<asked>.<figure>` of all.

    Returns:
        `chance.<asked>`, the largest difference that an arm of `NEARLY` the same rows has from all filters, and for
        every comparison `shown`: the verdict is not "cannot tell", no seed points the other way, the rows are not
        nearly the same, and the difference is larger than chance.
    """
    out: dict[str, Any] = {}
    for asked in ASKED:
        ends = f".{asked}.agree"
        prefixes = [key.removesuffix("agree") for key in figures if key.startswith("against.") and key.endswith(ends)]
        near = {prefix: _nearly(figures, prefix.split(".")[2]) for prefix in prefixes}
        chance = max((abs(figures[f"{prefix}difference"]) for prefix in prefixes if near[prefix]), default=0.0)
        out[f"chance.{asked}"] = chance
        for prefix in prefixes:
            told = figures[f"{prefix}verdict"] != "cannot tell" and figures[f"{prefix}agree"] and not near[prefix]
            out[f"{prefix}shown"] = told and abs(figures[f"{prefix}difference"]) > chance
    return out


def _nearly(figures: Figures, model: str) -> bool:
    """Whether it is an arm that has nearly the rows of the first one."""
    rows, shared = (_seeds(figures, model, what) for what in ("rows", "rows.shared"))
    return model in figures["arms"][1:] and all(b >= NEARLY * a for a, b in zip(rows, shared, strict=True))


def write_page(figures: Figures, command: str, folder: Path) -> Path:
    """Write `curation.md`, its plot and its data; return the page.

    Args:
        figures: Of `curation.run_all`.
        command: What made them.
        folder: Where to; made here. Files of an earlier page are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps({"command": command, **figures}, indent=1)
    (folder / f"{NAME}.json").write_text(data + "\n", encoding="utf-8")
    _plot(figures, folder / f"{NAME}.svg")
    page = folder / f"{NAME}.md"
    page.write_text(text(figures, command), encoding="utf-8")
    return page


def text(figures: Figures, command: str) -> str:
    """The page, in Markdown."""
    settings = {key.removeprefix("settings."): figures[key] for key in figures if key.startswith("settings.")}
    seeds = range(figures["seeds"])
    return _PAGE.format(
        command=command,
        settings=", ".join(f"{key} {value}" for key, value in settings.items()),
        **{asked: "\n".join(f"- {sentence}" for sentence in sentences(figures, asked)) for asked in ASKED},
        families=" | ".join(FAMILIES),
        rule="---|" * (4 + len(FAMILIES)),
        accuracy="\n".join(_accuracy_row(figures, model) for model in figures["titles"]),
        seeds=" | ".join(f"seed {seed}" for seed in seeds),
        seed_rule="---|" * len(seeds),
        funnel="\n".join(_funnel(figures)),
        rows="\n".join(_rows_row(figures, arm) for arm in figures["arms"]),
        cost="\n".join(_cost(figures)),
    )


_PAGE = """\
# What is each filter of curation worth?

The whole pipeline ([curation.md](../curation.md)) in the micro world, from raw questions to a trained model, with all
filters and without each, written by

    {command}

The student is the base model ([micro.md](../micro.md)). Two teachers, the shipped checkpoints `sft` and `rl`, try
every question once, greedily; they are often wrong. All arms choose among the same answers, and learn the same number
of trajectories (`rows`, or what the smallest arm has) for the same number of steps; a seed has raw questions and
held-out questions of its own. Reinforcement learning, told here once every seed has done it, begins with the cold start
of its arm; its questions are those in the window of the whole pipeline, or as many random ones. Held-out answers are
greedy. Intervals of shares are 95 % Wilson intervals over the questions of all seeds, those of differences Newcombe's
over the same questions, p is of McNemar's test; they know nothing of the spread between seeds, so the seeds stand
beside them. A difference is called shown if its interval leaves out 0, p is below 0.05, no seed points the other way,
and it is larger than the difference of any arm that shares 98 % of its rows with all filters, which is what chance
makes of the same data.

Settings: {settings}.

## What came out

{all}

On questions that need a tool, which is what the filters look for, leaving out the direct ones:

{tools}

## Held-out accuracy

Per cent; families over all seeds.

| model | accuracy | 95 % interval | seeds | {families} |
|{rule}
{accuracy}

![accuracy of every model, with its interval and its seeds](curation.svg)

## What the steps let through

With all filters.

| | {seeds} |
|---|{seed_rule}
{funnel}

## What the arms learned

Rows that an arm could have had, how many it learned, and how many of these the arm with all filters learned, too, seed
by seed; how many are right, and of which family (all seeds). Where nearly all rows are shared, a difference tells what
chance makes of the same data.

| arm | could have | learned | shared | right | {families} |
|---|{rule}
{rows}

## What it took

Seconds of wall time, over all seeds.

| step | seconds |
|---|---|
{cost}

Data: [curation.json](curation.json).
"""


def sentences(figures: Figures, asked: str) -> Iterator[str]:
    """One for every comparison on the questions of `ASKED`: whether a difference is shown, and what was measured."""
    for key in [key for key in figures if key.startswith("against.") and key.endswith(f".{asked}.shown")]:
        prefix = key.removesuffix("shown")
        _, second, first, *_ = key.split(".")
        titles = figures["titles"]
        found = {name: figures[prefix + name] for name in ("same", "seeds", "verdict")}
        models = f"**{titles[second]}**, against **{titles[first]}**"
        if found["same"] == figures["seeds"]:
            yield f"{models}: the same rows in every seed, so nothing can differ."
            continue
        said = "no difference is shown"
        if _nearly(figures, first):
            said = "nearly the same rows, so this is what chance makes of the same data"
        elif figures[key]:
            said = "better" if found["verdict"] == "better" else "**worse**"
        values = [100 * figures[prefix + name] for name in ("difference", "low", "high")]
        measured = (
            f"{values[0]:+.1f} points, 95 % {values[1]:+.1f} to {values[2]:+.1f}, p = {figures[prefix + 'p']:.2g}"
        )
        seeds = ", ".join(f"{100 * change:+.1f}" for change in found["seeds"])
        same = f"; the same rows in {found['same']} of {figures['seeds']} seeds" if found["same"] else ""
        yield f"{models}: {said} ({measured}, n = {figures[prefix + 'n']}; seeds {seeds}{same})."
    if asked == "all" and (
        empty := [seed for seed in range(figures["seeds"]) if not figures.get(f"funnel.{seed}.rl.train")]
    ):
        seeds = ", ".join(map(str, empty))
        yield f"**No reinforcement learning**: the cold start left no question in the window (seed {seeds})."


def _seeds(figures: Figures, model: str, what: str) -> list[Any]:
    return [figures.get(f"{model}.{seed}.{what}", 0) for seed in range(figures["seeds"])]


def _pooled(
    figures: Figures, model: str, families: Sequence[str] = FAMILIES, seeds: Sequence[int] | None = None
) -> Share:
    """The share of right answers to the questions of some families and seeds; of all seeds if none are named."""
    seeds = range(figures["seeds"]) if seeds is None else seeds
    asked = [f"{model}.{seed}.family.{family}." for seed in seeds for family in families]
    right = sum(round(figures[one + "accuracy"] * figures[one + "n"]) for one in asked)
    return wilson(right, sum(figures[one + "n"] for one in asked))


def _accuracy_row(figures: Figures, model: str) -> str:
    share = _pooled(figures, model)
    seeds = ", ".join(f"{100 * value:.1f}" for value in _seeds(figures, model, "accuracy"))
    families = " | ".join(f"{100 * _pooled(figures, model, (family,)).value:.1f}" for family in FAMILIES)
    interval = f"{100 * share.low:.1f} - {100 * share.high:.1f} %"
    return f"| {figures['titles'][model]} | **{100 * share.value:.1f} %** | {interval} | {seeds} | {families} |"


def _funnel(figures: Figures) -> Iterator[str]:
    """A line for what goes into each step, what it lets out, and each reason for which it drops."""
    seen = [key.split(".", 2)[2] for key in figures if key.startswith("funnel.")]
    for key in dict.fromkeys(seen):
        step, _, what = key.partition(".")
        if step in ("check", "difficulty", "benefit", "verify", "window") and what != "waiting":
            label = {"rows_in": f"{step}: in", "rows_out": f"{step}: **out**"}.get(what, what.replace("dropped.", "- "))
            values = " | ".join(str(value) for value in _seeds_of_funnel(figures, key))
            yield f"| {label} | {values} |"
    for key, label in (("sft.train", "rows of the cold start"), ("rl.train", "questions of reinforcement learning")):
        yield f"| **{label}** | {' | '.join(str(value) for value in _seeds_of_funnel(figures, key))} |"


def _seeds_of_funnel(figures: Figures, key: str) -> list[int]:
    return [figures.get(f"funnel.{seed}.{key}", 0) for seed in range(figures["seeds"])]


def _rows_row(figures: Figures, arm: str) -> str:
    rows, available = _seeds(figures, arm, "rows"), ", ".join(map(str, _seeds(figures, arm, "rows.available")))
    right = sum(n * share for n, share in zip(rows, _seeds(figures, arm, "rows.right"), strict=True)) / sum(rows)
    families = " | ".join(str(sum(_seeds(figures, arm, f"rows.family.{family}"))) for family in FAMILIES)
    learned, shared = (", ".join(map(str, one)) for one in (rows, _seeds(figures, arm, "rows.shared")))
    return f"| {figures['titles'][arm]} | {available} | {learned} | {shared} | {100 * right:.0f} % | {families} |"


def _cost(figures: Figures) -> Iterator[str]:
    """Seconds by kind of step."""
    seconds: dict[str, float] = {}
    for key in [key for key in figures if key.startswith("seconds.")]:
        step = key.split(".", 2)[2]
        kind = step.rpartition(".")[2]
        seconds[kind] = seconds.get(kind, 0) + figures[key]
    for kind, total in seconds.items():
        yield f"| {kind} | {total:,.0f} |"
    yield f"| **all** | **{sum(seconds.values()):,.0f}** |"


def _plot(figures: Figures, file: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = NAME  # the same figures give the same file
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 4.2), layout="constrained")
    models = list(figures["titles"])[::-1]
    shares = [_pooled(figures, model) for model in models]
    spans = [[s.value - s.low for s in shares], [s.high - s.value for s in shares]]
    axis.barh(range(len(models)), [s.value for s in shares], xerr=spans, color="C0", alpha=0.6, capsize=3)
    for place, model in enumerate(models):
        seeds = _seeds(figures, model, "accuracy")
        axis.plot(seeds, [place] * len(seeds), "k.", markersize=5)
    axis.set_yticks(range(len(models)), [figures["titles"][model] for model in models])
    axis.set(xlabel="share of held-out questions answered right; dots are seeds", xlim=(0, None))
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
