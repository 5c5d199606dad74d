"""The SQLite files of an index folder: version stamp, reading from any thread, clear errors."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from foveal.errors import InputError, SearchError

INDEX_VERSION = 1
"""Version of an index folder. Another one is refused, never converted in silence."""

VERSIONS = {"text": 2, "picture": 2}
"""Version of each kind of index file: pictures have another descriptor since 2, texts lists of words of our own."""

MARKS = {"text": 0x666F7674, "picture": 0x666F7669}
"""SQLite `application_id` of each kind of index file: 'fovt' and 'fovi'."""

Kind = Literal["text", "picture"]

LOCK_SECONDS = 30.0
"""How long a reader waits for a writer to commit, and a writer for another writer."""


def create_database(path: Path, kind: Kind, schema: str) -> None:
    """Make an empty index file, whole or not at all.

    Raises:
        InputError: There is one already, or the folder cannot be written.
        SearchError: SQLite failed.
    """
    if path.exists():
        raise InputError(f"{path} exists already", "open it to add to it, or delete the index folder to start anew")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"index folder {path.parent} cannot be made: {error}", "choose another folder") from error
    with _errors(path), closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as connection:
        stamp = f"pragma application_id = {MARKS[kind]}; pragma user_version = {VERSIONS[kind]};"
        connection.executescript(f"begin; {schema}; {stamp} commit")


def check_database(path: Path, kind: Kind) -> None:
    """Check that a file is an index file of this kind and version.

    Raises:
        InputError: It is missing, something else, or of another version.
        SearchError: It is damaged.
    """
    if not path.is_file():
        raise InputError(f"{path.parent} holds no {kind} index", "build one with: foveal index build DIR")
    if path.with_name(f"{path.name}-journal").exists():
        with writing(path) as connection:  # a writer was killed: only who may write can undo what it left
            connection.execute("select 1 from sqlite_master")
    with reading(path) as connection:
        mark = connection.execute("pragma application_id").fetchone()[0]
        version = connection.execute("pragma user_version").fetchone()[0]
    if mark != MARKS[kind]:
        raise InputError(f"{path} is not a {kind} index of foveal", "build one with: foveal index build DIR")
    if version != VERSIONS[kind]:
        raise InputError(
            f"{path} is of index version {version}; this foveal reads version {VERSIONS[kind]}",
            "delete it and make it again, with the command that made it: foveal index build, bench-data or micro world",
        )


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection of its own, so that any number of threads can read at once.

    Opening costs a fraction of a millisecond and leaves nothing to close when a run ends.

    Raises:
        SearchError: The file is missing, damaged or locked.
    """
    with _errors(path), closing(_connect(path, "ro")) as connection:
        connection.execute("begin")  # all that is read is of one moment, whatever a writer does meanwhile
        yield connection


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection whose changes are committed together at the end, or not at all.

    Raises:
        SearchError: The file is missing, damaged, locked or cannot be written.
    """
    with _errors(path), closing(_connect(path, "rw")) as connection, connection:
        yield connection


def storable(text: str) -> str:
    """Text that SQLite can hold: a NUL becomes a space, half of a surrogate pair a question mark."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=LOCK_SECONDS)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise SearchError(f"index file {path} is locked by another process", "wait for its build to end") from error
        raise SearchError(
            f"index file {path} cannot be used: {error}",
            "delete the index folder and build it again with: foveal index build DIR",
        ) from error
