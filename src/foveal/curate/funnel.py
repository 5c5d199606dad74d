"""How many questions each step let through, with examples: what a user asks of a data set first."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from foveal.curate.added import read_added
from foveal.curate.sets import RL
from foveal.curate.split import Placed, changes
from foveal.curate.stages import Sieved, Stages
from foveal.errors import ConfigError

EXAMPLES = 4
"""Questions that are shown of each kind."""
TO_RL = "reinforcement learning"
"""Why a question with a good trajectory is not in the cold start: it was drawn for the other set."""


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


def funnel(stages: Stages) -> list[Stage]:
    """The steps in order, as far as they were run.

    The row `benefit` lets out what the student did not solve, for the cold start; what it solved goes on to `window`.

    Raises:
        ConfigError: The sets were cut with other settings, or of other verdicts.
        RecordError: What the steps wrote cannot be read.
    """
    folder, settings, found = stages.folder, stages.settings, list[Stage]()
    if folder.has("split"):
        _check_cut(stages)
    if (taken := read_added(folder.path)) is not None:
        rows, rejected = sum(source.rows for source in taken.sources), dict(taken.rejected.most_common())
        found.append(Stage("sources", rows, len(stages.questions), 0, rejected, ()))
    for step, name in (("check", "checked"), ("difficulty", "hard"), ("benefit", "unsolved"), ("verify", "verified")):
        if step in settings.skip and step != "verify":
            continue
        if folder.has(step):
            found.append(_stage(getattr(stages, name)))
        elif step != "verify":  # without teachers there are sets all the same
            return found
    return found + _sets(stages) if folder.has("split") else found


def _check_cut(stages: Stages) -> None:
    """Make sure that the sets are those of the settings."""
    path, fix = stages.folder.path, "run foveal curate split again"
    if (changed := changes(stages.folder, stages.settings)) is None:
        raise ConfigError(f"nobody knows with which settings the sets in {path} were cut", fix)
    if changed:
        raise ConfigError(
            f"the sets in {path} were cut with other settings: {'; '.join(changed)}", f"{fix}, or set it back"
        )


def _stage(sieved: Sieved) -> Stage:
    rows_in = len(sieved.kept) + len(sieved.dropped) + len(sieved.waiting)
    kept = tuple(Example(one.row.id, None) for one in sieved.kept[:EXAMPLES])
    shown: dict[str, list[Example]] = {}
    for name, reason in sieved.dropped.items():
        shown.setdefault(reason, []).append(Example(name, reason))
    dropped = tuple(example for examples in shown.values() for example in examples[:EXAMPLES])
    counts = dict(sieved.reasons.most_common())
    return Stage(sieved.step, rows_in, len(sieved.kept), len(sieved.waiting), counts, kept + dropped)


def _sets(stages: Stages) -> list[Stage]:
    """The window, and what the sets hold of what came so far."""
    folder, settings = stages.folder, stages.settings
    places = folder.verdicts("split", Placed)
    learned = {name for name, place in places.items() if place.set == "sft"}
    drawn = {name for name, place in places.items() if place.set == "rl"}
    verified = {one.row.id for one in stages.verified.kept}
    found = []
    if verified or learned:
        found.append(_drawn("sft", verified, learned, places))
    if settings.window.student is None or folder.has("window") or "window" in settings.skip:
        window = stages.in_window(learned)
        if "window" not in settings.skip:
            found.append(_stage(window))
        found.append(_drawn("rl", {one.row.id for one in window.kept}, drawn, places))
    return found


def _drawn(name: str, candidates: set[str], chosen: set[str], places: Mapping[str, Placed]) -> Stage:
    """A set, out of those that it could be made of."""
    if chosen - candidates:
        what = f"the set {name} has questions that a step before it does not let through any more"
        raise ConfigError(what, "run foveal curate split again")
    left = Counter(TO_RL if places[one].set == RL else str(places[one].reason) for one in candidates - chosen)
    return Stage(
        name, len(candidates), len(chosen), 0, dict(sorted(left.items(), key=lambda one: (-one[1], one[0]))), ()
    )
