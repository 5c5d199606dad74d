"""Writing the sets of a curation: both are made beside the old ones, and put in their places when they are whole."""

import contextlib
import hashlib
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from pydantic import BaseModel, JsonValue, ValidationError

from foveal.curate.folder import Folder
from foveal.curate.leaks import verdicts_against
from foveal.curate.licences import licences_of_questions, licensed
from foveal.curate.lots import lot
from foveal.curate.questions import StoredQuestion
from foveal.curate.settings import CurateSettings
from foveal.curate.stages import Stages, VerifiedTry
from foveal.curate.synthesis import run_of
from foveal.errors import ConfigError, RecordError
from foveal.records import FILE, IMAGES, scan_run
from foveal.trajectory import Trajectory

SFT, RL, LONG_COT = "sft", "rl", "long-cot"
TRAIN, HELD_OUT = "train", "held_out"


def chosen_tries(stages: Stages, questions: Sequence[StoredQuestion]) -> list[VerifiedTry]:
    """The trajectories of questions that are learned from: so many of each, teachers in turn, by lot who begins."""
    found, most = [], stages.settings.verify.per_question
    for question in questions:
        good = stages.tries[question.row.id].good
        of_teacher: Mapping[str, list[VerifiedTry]] = defaultdict(list)
        for one in good:
            of_teacher[one.teacher].append(one)
        order = sorted(of_teacher, key=lambda name: lot(stages.settings.seed, name, question.row.id))
        turns = max((len(tries) for tries in of_teacher.values()), default=0)
        in_turn = [of_teacher[name][turn] for turn in range(turns) for name in order if turn < len(of_teacher[name])]
        found += in_turn[:most]
    return found


class Taught(NamedTuple):
    """What a cold-start set holds."""

    rows: dict[str, int]
    """Trajectories, by part."""
    reasoning: dict[str, int]
    """Those of reasoning alone among them, by part."""
    sha256: str
    """Of what a model learns from `train`: licences and rewards can change without making it another set."""


def write_sft(stages: Stages, questions: Sequence[StoredQuestion], parts: Mapping[str, str]) -> Taught:
    """Write a new cold-start set.

    Trajectories are read one by one, in the order in which they are written, with the licences of now.

    Args:
        stages: Where they come from.
        questions: Those that are learned.
        parts: The part of every question.

    Raises:
        ConfigError: There is not as much reasoning as its share asks for.
        RecordError: A trajectory that was verified, or a picture of one, is not there any more.
    """
    folder, settings = stages.folder, stages.settings
    chosen = chosen_tries(stages, questions)
    rows, reasoning = Counter[str]({TRAIN: 0, HELD_OUT: 0}), Counter[str]({TRAIN: 0, HELD_OUT: 0})
    part_folder = _fresh(folder.path / f"{SFT}.part")
    share, learned = settings.long_cot.share, hashlib.sha256()
    licences = {one.row.id: one.row.meta.get("licence") for one in questions}
    with contextlib.ExitStack() as stack:
        runs = {name: stack.enter_context(_Run(run_of(folder, name))) for name in {one.teacher for one in chosen}}
        for part in (TRAIN, HELD_OUT):
            with _writing(part_folder / part) as file:
                for one in chosen:
                    if parts[one.id] == part:
                        run = runs[one.teacher]
                        trajectory = _row(run.read(one.trajectory), one.teacher, licences)
                        _write(file, run.folder, part_folder / part, trajectory)
                        rows[part] += 1
                        if part == TRAIN:
                            learned.update(_learned(trajectory))
                if part == TRAIN and share:
                    licences = licences_of_questions(source_of(folder).path)
                    for found in _reasoning(folder, round(rows[TRAIN] * share / (1 - share)), settings):
                        trajectory = _row(found, LONG_COT, licences)
                        _write(file, folder.run(LONG_COT), part_folder / part, trajectory)
                        reasoning[part] += 1
                        learned.update(_learned(trajectory))
    counts = {part: count + reasoning[part] for part, count in rows.items()}
    return Taught(counts, dict(reasoning), learned.hexdigest())


class _Named(BaseModel):
    """What is looked at of a line to find it again."""

    id: str


