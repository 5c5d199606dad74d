"""The sets that come out: trajectories for the cold start, questions for reinforcement learning.

sft/train/, sft/held_out/                run folders for foveal sft; times are left out, so that the same curation
                                         gives the same bytes
rl/train.jsonl, rl/held_out.jsonl        question sets for foveal rl
verdicts/split.jsonl                     where each question went, or why nowhere
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from foveal.curate.folder import VERDICTS, Folder, Verdict, alone
from foveal.curate.hashing import KeptHashes
from foveal.curate.leaks import PICTURES
from foveal.curate.lots import Part, by_lot, lot, parts_of, within_shares
from foveal.curate.nearness import groups
from foveal.curate.questions import StoredQuestion
from foveal.curate.sets import RL, SFT, chosen_tries, write_rl, write_sft
from foveal.curate.settings import CurateSettings
from foveal.curate.stages import Sieved, Stages
from foveal.errors import ConfigError

OVER = "over its share"
MOST_NAMES = 20
"""That an error tells of."""


class Placed(Verdict):
    """Where a question went."""

    set: Literal["sft", "rl"] | None
    part: Part | None
    reason: str | None
    """Why nowhere."""


class Sets(NamedTuple):
    """What the sets hold."""

    sft: dict[str, int]
    """Trajectories, by part."""
    long_cot: dict[str, int]
    """Those of reasoning alone among them, by part."""
    rl: dict[str, int]
    """Questions, by part."""
    waiting: int
    """Questions that a step knows nothing of yet."""


def split(folder: Folder, settings: CurateSettings) -> Sets:
    """Write both sets, in place of those that there are.

    Where the window asks a model of its own that was not asked yet, only the cold start is written.

    Raises:
        ConfigError: A step was not run, or the shares of a set contradict each other, or are of what does not exist.
        InputError: Another process is writing to the folder.
    """
    stages = Stages(folder, settings)
    _check_shares(stages)
    alike = _alike(stages) if settings.split.held_out else None
    parts = parts_of(stages.questions, settings.split.held_out, settings.seed, alike)
    fitting, over = _balanced(stages.verified.kept, settings, settings.balance.sft, SFT)
    learned = _learned(stages, fitting)
    sieves, wanted = [stages.checked, stages.hard, stages.verified], list[StoredQuestion]()
    if settings.window.student is None or folder.has("window") or "window" in settings.skip:
        window = stages.in_window({one.row.id for one in learned})
        fitting, over_rl = _balanced(window.kept, settings, settings.balance.rl, RL)
        wanted, over = by_lot(fitting, settings.split.most_rl, settings.seed, RL), over | over_rl
        sieves.append(window)
    waiting = [*stages.unsolved.waiting, *(one for sieved in sieves for one in sieved.waiting)]
    places = _places(stages, sieves, waiting, over)
    for name, chosen in ((SFT, learned), (RL, wanted)):
        for one in chosen:
            places[one.row.id] = Placed(id=one.row.id, set=name, part=parts[one.row.id], reason=None)
    with alone(folder.path):
        taught, reasoning = write_sft(stages, learned, parts)
        asked = write_rl(folder, wanted, parts)
        folder.write_verdicts("split", [places[one.row.id] for one in stages.questions])
    return Sets(taught, reasoning, asked, len({one.row.id for one in waiting}))


def _alike(stages: Stages) -> dict[str, str]:
    """For every picture the first of those that look nearly the same, as `check` would tell.

    A copy in another format or size must not be in the other part. Hashes that are not kept yet are made.
    """
    path, distance = stages.folder.path, stages.settings.check.duplicate_distance
    names = sorted({name for one in stages.questions for name in one.row.images})
    kept = KeptHashes(path / VERDICTS, path / PICTURES)
    hashes = [hashed for (hashed,) in kept.of([path / name] for name in names)]
    return {name: names[first] for name, first in zip(names, groups(hashes, distance), strict=True)}


def _learned(stages: Stages, questions: Sequence[StoredQuestion]) -> list[StoredQuestion]:
    """Questions whose trajectories go into the cold-start set: all, or by lot as many as there is room for."""
    split, seed = stages.settings.split, stages.settings.seed
    if split.most_sft is None:
        return list(questions)
    room, kept = int(split.most_sft * (1 - stages.settings.long_cot.share) + 1e-9), set[str]()
    for one in sorted(questions, key=lambda one: lot(seed, SFT, one.row.id)):
        if (count := len(chosen_tries(stages, [one]))) <= room:
            room -= count
            kept.add(one.row.id)
    return [one for one in questions if one.row.id in kept]


def _places(
    stages: Stages, sieves: Sequence[Sieved], waiting: Sequence[StoredQuestion], over: set[str]
) -> dict[str, Placed]:
    """Why each question is in no set; those that are will be put right."""
    reasons = {one.row.id: "not drawn" for one in stages.questions}
    reasons |= {one.row.id: "waiting" for one in waiting}
    for sieved in reversed(sieves):
        reasons |= sieved.dropped
    reasons |= dict.fromkeys(over, OVER)
    return {name: Placed(id=name, set=None, part=None, reason=why) for name, why in reasons.items()}


def _check_shares(stages: Stages) -> None:
    """Make sure that all shares are of something that there is."""
    balance = stages.settings.balance
    known = {_property(one, stages.settings) for one in stages.questions}
    for name, shares in ((SFT, balance.sft), (RL, balance.rl)):
        if unknown := sorted(shares.keys() - known):
            there = sorted(known)
            more = f" and {len(there) - MOST_NAMES} more" if len(there) > MOST_NAMES else ""
            raise ConfigError(
                f"balance.{name} has a share for {unknown[0]!r}, and that is the {balance.by} of no question",
                f"name one of {', '.join(there[:MOST_NAMES])}{more}",
            )


def _property(question: StoredQuestion, settings: CurateSettings) -> str:
    """What the shares are by."""
    by = settings.balance.by
    value = question.row.family if by == "family" else question.row.meta.get(by)
    return "other" if value is None else str(value)


def _balanced(
    questions: Sequence[StoredQuestion], settings: CurateSettings, shares: Mapping[str, float], what: str
) -> tuple[list[StoredQuestion], set[str]]:
    """Questions within the shares, and the names of those over them."""
    if not shares:
        return list(questions), set()
    groups = defaultdict[str, list[StoredQuestion]](list)
    for question in questions:
        groups[_property(question, settings)].append(question)
    sizes = within_shares({value: len(group) for value, group in groups.items()}, shares)
    kept = {one.row.id for value, group in groups.items() for one in by_lot(group, sizes[value], settings.seed, what)}
    return [one for one in questions if one.row.id in kept], {one.row.id for one in questions} - kept
