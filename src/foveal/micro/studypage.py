"""The page of a study: tables, plots, and what came out as in the paper and what did not, all from its figures."""

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from foveal.bench.statistics import Share, wilson
from foveal.micro.questions import FAMILIES, TOOL_FAMILIES
from foveal.micro.study import ARMS, CURVES, TOOLS
from foveal.train.monitors import ALARMS

NAME = "cold-start"
SAMPLED = "sampled."
"""Figures of answers at temperature 1 begin so."""
LABELS = {
    "reward/accuracy": "share of right answers in training",
    "calls/mean": "tool calls a trajectory",
    "length/tokens": "tokens the model writes",
    "policy/entropy": "entropy of its tokens (nats)",
    "code/crashing": "share of cells that fail",
    "code/placeholder": "share of cells without effect",
    "family/direct/calls": "share of direct questions with a call",
}

Figures = Mapping[str, Any]


class Claim(NamedTuple):
    """Something that the paper, or the aim of this project, says should come out."""

    text: str
    holds: bool
    measured: str


def missing(figures: Figures) -> list[str]:
    """Arms that the seed with the most arms has not done yet: without one whole seed there is no page."""
    done = {arm: figures[f"{arm}.seeds"] for arm in ARMS}
    most = max(
        sorted(set[int]().union(*done.values())), key=lambda seed: sum(seed in of for of in done.values()), default=0
    )
    return [arm for arm in ARMS if most not in done[arm]]


def write_page(figures: Figures, command: str, folder: Path) -> Path:
    """Write `cold-start.md`, its plots and its data; return the page.

    Args:
        figures: Of `micro.study.run_study`.
        command: What made them.
        folder: Where to; made here. Files of an earlier page are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = {"command": command, **figures}
    (folder / f"{NAME}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    _plot_curves(figures, folder / f"{NAME}-curves.svg")
    _plot_tools(figures, folder / f"{NAME}-tools.svg")
    page = folder / f"{NAME}.md"
    page.write_text(text(figures, command), encoding="utf-8")
    return page


def text(figures: Figures, command: str) -> str:
    """The page, in Markdown."""
    settings = {key.removeprefix("settings."): figures[key] for key in figures if key.startswith("settings.")}
    teachers, done = settings.pop("teachers"), [len(figures[f"{arm}.seeds"]) for arm in ARMS]
    trained = [arm for arm in ARMS if ARMS[arm].rl is not None]
    return _PAGE.format(
        command=command,
        teachers=" and ".join(teachers),
        seeds=f"of every arm: {done[0]}"
        if len(set(done)) == 1
        else "so far: " + ", ".join(f"{arm} {count}" for arm, count in zip(ARMS, done, strict=True)),
        settings=", ".join(f"{key} {value}" for key, value in settings.items()),
        claims="\n".join(
            f"| {claim.text} | {'yes' if claim.holds else '**no**'} | {claim.measured} |" for claim in claims(figures)
        ),
        families=" | ".join(FAMILIES),
        accuracy="\n".join(_accuracy_row(figures, arm) for arm in ARMS),
        use="\n".join(_use_row(figures, arm) for arm in ARMS),
        alarms="\n".join(_alarm_row(figures, arm) for arm in trained),
        base=figures["base_sha256"],
        code=", ".join(sorted({code for arm in ARMS for code in _seeds(figures, arm, "code")})),
    )


_PAGE = """\
# Does reinforcement learning of tool use need a cold start?

The central experiment of DeepEyesV2 (sections 3.2 and 4.3) in the micro world, written by

    {command}

