"""Whole sets over the border: run folders and question sets out to a format, and back."""

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeVar

from pydantic import ValidationError

from foveal.curate.adding import PICTURES, QUESTIONS
from foveal.curate.questions import QuestionRow, StoredQuestion
from foveal.errors import ConfigError, InputError, RecordError
from foveal.integrations.formats.conversation import from_trajectory, to_trajectory
from foveal.integrations.formats.dialogue import (
    Dialogue,
    Picture,
    Reject,
    Task,
    Unfit,
    Where,
    first_issue,
)
from foveal.integrations.formats.outbox import Outbox
from foveal.integrations.formats.pictures import portable, read, stored, write_by_content
from foveal.records import FILE, IMAGES, RunWriter
from foveal.trajectory import ImageRef, ImageStore, Trajectory

Kind = Literal["run", "questions"]
Format = Literal["trl", "llamafactory", "verl", "hub-folder", "inspect"]

HOLDS: dict[Format, tuple[Kind, ...]] = {
    "trl": ("run", "questions"),
    "llamafactory": ("run",),
    "verl": ("questions",),
    "hub-folder": ("run", "questions"),
    "inspect": ("questions",),
}
PROMPTED: tuple[Format, ...] = ("trl", "verl")
"""Formats whose rows of questions hold the whole prompt, system message included."""

Row = TypeVar("Row", bound=Dialogue | Task)

_NAMES = {"run": "a run folder", "questions": "a question set"}


@dataclass(frozen=True)
class Result:
    """What was carried over."""

    kind: Kind
    kept: int
    rejected: int
    rejects: tuple[Reject, ...]
    """The first few; all of them are in `rejects.jsonl`."""


def export(source: Path, to: Format, out: Path, system: str | None = None, suffix: str = "") -> Result:
    """Write a run folder or a question set in another format.

    Args:
        source: A run folder or a question-set file.
        to: The format.
        out: A new folder.
        system: System prompt of every question, for formats that hold whole prompts.
        suffix: Text behind every question, likewise.

    Raises:
        ConfigError: The format has no room for such a set.
        InputError: `source` is neither, or cannot be read; `out` is taken, or cannot be written.
        RecordError: The run cannot be read.
    """
    kind = _kind(source)
    if kind not in HOLDS[to]:
        fitting = ", ".join(name for name, kinds in HOLDS.items() if kind in kinds)
        raise ConfigError(
            f"{to} takes {_NAMES[HOLDS[to][0]]}, and {source} is {_NAMES[kind]}",
            f"export it --to one of: {fitting}; or name {_NAMES[HOLDS[to][0]]}",
        )
    if (system is not None or suffix) and (kind == "run" or to not in PROMPTED):
        raise ConfigError(
            "only questions for trl and verl take a prompt", "leave --system-prompt and --user-suffix out"
        )
    module = _module(to)
    with Outbox(out) as outbox:
        if kind == "run":
            module.write_trajectories(_kept(_dialogues(source), outbox), outbox)
        else:
            module.write_questions(_kept(_tasks(source), outbox), outbox, system, suffix)
        return _result(kind, outbox, source)


def bring(source: Path, form: Format, out: Path) -> Result:
    """Turn a set of another format into a run folder or a question set, whichever it holds.

    Raises:
        InputError: `source` cannot be read or holds nothing; `out` is taken, or cannot be written.
    """
    if not source.exists():
        raise InputError(f"there is no {source}", "check the path")
    with Outbox(out) as outbox:
        rows: Iterator[Dialogue | Task] = iter(_kept(_module(form).read(source), outbox))
        first = next(rows, None)
        kind: Kind = "questions" if isinstance(first, Task) else "run"
        every = () if first is None else chain([first], rows)
        if kind == "run":
            _write_run(every, outbox)
        else:
            _write_questions(every, outbox)
        return _result(kind, outbox, source)


def _result(kind: Kind, outbox: Outbox, source: Path) -> Result:
    if not outbox.kept and not outbox.rejected:
        raise InputError(f"{source} holds nothing to carry over", "name a set with at least one row")
    return Result(kind, outbox.kept, outbox.rejected, tuple(outbox.rejects))


def _module(form: Format) -> ModuleType:
    name = "hub" if form == "hub-folder" else form
    return importlib.import_module(f"foveal.integrations.formats.{name}")


