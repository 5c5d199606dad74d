"""The first page of a run: totals, families, filters, and one row per trajectory."""

from collections import Counter
from collections.abc import Sequence

from foveal.trajectory import StopReason, Trajectory
from foveal.view.bars import Part, bar
from foveal.view.html import Html, join, tag
from foveal.view.outcome import failed, outcome, stop_text, strip
from foveal.view.page import Pictures
from foveal.view.words import count, seconds

LEGEND = (("C", "code"), ("S", "text search"), ("I", "image search"), ("T", "other tool"), ("A", "answer"))


def body(name: str, trajectories: Sequence[Trajectory], problems: Sequence[str], pictures: Pictures) -> Html:
    """Everything on the index page.

    Args:
        name: Name of the run.
        trajectories: In file order; row n leads to `pages/n.html`.
        problems: What could not be read of the run.
        pictures: Writes the thumbnails.
    """
    notes = [tag("p", problem, class_="problem") for problem in problems]
    rows = [_row(number, trajectory, pictures) for number, trajectory in enumerate(trajectories, start=1)]
    header = tag("header", tag("p", "run", class_="eyebrow"), tag("h1", name), _totals(trajectories), class_="run")
    nothing = tag("p", "No trajectory passes these filters.", id="nothing", class_="dim", hidden=True)
    return join(
        [header, *notes, _families(trajectories), _filters(trajectories), tag("ol", *rows, class_="rows"), nothing]
    )


def _totals(trajectories: Sequence[Trajectory]) -> Html:
    scored = Counter(outcome(t) for t in trajectories)
    judged = scored["right"] + scored["wrong"]
    calls = sum(turn.call is not None for t in trajectories for turn in t.turns)
    number = len(trajectories)
    figures = [("trajectories", f"{number:,}")]
    if judged:
        figures.append(("right", f"{scored['right']:,} of {judged:,} · {scored['right'] / judged:.0%}"))
    if number:
        answered = sum(t.stop_reason is StopReason.ANSWERED for t in trajectories)
        figures.append(("answered", f"{answered / number:.0%}"))
        figures.append(("tool calls each", f"{calls / number:.1f}"))
        figures.append(("time each", seconds(sum(t.seconds for t in trajectories) / number)))
    return tag("dl", *(tag("div", tag("dt", words), tag("dd", value)) for words, value in figures), class_="totals")


def _families(trajectories: Sequence[Trajectory]) -> Html | None:
    """A bar a family: the share that is right, with its count."""
    judged = [(t.question.family or "other", outcome(t)) for t in trajectories if outcome(t) != "not scored"]
    asked = Counter(family for family, _ in judged)
    if not asked:
        return None
    right = Counter(family for family, verdict in judged if verdict == "right")
    bars = [
        tag(
            "div",
            tag("span", family),
            bar([Part(right[family] / total, "keeps")]),
            tag("span", f"{right[family]} of {total}", class_="number"),
        )
        for family, total in asked.items()
    ]
    return tag("section", *bars, class_="families")


def _filters(trajectories: Sequence[Trajectory]) -> Html:
    switches = (("wrong", "wrong only"), ("error", "tool error"), ("notool", "no tool"))
    boxes = [tag("label", tag("input", type="checkbox", name=key), words) for key, words in switches]
    families = list(dict.fromkeys(t.question.family for t in trajectories if t.question.family))
    if families:
        options = [tag("option", "every family", value=""), *(tag("option", f, value=f) for f in families)]
        boxes.append(tag("select", *options, name="family", aria_label="family"))
    letters = [
        tag("span", tag("span", letter, class_=f"glyph tool-{letter}"), words, class_="key") for letter, words in LEGEND
    ]
    shown = tag("output", count(len(trajectories), "row"), id="shown")
    return tag("form", *boxes, shown, tag("div", *letters, class_="legend"), id="filters")


def _row(number: int, trajectory: Trajectory, pictures: Pictures) -> Html:
    question, verdict = trajectory.question, outcome(trajectory)
    thumbnail = pictures.thumbnail(question.images[0]) if question.images else None
    gold = tag("span", "gold ", tag("b", " · ".join(question.gold)), class_="gold") if question.gold else None
    given = trajectory.answer if trajectory.answer is not None else "no answer"
    stopped = None if trajectory.stop_reason is StopReason.ANSWERED else stop_text(trajectory.stop_reason)
    link = tag(
        "a",
        tag("span", thumbnail, class_="thumb"),
        tag("span", tag("span", question.text, class_="asked"), tag("small", question.family or "", class_="dim")),
        tag("span", strip(trajectory), tag("small", count(len(trajectory.turns), "turn"), class_="dim")),
        tag("span", tag("b", given, class_=f"value {verdict}"), gold, class_="answers"),
        tag(
            "span",
            tag("span", verdict, class_=f"badge {verdict}"),
            tag("small", stopped, class_="warn") if stopped else None,
            class_="verdict",
        ),
        href=f"pages/{number}.html",
    )
    return tag(
        "li",
        link,
        data_wrong=verdict == "wrong",
        data_error=any(failed(turn) for turn in trajectory.turns),
        data_notool=all(turn.call is None for turn in trajectory.turns),
        data_family=question.family or "",
    )