All arms start from the same base model ([micro.md](../micro.md) says what it knows); a seed has a cold start, an order
of training questions and held-out questions of its own. Teachers of the cold start: {teachers} ([who they
are](../micro.md#cold-start)). Answers to held-out questions are greedy where accuracy is told. Greedy answers show the
most probable habit alone, so the use of tools is told of answers at temperature 1, as in training. Intervals are 95 %
Wilson intervals over the questions of all seeds; they know nothing of the spread between seeds, so the seeds stand
beside them. Arms are compared over the seeds that both have done. Seeds {seeds}. Settings: {settings}.

## What came out

| claim | holds here | measured |
|---|---|---|
{claims}

## Held-out accuracy

Per cent; families over all seeds.

| arm | accuracy | 95 % interval | seeds | {families} |
|---|---|---|---|---|---|---|---|---|
{accuracy}

## Tool use on held-out questions

At temperature 1: accuracy; share of questions with a call, by whether one is needed; calls a question; share of code
cells that fail.

| arm | accuracy | direct (needs none) | families that need tools | calls | failing cells |
|---|---|---|---|---|---|
{use}

![tool calls a question by family, before and after](cold-start-tools.svg)

## Training

![curves of training](cold-start-curves.svg)

Lines are means over seeds, bands their range. Alarms of the monitors, seed by seed, with the first step at which each
stood:

| arm | trajectories sampled | alarms |
|---|---|---|
{alarms}

Data: [cold-start.json](cold-start.json). Made with foveal {code}; sha256 of the base model's weights: {base}.
"""


def claims(figures: Figures) -> Iterator[Claim]:
    """Every claim, with what was measured."""
    both = _common(figures, "cold-start", "cold-start-rl")
    before, after = (pooled(figures, arm, both) for arm in ("cold-start", "cold-start-rl"))
    yield Claim(
        "RL after the cold start adds 8 points or more, and the intervals do not overlap",
        after.value - before.value >= 0.08 and after.low > before.high,
        f"{_percent(before)} to {_percent(after)}",
    )
    yield Claim("it reaches 80 %", after.value >= 0.8, _percent(after))
    calls = [pooled(figures, arm, both, ("direct",), "call_rate", SAMPLED) for arm in ("cold-start", "cold-start-rl")]
    yield Claim(
        "RL makes tool use adaptive: calls on questions that need none fall by a third or more",
        calls[0].value > 0 and calls[1].value <= calls[0].value * 2 / 3,
        f"{_percent(calls[0])} to {_percent(calls[1])}",
    )
    needed = pooled(figures, "cold-start-rl", both, TOOL_FAMILIES, "call_rate", SAMPLED)
    yield Claim("... and stay at 90 % or more where tools are needed", needed.value >= 0.9, _percent(needed))
    for arm in ("direct", "direct-bonus"):
        both = _common(figures, arm, "cold-start")
        share, started = (pooled(figures, one, both, TOOL_FAMILIES) for one in (arm, "cold-start"))
        yield Claim(
            f"{ARMS[arm].title} does not learn what the cold start teaches: it is worse where tools are needed",
            share.high < started.low,
            f"{_percent(share)} against {_percent(started)}",
        )
    yield _alarm_claim(figures, "direct", "tool_abandonment", "calls die out")
    yield _alarm_claim(figures, "direct-bonus", "placeholder_code", "calls that compute nothing earn it")
    for arm, without in (("no-dynamic-sampling", "dynamic sampling"), ("clip-0.2", "the higher clip")):
        both = _common(figures, arm, "cold-start-rl")
        share, whole = (pooled(figures, one, both) for one in (arm, "cold-start-rl"))
        yield Claim(
            f"{without} helps: the intervals do not overlap",
            whole.low > share.high,
            f"{_percent(share)} without, {_percent(whole)} with",
        )


def _alarm_claim(figures: Figures, arm: str, alarm: str, meaning: str) -> Claim:
    rang = [alarm in found for found in _seeds(figures, arm, "alarms")]
    return Claim(
        f"{ARMS[arm].title}: {meaning} (alarm `{alarm}` in every seed)", all(rang), f"{sum(rang)} of {len(rang)} seeds"
    )


def _common(figures: Figures, *arms: str) -> list[int]:
    """The seeds that all of the arms have done: no others are compared."""
    return sorted(set[int].intersection(*(set(figures[f"{arm}.seeds"]) for arm in arms)))


def pooled(
    figures: Figures,
    arm: str,
    seeds: Sequence[int],
    families: Sequence[str] = FAMILIES,
    what: str = "accuracy",
    how: str = "",
) -> Share:
    """A share over the questions of some families and seeds, with its Wilson interval.

    Args:
        figures: Of the study.
        arm: Whose.
        seeds: Of its runs.
        families: Of questions.
        what: The figure.
        how: "" for greedy answers, `SAMPLED` for those at temperature 1.
    """
    successes, n = 0, 0
    for seed in seeds:
        for family in families:
            prefix = f"{arm}.{seed}.{how}family.{family}."
            successes += round(figures[prefix + what] * figures[prefix + "n"])
            n += figures[prefix + "n"]
    return wilson(successes, n)


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} - {100 * share.high:.1f}, n = {share.n})"


def _seeds(figures: Figures, arm: str, what: str) -> list[Any]:
    return [figures[f"{arm}.{seed}.{what}"] for seed in figures[f"{arm}.seeds"]]


def _accuracy_row(figures: Figures, arm: str) -> str:
    done = figures[f"{arm}.seeds"]
    share = pooled(figures, arm, done)
    seeds = ", ".join(f"{100 * value:.1f}" for value in _seeds(figures, arm, "accuracy"))
    families = " | ".join(f"{100 * pooled(figures, arm, done, (family,)).value:.1f}" for family in FAMILIES)
    interval = f"{100 * share.low:.1f} - {100 * share.high:.1f} %"
    return f"| {ARMS[arm].title} | **{100 * share.value:.1f} %** | {interval} | {seeds} | {families} |"


def _use_row(figures: Figures, arm: str) -> str:
    done = figures[f"{arm}.seeds"]
    right = pooled(figures, arm, done, how=SAMPLED)
    direct, needed = (pooled(figures, arm, done, some, "call_rate", SAMPLED) for some in (("direct",), TOOL_FAMILIES))
    calls = statistics.fmean(_seeds(figures, arm, f"{SAMPLED}calls_per_question"))
    failed = statistics.fmean(_seeds(figures, arm, f"{SAMPLED}code_error_rate"))
    shares = " | ".join(map(_percent, (right, direct, needed)))
    return f"| {ARMS[arm].title} | {shares} | {calls:.2f} | {100 * failed:.1f} % |"


def _alarm_row(figures: Figures, arm: str) -> str:
    trajectories = sum(_seeds(figures, arm, "trajectories"))
    said = [
        ", ".join(f"{name} ({found[name]})" for name in ALARMS if name in found) or "none"
        for found in _seeds(figures, arm, "alarms")
    ]
    return f"| {ARMS[arm].title} | {trajectories} | {'; '.join(said)} |"


def _plot_curves(figures: Figures, file: Path) -> None:
    plt = _pyplot()
    trained = [arm for arm in ARMS if ARMS[arm].rl is not None]
    figure, grid = plt.subplots(math.ceil(len(CURVES) / 2), 2, figsize=(10, 11), layout="constrained")
    axes = list(grid.flat)
    for metric, axis in zip(CURVES, axes, strict=False):
        for color, arm in enumerate(trained):
            steps = list(zip(*_seeds(figures, arm, f"curve.{metric}"), strict=True))
            known = [[value for value in step if value is not None] for step in steps]
            points = [(number, values) for number, values in enumerate(known, start=1) if values]
            x = [number for number, _ in points]
            axis.plot(x, [statistics.fmean(v) for _, v in points], color=f"C{color}", label=ARMS[arm].title)
            axis.fill_between(
                x, [min(v) for _, v in points], [max(v) for _, v in points], color=f"C{color}", alpha=0.15, lw=0
            )
        axis.set(title=LABELS[metric], xlabel="step", ylim=(0, None))
        axis.xaxis.get_major_locator().set_params(integer=True)
    for axis in axes[len(CURVES) :]:
        axis.axis("off")
    axes[-1].legend(*axes[0].get_legend_handles_labels(), loc="center")
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _plot_tools(figures: Figures, file: Path) -> None:
    plt = _pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
    both = _common(figures, "cold-start", "cold-start-rl")
    for arm, axis in zip(("cold-start", "cold-start-rl"), axes, strict=True):
        bottom = [0.0] * len(FAMILIES)
        for tool in TOOLS:
            height = [
                statistics.fmean(figures[f"{arm}.{seed}.{SAMPLED}family.{family}.{tool}"] for seed in both)
                for family in FAMILIES
            ]
            axis.bar(FAMILIES, height, bottom=bottom, label=tool)
            bottom = [low + more for low, more in zip(bottom, height, strict=True)]
        axis.set(title=ARMS[arm].title)
    axes[0].set(ylabel="calls a question")
    axes[1].legend()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = NAME  # the same figures give the same file
    from matplotlib import pyplot

    return pyplot
