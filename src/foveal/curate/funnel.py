"""How many questions each step let through, with examples: what a user asks of a data set first."""

from collections import Counter
from typing import NamedTuple

from foveal.curate.adding import SOURCES, AddedFigures
from foveal.curate.folder import Folder, Passes
from foveal.curate.settings import CurateSettings
from foveal.curate.split import Placed
from foveal.curate.stages import Sieved, Stages

EXAMPLES = 4
"""Questions that are shown of each kind."""


class Example(NamedTuple):
    """A question, and what became of it."""

    id: str
    reason: str | None
    """Why it was dropped; None if it was kept."""


class Stage(NamedTuple):
    """What a step did."""

    step: str
    rows_in: int
    rows_out: int
    waiting: int
    """Rows that the step knows nothing of yet."""
    dropped: dict[str, int]
    """By reason."""
    examples: tuple[Example, ...]


def funnel(folder: Folder, settings: CurateSettings) -> list[Stage]:
    """The steps in order, as far as they were run.

    The row `benefit` lets out what the student did not solve, for the cold start; what it solved goes on to `window`.
    """
    stages = Stages(folder, settings)
    taken = AddedFigures.model_validate_json((folder.path / SOURCES).read_text(encoding="utf-8"))
    rejected = Counter[str]()
    for source in taken.sources:
        rejected.update(source.rejected)
    rows = sum(source.rows for source in taken.sources)
    found = [Stage("sources", rows, len(stages.questions), 0, dict(rejected), ())]
    for step, name in (("check", "checked"), ("difficulty", "hard"), ("benefit", "unsolved"), ("verify", "verified")):
        if step in settings.skip and step != "verify":
            continue
        if not folder.has(step):
            return found
        sieved: Sieved = getattr(stages, name)
        found.append(_stage(sieved, len(sieved.kept) + len(sieved.dropped) + len(sieved.waiting)))
    if folder.has("split"):
        found += _sets(folder, stages)
    return found


def _stage(sieved: Sieved, rows_in: int) -> Stage:
    kept = tuple(Example(one.row.id, None) for one in sieved.kept[:EXAMPLES])
    shown: dict[str, list[Example]] = {}
    for name, reason in sieved.dropped.items():
        shown.setdefault(reason, []).append(Example(name, reason))
    dropped = tuple(example for examples in shown.values() for example in examples[:EXAMPLES])
    counts = dict(sieved.reasons.most_common())
    return Stage(sieved.step, rows_in, len(sieved.kept), len(sieved.waiting), counts, kept + dropped)


def _sets(folder: Folder, stages: Stages) -> list[Stage]:
    """The window, and what the sets hold of what came so far."""
    places = folder.verdicts("split", Placed)
    learned = {name for name, place in places.items() if place.set == "sft"}
    drawn = {name for name, place in places.items() if place.set == "rl"}
    verified = {one.row.id for one in stages.verified.kept}
    left = Counter(str(places[name].reason) for name in verified - learned - drawn)
    found = [Stage("sft", len(verified), len(learned), 0, dict(left), ())]
    if stages.settings.window.student is None or folder.has("window"):
        window = stages.in_window(learned)
        found.append(_stage(window, len(window.kept) + len(window.dropped) + len(window.waiting)))
        names = {one.row.id for one in window.kept}
        left = Counter(str(places[name].reason) for name in names - drawn)
        found.append(Stage("rl", len(names), len(drawn), 0, dict(left), ()))
    return found


def pass_rates(folder: Folder, step: str) -> dict[int, int]:
    """How many questions were answered right how often, in a sampling step; empty if it was not run."""
    return dict(sorted(Counter(one.right for one in folder.verdicts(step, Passes).values()).items()))
