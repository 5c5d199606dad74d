"""Wrong answers by the way in which they ended, a few of each to look at, and attempts that are no answers."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from foveal.bench.pages.shown import Shown
from foveal.bench.run import read_failures
from foveal.trajectory import StopReason, Trajectory
from foveal.view.html import Html, join, tag
from foveal.view.outcome import outcome, stop_text, strip
from foveal.view.page import Pictures

EXAMPLES = 6
"""Answers of every end that are shown."""
TOLD = 5
"""Reasons of failed attempts that are told for a run."""


class Wrong(NamedTuple):
    """A wrong answer of a run."""

    of: Shown
    number: int
    """Of its page."""
    trajectory: Trajectory


def gallery(shown: Sequence[Shown], pictures: dict[str, Pictures]) -> Html | None:
    """Wrong answers by end.

    Args:
        shown: All runs.
        pictures: By place of a run.
    """
    wrong: dict[StopReason, list[Wrong]] = defaultdict(list)
    for one in shown:
        for number, trajectory in enumerate(one.main, start=1):
            if outcome(trajectory) == "wrong":
                wrong[trajectory.stop_reason].append(Wrong(one, number, trajectory))
    whole = sum(map(len, wrong.values()))
    ends = [_end(reason, wrong[reason], whole, pictures, len(shown) > 1) for reason in StopReason if wrong[reason]]
    return join(ends) if ends else None


def spread(wrong: Sequence[Wrong]) -> list[Wrong]:
    """A few of them: of every run and family in turn."""
    groups: dict[tuple[str, str | None], list[Wrong]] = defaultdict(list)
    for one in wrong:
        groups[one.of.place, one.trajectory.question.family].append(one)
    turns = max(map(len, groups.values()), default=0)
    drawn = [group[turn] for turn in range(turns) for group in groups.values() if turn < len(group)]
    return drawn[:EXAMPLES]


def failures(shown: Sequence[Shown]) -> Html | None:
    """Attempts that are no answers, and why."""
    lines = []
    for one in shown:
        found = read_failures(one.folder)
        for failure in found[:TOLD]:
            words = f"{one.drawn.header.title} · {one.model} · {failure.mode} · {failure.id}"
            lines.append(tag("li", tag("b", f"{failure.kind}: {failure.why}"), tag("small", words)))
        if len(found) > TOLD:
            lines.append(tag("li", tag("small", f"{len(found) - TOLD:,} more of this run in failures.jsonl")))
    return tag("ul", *lines, class_="files") if lines else None


def _end(reason: StopReason, wrong: Sequence[Wrong], whole: int, pictures: dict[str, Pictures], named: bool) -> Html:
    words = "answered, and wrong" if reason is StopReason.ANSWERED else stop_text(reason)
    errors = Counter(kind for one in wrong for kind in set(_errors(one.trajectory)))
    chips = [tag("span", f"{kind} ", tag("b", f"{number:,}"), class_="chip") for kind, number in errors.most_common()]
    cards = [_card(one, pictures[one.of.place], named) for one in spread(wrong)]
    share = f"{len(wrong):,} of {whole:,} wrong answers"
    return tag(
        "div",
        tag("h3", words),
        tag("p", share, class_="dim"),
        tag("p", tag("span", "on the way:", class_="dim"), *chips, class_="chips") if chips else None,
        tag("ol", *cards, class_="cards"),
        class_="end",
    )


def _errors(trajectory: Trajectory) -> Iterator[str]:
    for turn in trajectory.turns:
        seen = turn.observation
        if seen is not None and seen.error is not None:
            yield f"{seen.error.kind.replace('_', ' ')} error"
        elif seen is not None and seen.cell is not None and seen.cell.status != "ok":
            yield {"error": "code raised", "timeout": "code timed out", "died": "session lost"}[seen.cell.status]


def _card(one: Wrong, pictures: Pictures, named: bool) -> Html:
    trajectory, address = one.trajectory, one.of.page(one.number)
    question = trajectory.question
    thumbnail = pictures.thumbnail(question.images[0]) if question.images else None
    given = trajectory.answer if trajectory.answer is not None else "no answer"
    gold = " · ".join(question.gold[:3])
    model = f"{one.of.drawn.header.title} · {one.of.model} · " if named else ""
    return tag(
        "li",
        tag("figure", tag("a", thumbnail, href=address)) if thumbnail is not None else None,
        tag(
            "div",
            tag("p", tag("a", question.text.removesuffix(one.of.drawn.header.suffix).strip(), href=address)),
            tag("small", tag("b", given, class_="value wrong"), " gold ", tag("b", gold), class_="gold"),
            strip(trajectory),
            tag("small", f"{model}{question.id}", class_="dim"),
        ),
    )
