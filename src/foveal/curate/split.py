"""The sets that come out: trajectories for the cold start, questions for reinforcement learning.

sft/train/, sft/held_out/                run folders for foveal sft; times are left out, so that the same curation
                                         gives the same bytes
rl/train.jsonl, rl/held_out.jsonl        question sets for foveal rl
verdicts/split.jsonl                     where each question went, or why nowhere
verdicts/split-settings.json             the settings that this follows from, and the licences that rows tell
verdicts/split-learned.sha256            tells another cold start from this one
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import JsonValue

from foveal.curate.folder import VERDICTS, Folder, Verdict
from foveal.curate.hashing import KeptHashes
from foveal.curate.leaks import PICTURES
from foveal.curate.licences import licences_of_sources
from foveal.curate.lots import Part, by_lot, lot, parts_of, within_shares
from foveal.curate.nearness import groups
from foveal.curate.questions import StoredQuestion
from foveal.curate.sets import RL, SFT, chosen_tries, replace_sets, source_of, write_rl, write_sft
from foveal.curate.settings import CurateSettings
from foveal.curate.stages import GIVEN_UP, Sieved, Stages
from foveal.errors import ConfigError
from foveal.files import alone, write_whole

OVER = "over its share"
MOST_NAMES = 20
"""That an error tells of."""
CUT_WITH = "split-settings.json"
"""Beside the verdicts."""
LEARNED = "split-learned.sha256"
"""Beside the verdicts: of what `sft/train` teaches."""
_DECIDING: dict[str, Any] = {
    "benchmarks": True, "skip": True, "reward": True, "check": True, "difficulty": {"samples", "most_right"},
    "benefit": True, "window": {"lowest", "highest", "samples"}, "synthesis": {"samples", "most_questions"},
    "verify": True, "long_cot": {"share"}, "balance": True, "split": True, "seed": True,
}  # fmt: skip
"""Settings that sets follow from. Who is asked, and how, is in the folders of the steps that ask."""


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
    waiting: dict[str, int]
    """Questions that a step knows nothing of yet, by the command that goes on with them."""
    changed: tuple[str, ...]
    """Settings that are others than those of the sets that there were."""


def split(folder: Folder, settings: CurateSettings) -> Sets:
    """Write both sets, in place of those that there are.

    Where the window asks a model of its own that was not asked yet, only the cold start is written.

    Raises:
        ConfigError: A step was not run, or does not know questions any more that are in the sets that there are; or the
            shares of a set contradict each other, or are of what does not exist; or the cold start would be another
            one than that of the model that was asked for the window.
        InputError: Another process is writing to the folder.
    """
    stages, before = Stages(folder, settings), folder.verdicts("split", Placed)
    changed = () if not before else tuple(changes(folder, settings) or ())
    _check_shares(stages)
    alike = _alike(stages) if settings.split.held_out else None
    parts = parts_of(stages.questions, settings.split.held_out, settings.seed, alike)
    fitting, over = _balanced(stages.verified.kept, settings, settings.balance.sft, SFT)
    learned = _learned(stages, fitting)
    sieves, wanted = [stages.checked, stages.hard, stages.unsolved, stages.verified], list[StoredQuestion]()
    if settings.window.student is None or folder.has("window") or "window" in settings.skip:
        window = stages.in_window({one.row.id for one in learned})
        fitting, over_rl = _balanced(window.kept, settings, settings.balance.rl, RL)
        wanted, over = by_lot(fitting, settings.split.most_rl, settings.seed, RL), over | over_rl
        sieves.append(window)
    waiting = _waiting(sieves)
    places = _places(stages, sieves, waiting, over)
    for name, chosen in ((SFT, learned), (RL, wanted)):
        for one in chosen:
            places[one.row.id] = Placed(id=one.row.id, set=name, part=parts[one.row.id], reason=None)
    with alone(folder.path):
        taught = write_sft(stages, learned, parts)
        _check_learned(stages, before, {one.row.id for one in learned}, taught.sha256, changed)
        _check_known(folder, before, waiting)
        asked = write_rl(folder, wanted, parts)
        (folder.path / VERDICTS / CUT_WITH).unlink(missing_ok=True)  # none that they do not follow from
        replace_sets(folder)
        folder.write_verdicts("split", [places[one.row.id] for one in stages.questions])
        write_whole(folder.path / VERDICTS / LEARNED, taught.sha256 + "\n")
        write_whole(folder.path / VERDICTS / CUT_WITH, json.dumps(_deciding(folder, settings), indent=1) + "\n")
    return Sets(taught.rows, taught.reasoning, asked, dict(Counter(waiting.values())), changed)


def changes(folder: Folder, settings: CurateSettings) -> list[str] | None:
    """The settings that are others than those that the sets follow from, in words; None if those are not known.

    Licences count as those of `sources.json`: they are with every row.

    Args:
        folder: Of the sets.
        settings: Those of now.

    Raises:
        RecordError: sources.json cannot be read.
    """
    try:
        before = dict(json.loads((folder.path / VERDICTS / CUT_WITH).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    now = _deciding(folder, settings)

    def said(value: JsonValue) -> str:
        return "not set" if value is None else json.dumps(value, ensure_ascii=False)

    return [
        f"{name} was {said(before.get(name))}, and is {said(now.get(name))} now"
        for name in sorted(before | now)
        if before.get(name) != now.get(name)
    ]


def _deciding(folder: Folder, settings: CurateSettings) -> dict[str, JsonValue]:
    """The settings that sets follow from, by their names with dots."""
    licences: dict[str, JsonValue] = {}
    for what, place in (("sources", folder), ("long_cot.sources", source_of(folder))):
        licences |= {f"{what}.{name}.licence": one for name, one in licences_of_sources(place.path).items()}
    # The address of the judge may hold a password; what another judge has scored is not counted anyway.
    values = settings.model_dump(mode="json", include=_DECIDING, exclude={"reward": {"judge"}})
    return {
        **_flat(values),
        "skip": [*sorted(settings.skip)],
        "teachers": [one.name for one in settings.teachers],
        "window.student": None if settings.window.student is None else "named",
        **licences,
    }


def _flat(values: Mapping[str, Any], table: str = "") -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for key, value in values.items():
        found |= _flat(value, f"{table}{key}.") if isinstance(value, dict) else {f"{table}{key}": value}
    return found


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


def _waiting(sieves: Sequence[Sieved]) -> dict[str, str]:
    """For every question that a step knows nothing of yet the command that goes on with it."""
    found: dict[str, str] = {}
    for sieved in sieves:
        command = "synthesize" if sieved.step == "verify" else sieved.step
        for one in sieved.waiting:
            found.setdefault(one.row.id, command)
    return found


def _check_known(folder: Folder, before: Mapping[str, Placed], waiting: Mapping[str, str]) -> None:
    """Refuse to replace sets because a step is to ask for more than it did: that is no reason to drop a question."""
    # Teachers have tries left where a rule is stricter now, and the set is cut without these trajectories.
    lost = Counter(
        step for name, step in waiting.items() if step != "synthesize" and name in before and before[name].set
    )
    if lost:
        ((step, count),) = lost.most_common(1)
        raise ConfigError(
            f"{count} questions of the sets that there are wait for {step} now, so the sets stay as they are",
            f"run foveal curate {step}; or move {folder.path / VERDICTS / 'split.jsonl'} away to cut without them",
        )


def _check_learned(
    stages: Stages, before: Mapping[str, Placed], learned: set[str], sha256: str, changed: Sequence[str]
) -> None:
    """Refuse another cold start once the model that learned the old one was asked for the window."""
    folder, settings = stages.folder, stages.settings
    if settings.window.student is None or "window" in settings.skip or not folder.has("window"):
        return
    file = folder.path / VERDICTS / LEARNED
    if file.is_file() and file.read_text(encoding="utf-8").strip() != sha256:
        was = {name for name, one in before.items() if one.set == SFT}
        why = f": {'; '.join(changed)}" if changed else ""
        what = f"{len(was - learned)} questions would leave that, {len(learned - was)} would come to it"
        raise ConfigError(
            "the window was asked of the model that learned the cold start, and "
            f"{what if was != learned else 'other trajectories would be in sft/train'}{why}",
            f"set it back; or, to train on another cold start, move {folder.path / VERDICTS / 'window.jsonl'} and "
            f"{folder.run('window')} away",
        )


def _places(stages: Stages, sieves: Sequence[Sieved], waiting: Mapping[str, str], over: set[str]) -> dict[str, Placed]:
    """Why each question is in no set; those that are will be put right."""
    reasons = {one.row.id: "not drawn" for one in stages.questions}
    # Only where nothing else is known: a window of its own asks them again, and what is solved goes on to the window.
    given_up = {name for name, why in stages.unsolved.dropped.items() if why == GIVEN_UP}
    reasons |= dict.fromkeys(given_up - {one.row.id for one in sieves[-1].kept}, GIVEN_UP)
    reasons |= dict.fromkeys(waiting, "waiting")
    for sieved in reversed(sieves):
        reasons |= sieved.dropped if sieved.step != "benefit" else {}
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
