"""The answers of saved runs, reduced to what figures need: no torch, no model, no pictures."""

import re
import string
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from foveal.bench.comparison import Comparison
from foveal.bench.comparison import compare as compare_scores
from foveal.bench.header import FILE, differences, read_header
from foveal.bench.operations import carried_out, operation
from foveal.bench.scores import how
from foveal.errors import InputError, RecordError
from foveal.records import FILE as TRAJECTORIES
from foveal.records import scan_run
from foveal.trajectory import Question, StopReason, Trajectory


class Answer(NamedTuple):
    """One trajectory."""

    question: Question
    repeat: str
    score: float | None
    """Between 0 and 1; None if unscored."""
    problem: str
    """Why there is no score, or no judge decided."""
    stop: StopReason
    calls: tuple[str, ...]
    """Tools whose calls were carried out, in order."""
    operations: tuple[str, ...]
    """What each of these calls was for (`foveal.bench.operations`)."""
    turns: int
    prompt_tokens: int | None
    """Sent, summed over turns; None if the policy does not count."""
    completion_tokens: int | None
    seconds: float


class Pair(NamedTuple):
    """Two runs on the same questions."""

    comparison: Comparison
    """The second against the first."""
    clustered: bool
    """Whether questions share pictures, which counts them together."""
    left_out: int
    """Questions that only one of the runs has a score for."""
    differ: tuple[str, ...] = ()
    """Settings of benchmark runs that are not the same in both."""


def read_answers(run: Path) -> list[Answer]:
    """The answers of a run folder, by question and repeat (10 comes after 9); none where there is no run yet.

    Answers come in the order in which they were done, which is another one each time.

    Raises:
        RecordError: The run was written in a format version that this reader does not know.
    """
    return sorted(map(_answer, scan_run(run)), key=lambda one: (_natural(one.question.id), _natural(one.repeat)))


def scores(answers: Iterable[Answer]) -> dict[str, list[float]]:
    """For every question its scores, one a repeat; a question without any is left out."""
    found: dict[str, list[float]] = {}
    for answer in answers:
        if answer.score is not None:
            found.setdefault(answer.question.id, []).append(answer.score)
    return found


def pictures(answers: Iterable[Answer]) -> dict[str, Hashable]:
    """For every question what it is about: its pictures, or itself if it has none. One key for shared pictures.

    Args:
        answers: Of one run or of several. A question has the pictures that any of them shows: a blind run has none, and
            asks about the same.
    """
    found: dict[str, Hashable] = {}
    for answer in answers:
        shown = tuple(ref.sha256 for ref in answer.question.images)
        found[answer.question.id] = shown or found.get(answer.question.id, answer.question.id)
    return found


def shared(clusters: Mapping[str, Hashable], names: Iterable[str]) -> bool:
    """Whether any two of these questions belong to one cluster."""
    keys = [clusters[name] for name in names]
    return len(set(keys)) < len(keys)


def run_folder(named: Path) -> Path:
    """The run folder that a user means: that of the score, for the folder of a whole benchmark run.

    Raises:
        RecordError: It holds neither.
    """
    if (named / FILE).exists():
        return named / read_header(named).modes[0]
    if (named / TRAJECTORIES).exists():
        return named
    raise RecordError(f"{named} holds no run: there is neither {FILE} nor {TRAJECTORIES}", "name the folder of a run")


def compare_runs(first: Path, second: Path) -> Pair:
    """Compare two saved runs question by question, on the questions that both have a score for.

    Args:
        first: A run folder, or the folder of a benchmark run.
        second: The same.

    Raises:
        RecordError: A folder holds no run.
        InputError: A question of the same id is another one in the other run, or there is no common question.
    """
    ours, theirs = (read_answers(run_folder(folder)) for folder in (first, second))
    _same_questions(ours, theirs, first, second)
    heads = [read_header(head) for folder in (first, second) if (head := _head(folder)) is not None]
    return pair(ours, theirs)._replace(differ=tuple(differences(*heads)) if len(heads) == 2 else ())


def pair(first: Iterable[Answer], second: Iterable[Answer]) -> Pair:
    """Compare answers question by question, on the questions that both have a score for.

    Raises:
        InputError: There is no such question.
    """
    first, second = list(first), list(second)
    old, new = scores(first), scores(second)
    both = [name for name in old if name in new]
    clusters = pictures([*first, *second])
    clustered = shared(clusters, both)
    found = compare_scores(
        {name: old[name] for name in both}, {name: new[name] for name in both}, clusters if clustered else None
    )
    return Pair(found, clustered, len(old.keys() ^ new.keys()))


def _head(named: Path) -> Path | None:
    """The folder of the benchmark run that a folder is, or is part of."""
    return next((folder for folder in (named, named.absolute().parent) if (folder / FILE).exists()), None)


def _is_blind(named: Path) -> bool:
    """Whether the pictures were withheld from the answers of a folder."""
    run = run_folder(named).absolute()
    return run.name == "blind" and (run.parent / FILE).exists()


def _same_questions(ours: Iterable[Answer], theirs: Iterable[Answer], first: Path, second: Path) -> None:
    known = {answer.question.id: answer.question for answer in ours}
    blind = _is_blind(first) or _is_blind(second)
    for answer in theirs:
        question = known.get(answer.question.id)
        if question is None:
            continue
        old, new = (
            (one.text, one.gold, None if blind else [ref.sha256 for ref in one.images])
            for one in (question, answer.question)
        )
        if old != new:
            raise InputError(
                f"question {question.id} is another one in {first} than in {second}",
                "compare runs of the same benchmark and the same data",
            )


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts numbers in names by value, and before words."""
    pieces = re.findall(r"[0-9]{1,18}|[^0-9]+", name)
    return tuple((int(piece), "") if piece[0] in string.digits else (10**18, piece) for piece in pieces)


def _answer(trajectory: Trajectory) -> Answer:
    turns = trajectory.turns
    sent, written = [turn.prompt_tokens for turn in turns], [turn.completion_tokens for turn in turns]
    counted = bool(turns) and None not in sent and None not in written
    calls = tuple(carried_out(trajectory))
    return Answer(
        question=trajectory.question,
        repeat=trajectory.id.rpartition("/")[2],
        score=trajectory.reward.get("accuracy"),
        problem=trajectory.unscored or how(trajectory).problem,
        stop=trajectory.stop_reason,
        calls=tuple(call.tool for call in calls),
        operations=tuple(map(operation, calls)),
        turns=len(turns),
        prompt_tokens=sum(filter(None, sent)) if counted else None,
        completion_tokens=sum(filter(None, written)) if counted else None,
        seconds=trajectory.seconds,
    )