class _Run:
    """The trajectories of a run by id, without holding them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._offsets: dict[str, int] = {}
        try:
            self._file = (folder / FILE).open("rb")
        except OSError as error:
            raise RecordError(f"{folder} cannot be read: {error.strerror}", "run foveal curate verify") from error
        offset = 0
        for line in self._file:
            with contextlib.suppress(ValidationError):  # a damaged line was told of when it was verified
                self._offsets[_Named.model_validate_json(line).id] = offset
            offset += len(line)

    def read(self, name: str) -> Trajectory:
        """The trajectory of that id.

        Raises:
            RecordError: It is not there, or cannot be read.
        """
        try:
            self._file.seek(self._offsets[name])
            return Trajectory.model_validate_json(self._file.readline())
        except (KeyError, ValidationError) as error:
            raise RecordError(
                f"trajectory {name} of {self.folder} was verified, and cannot be read now", "run foveal curate verify"
            ) from error

    def __enter__(self) -> "_Run":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def source_of(folder: Folder) -> Folder:
    """The rows that trajectories of reasoning are made of."""
    return Folder(folder.run(LONG_COT) / "source")


def leaking(folder: Folder, settings: CurateSettings) -> dict[str, str]:
    """Rows of reasoning that repeat others or leak from a benchmark, and how.

    Raises:
        ConfigError: They were not compared with the benchmarks of the settings.
    """
    if "check" in settings.skip:
        return {}
    found = verdicts_against(source_of(folder), settings.benchmarks, LONG_COT)
    reasons = {name: verdict.reason(settings.check) for name, verdict in found.items()}
    return {name: why for name, why in reasons.items() if why is not None}


def _reasoning(folder: Folder, count: int, settings: CurateSettings) -> Iterable[Trajectory]:
    """So many of the trajectories of reasoning, by lot.

    Raises:
        ConfigError: There are not so many.
    """
    there = {one.id for one in scan_run(folder.run(LONG_COT))}
    names = sorted(there - leaking(folder, settings).keys()) if there else []
    if len(names) < count:
        raise ConfigError(
            f"long_cot.share asks for {count} trajectories of reasoning, and there are {len(names)}",
            "run foveal curate long-cot with more sources, or lower the share",
        )
    drawn = set(sorted(names, key=lambda name: lot(settings.seed, LONG_COT, name))[:count])
    return (one for one in scan_run(folder.run(LONG_COT)) if one.id in drawn)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[TextIO]:
    """The file of a new run folder. It is made to last as a whole: line by line is for runs that cost something."""
    (folder / IMAGES).mkdir(parents=True)
    try:
        with (folder / FILE).open("w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RecordError(f"{folder} cannot be written: {error}", "make room on the disk") from error


def _row(trajectory: Trajectory, teacher: str, licences: Mapping[str, JsonValue]) -> Trajectory:
    """A trajectory as a row of the set, with the licence of its question; one that is not there keeps what it has."""
    question = trajectory.question
    if question.id in licences:
        question = question.model_copy(update={"meta": licensed(question.meta, licences[question.id])})
    changes = {"id": f"{teacher}/{trajectory.id}", "settings": {**trajectory.settings, "teacher": teacher}}
    return timeless(trajectory).model_copy(update={**changes, "question": question})


def _learned(row: Trajectory) -> bytes:
    """What a model can learn from a row."""
    question = row.question.model_copy(update={"meta": {}})
    told = {"question": question, "settings": {}, "reward": {}, "unscored": None}
    return row.model_copy(update=told).model_dump_json().encode() + b"\n"


def _write(file: TextIO, source: Path, folder: Path, row: Trajectory) -> None:
    """Write a row to the file of a folder, and its pictures, which are there as files already.

    Raises:
        RecordError: A picture is not there any more.
    """
    for ref in row.refs:
        name = Path(IMAGES) / f"{ref.sha256}.png"
        if not (source / name).is_file():
            own = row.id.partition("/")[2]  # in its run
            raise RecordError(f"picture {source / name} of trajectory {own} is missing")
        if not (folder / name).exists():
            shutil.copyfile(source / name, folder / name)
    file.write(row.model_dump_json() + "\n")


def timeless(trajectory: Trajectory) -> Trajectory:
    """The trajectory without the times that it took: what is left is the same however often it is made."""
    turns = []
    for turn in trajectory.turns:
        observation = turn.observation
        if observation is not None:
            cell = observation.cell and observation.cell.model_copy(update={"seconds": 0.0})
            observation = observation.model_copy(update={"seconds": 0.0, "cell": cell})
        turns.append(turn.model_copy(update={"seconds": 0.0, "observation": observation}))
    return trajectory.model_copy(update={"turns": tuple(turns), "started": "", "seconds": 0.0})


def write_rl(folder: Folder, questions: Sequence[StoredQuestion], parts: Mapping[str, str]) -> dict[str, int]:
    """Write new questions for reinforcement learning, and return how many by part; pictures stay where they are.

    Args:
        folder: The curation.
        questions: Those that are asked.
        parts: The part of every question.
    """
    part_folder = _fresh(folder.path / f"{RL}.part")
    counts = {}
    for part in (TRAIN, HELD_OUT):
        rows = [one.row for one in questions if parts[one.row.id] == part]
        counts[part] = len(rows)
        if rows:
            with (part_folder / f"{part}.jsonl").open("w", encoding="utf-8") as file:
                for row in rows:
                    images = tuple(f"../{name}" for name in row.images)
                    file.write(row.model_copy(update={"images": images}).model_dump_json() + "\n")
    return counts


def replace_sets(folder: Folder) -> None:
    """Put both new sets in place of those that there are; who is killed in between cuts them again."""
    for name in (SFT, RL):
        if (folder.path / name).exists():
            shutil.rmtree(folder.path / name)
        (folder.path / f"{name}.part").rename(folder.path / name)


def _fresh(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
