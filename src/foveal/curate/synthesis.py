"""Trajectories of teachers, through the real agent loop: every declared call is really carried out.

    synthesis/<teacher>/      run folder: every trajectory of the teacher, good or not
    synthesis/ledger.sqlite   every reply of an endpoint, so that none is paid for twice

Rejection sampling: a teacher goes on with a question until a trajectory passes every rule (`curate.verification`), or
it has tried often enough. A trajectory that nobody could score is no reason to pay for another: it waits for its score.
"""

import asyncio
import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from foveal.asking import Asked, Attempt, Progress, each, make, number_of
from foveal.curate.failing import given_up, note_failures
from foveal.curate.folder import Folder
from foveal.curate.questions import StoredQuestion
from foveal.curate.rejudging import scored_otherwise
from foveal.curate.sampling import described, remember
from foveal.curate.settings import CurateSettings
from foveal.curate.stages import Verified, VerifiedTry
from foveal.curate.verification import failures, length
from foveal.errors import ConfigError
from foveal.records import RunWriter, scan_run
from foveal.trajectory import Trajectory

SYNTHESIS = "synthesis"


def run_of(folder: Folder, teacher: str) -> Path:
    """The run folder of a teacher."""
    return folder.run(SYNTHESIS) / teacher


async def synthesize(
    folder: Folder,
    settings: CurateSettings,
    teachers: Mapping[str, Asked],
    questions: Sequence[StoredQuestion],
    on_done: Callable[[str], None] = lambda question: None,
) -> dict[str, Progress]:
    """Let every teacher answer every question, but for what was answered before; all teachers at once.

    Args:
        folder: The curation.
        settings: Tries, and what makes a trajectory good.
        teachers: By name.
        questions: Those that the student did not solve.
        on_done: Called with the id of every question that a teacher is through with.

    Raises:
        ConfigError: A teacher of that name answered before, in another way.
        IsolationError: The tools have code, and this machine cannot isolate it.
    """
    for name, asked in teachers.items():
        remember(run_of(folder, name), described(asked))
    apart = {name: dataclasses.replace(asked, scope=name) for name, asked in teachers.items()}
    async with asyncio.TaskGroup() as group:
        tasks = {
            name: group.create_task(_teach(run_of(folder, name), settings, asked, questions, on_done))
            for name, asked in apart.items()
        }
    return {name: task.result() for name, task in tasks.items()}


def count_left(folder: Folder, settings: CurateSettings, questions: Sequence[StoredQuestion]) -> int:
    """Questions that the teachers are not through with, counted for each teacher."""
    return sum(len(_left(run_of(folder, one.name), settings, questions)) for one in settings.teachers)


def _left(
    run: Path, settings: CurateSettings, questions: Sequence[StoredQuestion]
) -> list[tuple[StoredQuestion, list[Attempt]]]:
    """Questions that a teacher is not through with, and the tries that it has left."""
    done, settled = given_up(run), set()
    for trajectory in scan_run(run):
        done.add(trajectory.id)
        if _counts(trajectory.id, settings) and not _goes_on(trajectory, settings):
            settled.add(trajectory.question.id)
    left = []
    for question in questions:
        tries = [Attempt(question.row.id, number, question.open) for number in range(settings.synthesis.samples)]
        missing = [attempt for attempt in tries if attempt.id not in done]
        if missing and question.row.id not in settled:
            left.append((question, missing))
    return left


async def _teach(
    run: Path,
    settings: CurateSettings,
    asked: Asked,
    questions: Sequence[StoredQuestion],
    on_done: Callable[[str], None],
) -> Progress:
    progress = Progress()
    with RunWriter(run, resume=True) as writer:
        left = _left(run, settings, questions)  # read while nobody else can write

        async def one(item: tuple[StoredQuestion, list[Attempt]]) -> None:
            question, tries = item
            for attempt in tries:
                trajectory = await make(asked, attempt, writer, progress)
                if trajectory is None:
                    return
                if not _goes_on(trajectory, settings):
                    break
            on_done(question.row.id)

        await each(left, asked.concurrency, one, lambda: progress.stopped is not None)
        note_failures(run, progress)
    return progress


def verify(folder: Folder, settings: CurateSettings, questions: Sequence[StoredQuestion]) -> dict[str, Verified]:
    """Judge the trajectories of the teachers by the rules, the first `synthesis.samples` of each; write the verdicts.

    Args:
        folder: The curation.
        settings: The rules.
        questions: Those that the teachers were asked.

    Raises:
        ConfigError: A trajectory was scored by another reward.
    """
    wanted = {question.row.id for question in questions}
    tries: dict[str, list[VerifiedTry]] = defaultdict(list)
    for teacher, trajectory in taught(folder, settings):
        name = trajectory.question.id
        if name in wanted and _counts(trajectory.id, settings):
            if scored_otherwise(trajectory, settings.reward):
                raise ConfigError(
                    f"{trajectory.id} of {teacher} was scored by another [reward] than that of now",
                    "run foveal curate verify: it scores the trajectories again, and asks nobody",
                )
            tries[name].append(
                VerifiedTry(
                    id=name,
                    teacher=teacher,
                    trajectory=trajectory.id,
                    tokens=length(trajectory),
                    failures=_wrong(trajectory, settings),
                )
            )
    gone = Counter(
        name.rpartition("/")[0]
        for teacher in settings.teachers
        for name in given_up(run_of(folder, teacher.name))
        if _counts(name, settings)
    )
    found = {
        name: Verified(id=name, tries=tuple(sorted(tries[name], key=_order)), given_up=gone[name])
        for name in (question.row.id for question in questions)
        if name in tries or name in gone
    }
    folder.write_verdicts("verify", found.values())
    return found


def taught(folder: Folder, settings: CurateSettings) -> Iterator[tuple[str, Trajectory]]:
    """Every trajectory of the teachers of the settings, with the name of its teacher."""
    for teacher in settings.teachers:
        for trajectory in scan_run(run_of(folder, teacher.name)):
            yield teacher.name, trajectory


def _wrong(trajectory: Trajectory, settings: CurateSettings) -> tuple[str, ...]:
    return () if "verify" in settings.skip else tuple(failures(trajectory, settings.verify))


def _goes_on(trajectory: Trajectory, settings: CurateSettings) -> bool:
    """Whether the teacher is to try again."""
    return trajectory.reward.get("accuracy") is not None and bool(_wrong(trajectory, settings))


def _counts(attempt: str, settings: CurateSettings) -> bool:
    """Whether a trajectory is one of the first so many of its teacher; what somebody has put there always is."""
    number = number_of(attempt)
    return number is None or number < settings.synthesis.samples


def _order(one: VerifiedTry) -> tuple[str, float, str]:
    """By teacher and try; what has no number comes last."""
    number = number_of(one.trajectory)
    return one.teacher, math.inf if number is None else number, one.trajectory
