"""Attempts that fail whenever they are made are given up, so that a step comes to an end.

<run>/failures.jsonl   in how many sessions an attempt failed, and with what; without it all are made again
"""

from pathlib import Path

from pydantic import ValidationError

from foveal.asking import Progress
from foveal.errors import RecordError
from foveal.files import write_whole
from foveal.trajectory import Record

FAILURES = "failures.jsonl"
SESSIONS = 3
"""An attempt that failed in so many sessions is not made again."""


class Failure(Record):
    """An attempt that failed."""

    id: str
    """Of the trajectory that it would have been."""
    sessions: int
    """In how many it failed; in each it was made several times."""
    why: str
    """The last time."""


def given_up(run: Path) -> set[str]:
    """The attempts that are not made again.

    Raises:
        RecordError: What was written of them cannot be read.
    """
    return {name for name, one in _read(run / FAILURES).items() if one.sessions >= SESSIONS}


def note_failures(run: Path, progress: Progress) -> None:
    """Write down what failed in a session, and tell in its progress what is given up now.

    A failure counts only if it is that of the attempt: something else was answered in the session, or it has counted
    before; and the endpoint was not down in the end.

    Raises:
        RecordError: What was written of earlier sessions cannot be read.
        InputError: It cannot be written.
    """
    known = _read(run / FAILURES)
    counted = [name for name in progress.reasons if not progress.down and (progress.made or name in known)]
    for name in counted:
        before = known[name].sessions if name in known else 0
        known[name] = Failure(id=name, sessions=before + 1, why=progress.reasons[name])
    if counted:
        write_whole(run / FAILURES, "".join(f"{known[name].model_dump_json()}\n" for name in sorted(known)))
    progress.given_up = sum(known[name].sessions >= SESSIONS for name in counted)
    progress.failed -= progress.given_up
    if not progress.failed:
        progress.error = None


def _read(file: Path) -> dict[str, Failure]:
    if not file.is_file():
        return {}
    try:
        found = [Failure.model_validate_json(line) for line in file.read_bytes().splitlines()]
    except (OSError, ValidationError) as error:
        raise RecordError(f"{file} cannot be read: {error}", "remove it: what failed is then made again") from error
    return {one.id: one for one in found}
