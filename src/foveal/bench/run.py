"""A benchmark run: every question asked in every mode, each answer saved as a trajectory.

    RUN/bench.json                  what the score depends on (`foveal.bench.header`)
    RUN/with-tools/, without-tools/, blind/, blank/   run folders; a trajectory is `<question>/<repeat>`
    RUN/images/                     pictures of all of them
    RUN/pictures.json               SHA-256 of the pictures of every question
    RUN/failures.jsonl              attempts that the endpoint, the sandbox, a search or the time failed
    RUN/ledger.sqlite               replies of an endpoint: none is paid for twice

A killed run goes on where it was. What failed is no answer: it is told, and asked again the next time. Modes share the
seeds of a question, so that they differ in nothing but what their name says.
"""

import bisect
import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from foveal.asking import Asked, Attempt, Progress, each, make
from foveal.bench.benchmark import Benchmark
from foveal.bench.blank import BlankTools
from foveal.bench.header import Header, begin, code_version
from foveal.bench.loading import Problem, load
from foveal.bench.rows import Item, Picture
from foveal.bench.scores import infrastructure, regrade, scorer
from foveal.bench.settings import BenchSettings, Mode
from foveal.config import Limits
from foveal.curate.lots import lot
from foveal.errors import ConfigError, InputError
from foveal.files import write_whole
from foveal.policy.base import Policy
from foveal.policy.paid import Ledger
from foveal.protocol import Profile
from foveal.records import IMAGES, RunWriter, scan_run
from foveal.reward.judge import Judge
from foveal.tools.session import Tools
from foveal.trajectory import ImageStore, Question, Record, Trajectory

FAILURES = "failures.jsonl"
LEDGER = "ledger.sqlite"
PICTURES = "pictures.json"
FIRST: Mode = "with-tools"


class Plan(NamedTuple):
    """The questions of a run."""

    ids: frozenset[str]
    items: int
    """Questions that the data hold."""
    problems: tuple[Problem, ...]
    """Rows of the data that could not become questions."""
    sha256: str
    """Of ids, texts and accepted answers of the planned questions, in the order of the data."""
    pictures: Mapping[str, Sequence[str]]
    """Question to the SHA-256 of each file of its pictures, in the order of the data."""


class Who(NamedTuple):
    """Who is asked, and what with."""

    policy: Policy
    tools: Tools
    why: str
    """Why these tools are on."""
    profile: Profile
    bare: Profile
    """For the questions without tools."""
    judge: Judge | None
    ledger: Ledger | None
    """None for a model on this machine."""


class Failure(Record):
    """An attempt that is no answer."""

    mode: str
    id: str
    """Of the trajectory that it would have been."""
    kind: str
    """What failed, one of `foveal.bench.scores.FAILED`."""
    why: str
    at: str
    """UTC time, ISO 8601."""


class _BadPicture(Exception):
    """A picture of the data cannot be read: the question is left for later, and the others go on."""


def plan(benchmark: Benchmark, settings: BenchSettings) -> Plan:
    """Read the data once: which questions are asked, and a fingerprint of them.

    Raises:
        InputError: There is no question in the data.
        MissingDependency: A package that reads the data is not installed.
    """
    problems: list[Problem] = []
    lines: dict[str, str] = {}
    shown: dict[str, list[str]] = {}
    drawn: list[tuple[float, str]] = []  # those chosen so far, by lot: the pictures of all others need not be read
    files: dict[Path, str] = {}
    for item in load(benchmark, settings.data, problems.append):
        lines[item.id] = json.dumps([item.id, item.text, list(item.gold)])
        bisect.insort(drawn, (lot(settings.seed, "bench", item.id), item.id))
        last = drawn.pop()[1] if settings.n is not None and len(drawn) > settings.n else None
        if last != item.id:
            shown[item.id] = [_picture_sha256(picture, files) for picture in item.pictures]
            shown.pop(last or "", None)
    asked = (line for name, line in lines.items() if name in shown)
    return Plan(frozenset(shown), len(lines), tuple(problems), _sha256(asked), shown)