def _kind(source: Path) -> Kind:
    if (source / FILE).is_file():
        return "run"
    if source.is_file():
        return "questions"
    if not source.exists():
        raise InputError(f"there is no {source}", "name a run folder, or the JSONL file of a question set")
    raise InputError(f"{source} holds no run: there is no {FILE}", "name a run folder, or the file of a question set")


def _kept(rows: Iterable[Row | Reject], outbox: Outbox) -> Iterator[Row]:
    for row in rows:
        if isinstance(row, Reject):
            outbox.reject(row)
        else:
            yield row


def _dialogues(run: Path) -> Iterator[Dialogue | Reject]:
    """The conversations of a run, a line at a time: a large one, token ids and all, would not fit into memory."""
    images = ImageStore(run / IMAGES)

    def picture(ref: ImageRef) -> bytes:
        return stored(images, run / IMAGES, ref)

    for number, line in _lines(run / FILE):
        where = Where(run / FILE, number)
        try:
            yield from_trajectory(Trajectory.model_validate_json(line), where, picture)
        except ValidationError as error:
            yield Reject(where, f"no trajectory that can be read: {first_issue(error)}")
        except (Unfit, RecordError) as error:
            yield Reject(where, error.what if isinstance(error, RecordError) else str(error))


def _tasks(file: Path) -> Iterator[Task | Reject]:
    """The questions of a set, a line at a time: one that cannot be used does not cost the others."""
    taken: dict[str, int] = {}
    for number, line in _lines(file):
        if not line.strip():
            continue
        where = Where(file, number)
        try:
            row = QuestionRow.model_validate_json(line)
            if row.id in taken:
                raise Unfit(f"the id {row.id!r} is that of line {taken[row.id]}")
            pictures = tuple(portable(path) for path in StoredQuestion(row, file, number).pictures)
        except ValidationError as error:
            yield Reject(where, f"no question that can be read: {first_issue(error)}")
        except Unfit as unfit:
            yield Reject(where, str(unfit))
        else:
            taken[row.id] = number
            yield Task(where, row.id, row.text, pictures, row.gold, row.family, row.meta)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file and their numbers. An error in reading is told here, lest it be taken for one in writing."""
    try:
        with file.open("rb") as lines:
            yield from enumerate(lines, start=1)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}", "mend it, or name another") from error


def _write_run(rows: Iterable[Dialogue | Task], outbox: Outbox) -> None:
    scratch = outbox.folder / ".picture"
    with RunWriter(outbox.folder) as writer:

        def put(picture: Picture) -> ImageRef:
            return writer.images.put(read(picture, scratch))

        seen: set[str] = set()
        for row in rows:
            with outbox.row(row.where):
                if isinstance(row, Task):
                    raise Unfit("a question among conversations")
                trajectory = to_trajectory(row, put)
                writer.write(trajectory.model_copy(update={"id": _free(trajectory.id, row.where, seen)}))
    scratch.unlink(missing_ok=True)


def _write_questions(rows: Iterable[Dialogue | Task], outbox: Outbox) -> None:
    scratch = outbox.folder / ".picture"
    seen: set[str] = set()
    with (outbox.folder / QUESTIONS).open("w", encoding="utf-8") as file:
        for row in rows:
            with outbox.row(row.where):
                if not isinstance(row, Task):
                    raise Unfit("a conversation among questions")
                pictures = [portable(picture, scratch) for picture in row.pictures]
                names = [f"{PICTURES}/{write_by_content(outbox.folder / PICTURES, content)}" for content in pictures]
                question = QuestionRow(
                    id=_free(row.id, row.where, seen),
                    text=row.text,
                    images=tuple(names),
                    gold=row.gold,
                    family=row.family,
                    meta=row.meta,
                )
                file.write(question.model_dump_json() + "\n")
    scratch.unlink(missing_ok=True)


def _free(name: str, where: Where, seen: set[str]) -> str:
    """The name; or, if a row before has it, the name with the place of this one.

    Files in different folders may have the same name, and so their rows the same place: these are numbered.
    """
    number, chosen = 1, name
    while chosen in seen:
        chosen = f"{name}#{where.name}" if number == 1 else f"{name}#{where.name}.{number}"
        number += 1
    seen.add(chosen)
    return chosen
