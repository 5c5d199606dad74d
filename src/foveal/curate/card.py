"""The dataset card of a curation, in figures (card.json) and in words (README.md).

Everything is read from what the steps wrote, and the same curation gives the same bytes.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from pydantic import JsonValue, ValidationError

from foveal import __version__
from foveal.curate.added import read_added
from foveal.curate.adding import REJECTS
from foveal.curate.cardrecords import (
    Card,
    CardExample,
    CardFile,
    CardLengths,
    CardRates,
    CardSet,
    CardSource,
    CardSpent,
    CardStage,
    CardTeacher,
)
from foveal.curate.cardtext import MARK, readme
from foveal.curate.folder import LEDGER, Folder, Passes
from foveal.curate.funnel import EXAMPLES, Stage, funnel
from foveal.curate.lengths import lengths_of
from foveal.curate.published import published
from foveal.curate.questions import QuestionRow, StoredQuestion, read_questions
from foveal.curate.rejects import Reject
from foveal.curate.sampling import ASKED
from foveal.curate.sets import LONG_COT, RL, SFT, source_of
from foveal.curate.settings import AskedSettings, CurateSettings
from foveal.curate.split import Placed
from foveal.curate.stages import Stages, Verified, VerifiedTry
from foveal.curate.synthesis import SYNTHESIS, run_of
from foveal.curate.verification import length
from foveal.errors import ConfigError, RecordError
from foveal.files import write_whole
from foveal.policy.paid import Price, read_spent
from foveal.records import FILE, scan_run
from foveal.reward.parts import response_tokens

CARD = "card.json"
README = "README.md"
MOST_TEXT = 600
"""Characters of a question or an answer that an example shows."""
MOST_GOLD = 4
PARTS: tuple[Literal["train", "held_out"], ...] = ("train", "held_out")

Holds = Literal["tools", "reasoning"]


def collect(folder: Folder, settings: CurateSettings) -> Card:
    """The figures of a curation, as far as it has come.

    Raises:
        InputError: There are no questions yet, or they cannot be read.
        ConfigError: The sets were cut with other settings, or are not whole.
        RecordError: What a step wrote cannot be read.
    """
    way = Stages(folder, settings)
    rows = {one.row.id: one.row for one in way.questions}
    stages = funnel(way)
    sets, lengths = _cold_start(folder) if folder.has("split") else ([], [])
    return Card(
        foveal=__version__,
        name=folder.path.resolve().name,
        questions=len(rows),
        stages=tuple(_stage(stage, rows, folder.path) for stage in stages),
        rates=tuple(_rates(way, {stage.step for stage in stages})),
        sources=tuple(_sources(folder)),
        teachers=tuple(_teachers(folder, settings)),
        spent=tuple(_spent(folder, settings)),
        lengths=tuple(lengths),
        sets=(*sets, *_questions(folder)),
        settings=_shown(settings),
    )


def write_card(folder: Folder, card: Card) -> Path:
    """Write card.json and README.md, in place of those of an earlier time, and return the path of the latter.

    Raises:
        ConfigError: There is a README.md that somebody else wrote.
        InputError: The folder cannot be written.
    """
    file = folder.path / README
    if file.exists() and MARK not in file.read_text(encoding="utf-8", errors="replace"):
        raise ConfigError(f"{file} was not written by foveal", "move it away: the card takes that name")
    write_whole(folder.path / CARD, card.model_dump_json(indent=1) + "\n")
    write_whole(file, readme(card))
    return file


def _stage(stage: Stage, rows: Mapping[str, QuestionRow], folder: Path) -> CardStage:
    shown = tuple(_example(rows[one.id], one.reason) for one in stage.examples)
    return CardStage(
        step=stage.step,
        rows_in=stage.rows_in,
        rows_out=stage.rows_out,
        waiting=stage.waiting,
        dropped=stage.dropped,
        examples=shown if stage.step != "sources" else tuple(_rejected(folder / REJECTS)),
    )


def _example(row: QuestionRow, reason: str | None) -> CardExample:
    gold = tuple(_short(one) for one in row.gold[:MOST_GOLD])
    return CardExample(id=row.id, text=_short(row.text), gold=gold, pictures=row.images, reason=reason)


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"


def _rejected(file: Path) -> Iterator[CardExample]:
    """Raw rows that were set aside, some of each reason."""
    if not file.is_file():
        return
    shown: Counter[str] = Counter()
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                reject = Reject.model_validate_json(line)
            except ValidationError as error:
                why = error.errors()[0]["msg"]
                raise RecordError(f"{file} line {number} cannot be read: {why}", "add the sources again") from error
            shown[reject.reason] += 1
            if shown[reject.reason] <= EXAMPLES:
                where = f"{reject.source} {reject.file}" + (f" row {reject.row}" if reject.row is not None else "")
                text = _short(f"{reject.message}\n{reject.said}".strip())
                yield CardExample(id=where, text=text, reason=reject.reason)


def _rates(way: Stages, steps: set[str]) -> Iterator[CardRates]:
    """Of the steps of the funnel that ask a model: of the questions that come to each, as there."""
    settings = way.settings
    if "difficulty" in steps:
        yield _rates_of("difficulty", settings.difficulty.samples, way.checked.kept, way)
    if "benefit" in steps:
        yield _rates_of("benefit", settings.benefit.samples, way.hard.kept, way)
    if "window" in steps and settings.window.student is not None:
        learned = {name for name, place in way.folder.verdicts("split", Placed).items() if place.set == SFT}
        yield _rates_of("window", settings.window.samples, way.for_window(learned), way)


def _rates_of(step: str, samples: int, questions: Sequence[StoredQuestion], way: Stages) -> CardRates:
    found = way.folder.verdicts(step, Passes)
    verdicts = [found.get(one.row.id, Passes(id=one.row.id, samples=0, right=0)) for one in questions]
    right = Counter(one.right for one in verdicts if one.samples >= samples)
    return CardRates(
        step=step,
        counts=tuple(right[number] for number in range(samples + 1)),
        fates=tuple(_fate(step, number, number / samples, way.settings) for number in range(samples + 1)),
        unfinished=sum(one.samples + one.given_up < samples for one in verdicts),
    )


def _fate(step: str, right: int, rate: float, settings: CurateSettings) -> str:
    """What becomes of a question that was answered right so often."""
    window = settings.window
    if step == "difficulty":
        return "hard" if right <= settings.difficulty.most_right else "too easy"
    if step == "benefit" and right < settings.benefit.least_right:
        return "cold start"
    if step == "benefit" and (window.student is not None or "window" in settings.skip):
        return "solved"
    if rate < window.lowest:
        return "too hard"
    return "too easy with tools" if rate > window.highest else "in the window"


def _sources(folder: Folder) -> Iterator[CardSource]:
    """What was taken in, whatever the settings say now: all of it is in the folder."""
    places: tuple[tuple[Literal["questions", "reasoning"], Path], ...] = (
        ("questions", folder.path),
        ("reasoning", source_of(folder).path),
    )
    for holds, place in places:
        taken = read_added(place)
        for source in taken.sources if taken is not None else ():
            yield CardSource(
                name=source.name,
                holds=holds,
                licence=source.licence,
                url=source.url and published(source.url),
                rows=source.rows,
                kept=source.kept,
                rejected=dict(Counter(source.rejected).most_common()),
                files=tuple(
                    CardFile(name=file.name, sha256=file.sha256[:12], size=file.size, rows=file.rows)
                    for file in source.files
                ),
            )


def _teachers(folder: Folder, settings: CurateSettings) -> Iterator[CardTeacher]:
    verdicts = folder.verdicts("verify", Verified)
    for teacher in settings.teachers:
        tries = [one for verdict in verdicts.values() for one in verdict.tries if one.teacher == teacher.name]
        good = [one for one in tries if not one.failures]
        yield CardTeacher(
            name=teacher.name,
            policy=_asked(run_of(folder, teacher.name)),
            trajectories=len(tries),
            good=len(good),
            solved=len({one.id for one in good}),
            failures=_broken(tries),
            tokens=sum(one.tokens for one in tries),
        )


def _broken(tries: list[VerifiedTry]) -> dict[str, int]:
    """Trajectories that broke a rule, by rule."""
    rules = [{failure.partition(":")[0] for failure in one.failures} for one in tries]
    counts = Counter(rule for broken in rules for rule in broken)
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _asked(run: Path) -> str | None:
    """Name of the model that was asked in a run; None if none was."""
    file = run / ASKED
    if not file.is_file():
        return None
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["policy"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RecordError(f"{file} cannot be read: {error!r}", f"run the step again in place of {run}") from error


def _spent(folder: Folder, settings: CurateSettings) -> Iterator[CardSpent]:
    student, window = settings.student, settings.window.student
    asked: dict[str, list[tuple[str, AskedSettings | None]]] = {
        "difficulty": [("", student)],
        "benefit": [("", student)],
        "window": [("", window)],
        SYNTHESIS: [(one.name, one) for one in settings.teachers],
    }
    for step, whom in asked.items():
        run = folder.run(step)
        if not (run / LEDGER).is_file():
            continue
        prices: dict[str, Price] = {}
        for name, one in whom:
            if one is not None and (policy := _asked(run / name)) is not None:
                prices[policy] = one.price
        spent = read_spent(run / LEDGER, prices)
        if spent.calls:
            yield CardSpent(step=step, calls=spent.calls, tokens=spent.tokens, money=round(spent.money, 6))


def _cold_start(folder: Folder) -> tuple[list[CardSet], list[CardLengths]]:
    """The cold-start set, and how long its trajectories are; read one by one.

    Raises:
        ConfigError: It is not what was decided: cutting it was interrupted.
    """
    lengths: dict[Holds, Counter[int]] = {"tools": Counter(), "reasoning": Counter()}
    estimated: Counter[Holds] = Counter()
    sets, learned = [], set()
    for part in PARTS:
        teachers, families, names = Counter[str](), Counter[str](), set()
        for trajectory in scan_run(folder.path / SFT / part):
            teacher = str(trajectory.settings.get("teacher"))
            holds: Holds = "reasoning" if teacher == LONG_COT else "tools"
            lengths[holds][length(trajectory)] += 1
            estimated[holds] += response_tokens(trajectory) is None
            teachers[teacher] += 1
            names.add((holds, trajectory.question.id))
            if holds == "tools":
                families[trajectory.question.family or "other"] += 1
                learned.add(trajectory.question.id)
        if names:
            sets.append(
                CardSet(
                    set="sft",
                    part=part,
                    file=f"{SFT}/{part}/{FILE}",
                    rows=teachers.total(),
                    questions=len(names),
                    reasoning=teachers[LONG_COT],
                    teachers=_counts(teachers),
                    families=_counts(families),
                )
            )
    if learned != {name for name, place in folder.verdicts("split", Placed).items() if place.set == SFT}:
        raise ConfigError(f"the sets in {folder.path} are not whole", "run foveal curate split again")
    return sets, [lengths_of(holds, counts, estimated[holds]) for holds, counts in lengths.items() if counts]


def _questions(folder: Folder) -> Iterator[CardSet]:
    """The set of reinforcement learning."""
    for part in PARTS:
        file = folder.path / RL / f"{part}.jsonl"
        if file.is_file():
            rows = [one.row for one in read_questions([file])]
            families = Counter(row.family or "other" for row in rows)
            yield CardSet(
                set="rl",
                part=part,
                file=f"{RL}/{part}.jsonl",
                rows=len(rows),
                questions=len(rows),
                reasoning=0,
                teachers={},
                families=_counts(families),
            )


def _counts(counts: Counter[str]) -> dict[str, int]:
    """The most frequent first; names decide between equals."""
    return dict(sorted(((name, n) for name, n in counts.items() if n), key=lambda one: (-one[1], one[0])))


def _shown(settings: CurateSettings) -> dict[str, JsonValue]:
    """Settings as everybody may see them."""
    values = settings.model_dump(mode="json")
    if live := values["tools"]["live"]:
        live["command"] = live["command"][:1]  # a program may have a key among its arguments
    return cast(dict[str, JsonValue], json.loads(published(json.dumps(values, ensure_ascii=False))))