def _sha256(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _picture_sha256(picture: Picture, known: dict[Path, str]) -> str:
    """Of the file; many questions may share one."""
    if isinstance(picture, bytes):
        return hashlib.sha256(picture).hexdigest()
    if picture not in known:
        try:
            with picture.open("rb") as file:
                known[picture] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            known[picture] = "unreadable"  # told when its question is asked
    return known[picture]


def modes(settings: BenchSettings, tools: Tools) -> tuple[Mode, ...]:
    """The modes that the settings ask for, the one that the score is of first.

    Raises:
        ConfigError: A check of what tools give back is asked for, and there are no tools.
    """
    if not tools.offered:
        if settings.blank_observations:
            raise ConfigError("blank_observations is a check of tools, and none are offered", "leave it out")
        return ("without-tools", "blind") if settings.blind else ("without-tools",)
    wanted: dict[Mode, bool] = {
        FIRST: True, "without-tools": settings.no_tools, "blind": settings.blind, "blank": settings.blank_observations,
    }  # fmt: skip
    return tuple(mode for mode, asked in wanted.items() if asked)


def head(benchmark: Benchmark, settings: BenchSettings, questions: Plan, who: Who) -> Header:
    """The header of a run under these settings."""
    return Header(
        benchmark=benchmark.name,
        title=benchmark.title,
        data=str(settings.data or benchmark.data),
        items=questions.items,
        left_out=len(questions.problems),
        questions_sha256=questions.sha256,
        pictures_sha256=_sha256(map(json.dumps, questions.pictures.values())),
        n=len(questions.ids),
        repeats=settings.repeats,
        seed=settings.seed,
        temperature=settings.temperature,
        policy=who.policy.name,
        profile=who.profile.name,
        thumbnails=who.profile.thumbnails,
        prompts={
            mode: _profile(who, mode).prompt_hash(_tools(who, mode).offered) for mode in modes(settings, who.tools)
        },
        suffix=benchmark.suffix,
        tools=who.tools.describe(),
        tools_why=who.why,
        limits=limits(benchmark, settings).model_dump(mode="json"),
        scorer=benchmark.scorer,
        judge=who.judge.policy.name if who.judge is not None and benchmark.judge else None,
        price=settings.price,
        modes=modes(settings, who.tools),
        code=(code_version(),),
    )


def limits(benchmark: Benchmark, settings: BenchSettings) -> Limits:
    """Budgets of one trajectory; the image budget is that of the benchmark, unless the settings name one."""
    if "max_image_pixels" in settings.limits.model_fields_set:
        return settings.limits
    return settings.limits.model_copy(update={"max_image_pixels": benchmark.max_pixels})


async def run(
    benchmark: Benchmark,
    settings: BenchSettings,
    questions: Plan,
    who: Who,
    folder: Path,
    on_done: Callable[[Mode, Trajectory], None] = lambda mode, trajectory: None,
) -> dict[Mode, Progress]:
    """Ask every question in every mode, but for what was asked before; then let the judge finish what waits for it.

    Args:
        benchmark: What is asked.
        settings: How.
        questions: `plan(benchmark, settings)`.
        who: Who is asked.
        folder: Of the run.
        on_done: Called with every trajectory.

    Returns:
        How far every mode came. A mode that was stopped is the last one: what stopped it would stop the others.

    Raises:
        ConfigError: The run was begun with other settings or pictures.
        RecordError: Another process is writing to it.
        IsolationError: The tools have code, and this machine cannot isolate it.
    """
    mended = _check_pictures(folder, questions.pictures)
    begin(folder, head(benchmark, settings, questions, who), mended)
    write_whole(folder / PICTURES, json.dumps(questions.pictures))
    progress: dict[Mode, Progress] = {}
    for mode in modes(settings, who.tools):
        progress[mode] = await _ask(benchmark, settings, questions, who, folder, mode, partial(on_done, mode))
        await regrade(folder / mode, benchmark, who.judge)
        if progress[mode].stopped is not None:
            break
    return progress


def _check_pictures(folder: Path, now: Mapping[str, Sequence[str]]) -> bool:
    """Whether pictures that could not be read before may be others now: of those questions alone.

    Raises:
        ConfigError: Pictures of other questions are not those that the run began with.
    """
    unread = {failure.id.rpartition("/")[0] for failure in read_failures(folder) if failure.kind == "data"}
    file = folder / PICTURES
    before = json.loads(file.read_bytes()) if unread and file.exists() else {}
    changed = [name for name in before.keys() & now.keys() - unread if before[name] != now[name]]
    if changed:
        raise ConfigError(
            f"{folder} was begun with other pictures: of {len(changed)} questions, {min(changed)} among them",
            "put the pictures back, or name another folder: --run DIR",
        )
    return bool(unread)


def count_left(folder: Path, settings: BenchSettings, questions: Plan, asked: tuple[Mode, ...]) -> int:
    """Answers that the run still has to ask for."""
    return sum(len(questions.ids) * settings.repeats - len(_done(folder / mode)) for mode in asked)


def read_failures(folder: Path) -> list[Failure]:
    """The last failure of every attempt that has no answer yet; a line that was torn by a kill is left out."""
    file = folder / FAILURES
    if not file.is_file():
        return []
    last: dict[tuple[str, str], Failure] = {}
    for line in file.read_bytes().split(b"\n"):
        if (failure := _failure(line)) is not None:
            last[failure.mode, failure.id] = failure
    done = {mode: _done(folder / mode) for mode, _ in last}
    return [failure for (mode, name), failure in last.items() if name not in done[mode]]


def _failure(line: bytes) -> Failure | None:
    try:
        return Failure.model_validate_json(line)
    except ValueError:
        return None


async def _ask(
    benchmark: Benchmark,
    settings: BenchSettings,
    questions: Plan,
    who: Who,
    folder: Path,
    mode: Mode,
    on_done: Callable[[Trajectory], None],
) -> Progress:
    asked = Asked(
        policy=who.policy,
        tools=_tools(who, mode),
        profile=_profile(who, mode),
        limits=limits(benchmark, settings),
        temperature=settings.temperature,
        concurrency=settings.concurrency,
        seed=settings.seed,
        score=scorer(benchmark, who.judge),
        ledger=who.ledger,
        failed=infrastructure,
    )
    progress = Progress()
    _share_pictures(folder, mode)
    with RunWriter(folder / mode, resume=True) as writer:

        async def one(attempt: Attempt) -> None:
            try:
                trajectory = await make(asked, attempt, writer, progress)
            except _BadPicture as error:
                progress.failed += 1
                progress.error = progress.reasons[attempt.id] = f"data: {error}"
                trajectory = None
            if trajectory is not None:
                on_done(trajectory)
            elif attempt.id in progress.reasons:
                _note(folder, mode, attempt.id, progress.reasons[attempt.id])

        left = _left(benchmark, settings, questions, mode, _done(folder / mode))
        await each(left, settings.concurrency, one, lambda: progress.stopped is not None)
    return progress


def _left(
    benchmark: Benchmark, settings: BenchSettings, questions: Plan, mode: Mode, done: frozenset[str]
) -> Iterator[Attempt]:
    """The attempts that were not made yet; the data are read as they are needed, and no further."""
    left = len(questions.ids) * settings.repeats - len(done)
    for item in load(benchmark, settings.data, lambda problem: None) if left else ():
        if item.id not in questions.ids:
            continue
        shown = dataclasses.replace(item, pictures=()) if mode == "blind" else item
        for number in range(settings.repeats):
            attempt = Attempt(item.id, number, partial(_open, shown, benchmark.suffix))
            if attempt.id not in done:
                left -= 1
                yield attempt
        if not left:
            return


def _open(item: Item, suffix: str, images: ImageStore) -> Question:
    try:
        return item.question(images, suffix)
    except InputError as error:
        raise _BadPicture(error.what) from error


def _tools(who: Who, mode: Mode) -> Tools:
    match mode:
        case "without-tools":
            return Tools()
        case "blank":
            return BlankTools(who.tools)
        case _:
            return who.tools


def _profile(who: Who, mode: Mode) -> Profile:
    return who.profile if _tools(who, mode).offered else who.bare


def _done(run: Path) -> frozenset[str]:
    return frozenset(trajectory.id for trajectory in scan_run(run))


def _share_pictures(folder: Path, mode: Mode) -> None:
    """Make the pictures of a mode those of all modes: they show the same."""
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    (folder / mode).mkdir(exist_ok=True)
    link = folder / mode / IMAGES
    if link.exists():
        return
    with contextlib.suppress(OSError):  # without links on this disk every mode keeps its own
        link.symlink_to(Path("..") / IMAGES, target_is_directory=True)


def _note(folder: Path, mode: str, name: str, reason: str) -> None:
    kind, _, why = reason.partition(": ")
    failure = Failure(mode=mode, id=name, kind=kind, why=why, at=datetime.now(UTC).isoformat(timespec="seconds"))
    with (folder / FAILURES).open("a", encoding="utf-8") as file:
        file.write(failure.model_dump_json() + "\n")
