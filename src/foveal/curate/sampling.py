"""The steps in which a student is asked: difficulty (without tools), benefit and window (with tools).

<step>/trajectories.jsonl   every answer, without its pictures
<step>/asked.json           who was asked, and how: nobody else may go on with it
<step>/failures.jsonl       what could not be answered (`curate.failing`)
verdicts/<step>.jsonl       how often each question was answered right
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from foveal.asking import Asked, Attempt, Progress, ask_all, number_of
from foveal.curate.failing import given_up, note_failures
from foveal.curate.folder import Folder, Passes
from foveal.curate.questions import StoredQuestion
from foveal.errors import ConfigError
from foveal.files import write_whole
from foveal.records import RunWriter, scan_run
from foveal.trajectory import Trajectory

ASKED = "asked.json"


async def sample(
    folder: Folder,
    step: str,
    asked: Asked,
    questions: Sequence[StoredQuestion],
    samples: int,
    on_done: Callable[[Trajectory], None] = lambda trajectory: None,
) -> Progress:
    """Ask each question `samples` times, but for what was asked before, and write the verdicts.

    Args:
        folder: The curation.
        step: Names the run and the verdicts.
        asked: Who is asked.
        questions: Those that the earlier steps let through.
        samples: Answers to each; more than last time asks the missing ones, fewer counts the first.
        on_done: Called with every answer.

    Raises:
        ConfigError: Somebody else was asked before, or in another way.
        IsolationError: The tools have code, and this machine cannot isolate it.
    """
    run = folder.run(step)
    remember(run, described(asked))
    with RunWriter(run, resume=True, pictures=False) as writer:
        done = {trajectory.id for trajectory in scan_run(run)}  # read while nobody else can write
        progress = await ask_all(asked, _left(questions, samples, done | given_up(run)), writer, on_done)
        note_failures(run, progress)
    give_verdicts(folder, step, samples)
    return progress


def passes(run: Iterable[Trajectory], samples: int, failed: Iterable[str] = ()) -> dict[str, Passes]:
    """How often each question of a run was answered right.

    Args:
        run: The answers.
        samples: Counts the first so many answers to each; later ones are there because there were to be more once.
        failed: Attempts that were given up.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for trajectory in run:
        if _within(trajectory.id, samples):
            accuracy = trajectory.reward.get("accuracy")
            kind = "unscored" if accuracy is None else "right" if accuracy >= 1 else "wrong"
            counts[trajectory.question.id][kind] += 1
    for name in failed:
        if _within(name, samples):
            counts[name.rpartition("/")[0]]["given up"] += 1
    return {
        name: Passes(
            id=name,
            samples=count["right"] + count["wrong"],
            right=count["right"],
            unscored=count["unscored"],
            given_up=count["given up"],
        )
        for name, count in counts.items()
    }


def count_left(folder: Folder, step: str, questions: Sequence[StoredQuestion], samples: int) -> int:
    """Answers that the step still has to ask for."""
    run = folder.run(step)
    return sum(1 for _ in _left(questions, samples, {trajectory.id for trajectory in scan_run(run)} | given_up(run)))


def give_verdicts(folder: Folder, step: str, samples: int) -> None:
    """Write how often each question was right in its first so many answers, as they are scored now."""
    found = passes(scan_run(folder.run(step)), samples, given_up(folder.run(step)))
    names = (question.row.id for question in folder.questions())
    folder.write_verdicts(step, [found[name] for name in names if name in found])


def described(asked: Asked) -> dict[str, JsonValue]:
    """What makes two askings the same."""
    return {
        "policy": asked.policy.name,
        "weights": asked.weights,
        "tools": asked.tools.describe(),
        "profile": asked.profile.name,
        "prompt_sha256": asked.profile.prompt_hash(asked.tools.offered),
        "limits": asked.limits.model_dump(mode="json"),
        "temperature": asked.temperature,
        "seed": asked.seed,
    }


def remember(run: Path, asked: Mapping[str, JsonValue]) -> None:
    """Write down who is asked in a run, or make sure that it is the same as before.

    Raises:
        ConfigError: It is not.
    """
    file = run / ASKED
    if not file.exists():
        write_whole(file, json.dumps(asked, indent=2) + "\n")
        return
    try:
        before = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", "move that folder away") from error
    # A checkpoint is known by its weights: the path to it may be another one, or be written in another way.
    same = {"policy"} if asked.get("weights") and before.get("weights") == asked["weights"] else set()
    if changed := [name for name in asked if name not in same and before.get(name) != asked[name]]:
        what = ", ".join(f"{name} was {json.dumps(before.get(name))}" for name in changed)
        raise ConfigError(f"{run} was asked in another way: {what}", "set it back, or move that folder away")


def _within(attempt: str, samples: int) -> bool:
    """Whether an attempt is one of the first so many at its question."""
    number = number_of(attempt)
    return number is not None and number < samples


def _left(questions: Sequence[StoredQuestion], samples: int, done: set[str]) -> Iterator[Attempt]:
    attempts = (Attempt(one.row.id, number, one.open) for one in questions for number in range(samples))
    return (attempt for attempt in attempts if attempt.id not in done)
