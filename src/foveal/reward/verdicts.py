"""Verdicts of a judge, kept in SQLite: a question that was judged once is never asked again."""

import hashlib
import json
import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from foveal.errors import InputError

LOCK_SECONDS = 30.0

log = logging.getLogger(__name__)


def verdict_key(model: str, prompt: object) -> str:
    """SHA-256 of the judge's model and the whole prompt: another wording or another model is another question."""
    return hashlib.sha256(json.dumps([model, prompt], ensure_ascii=False).encode("utf-8", "replace")).hexdigest()


class Verdicts:
    """A file of verdicts, or a memory of them. Any thread and any number of processes may use a file at once.

    Args:
        path: The file, made if it is not there; None keeps verdicts in memory.

    Raises:
        InputError: The file is something else, or cannot be written.
    """

    def __init__(self, path: Path | None = None):
        self._path = path
        self._memory: dict[str, bool] = {}
        self._lock = threading.Lock()
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._open() as connection:
                connection.execute(
                    "create table if not exists verdicts"
                    " (key text primary key, model text not null, correct integer not null, reply text not null)"
                )
                connection.execute("select key, model, correct, reply from verdicts limit 1")
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"{path} cannot keep verdicts: {error}", "name another file, or delete this one to judge anew"
            ) from error

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        assert self._path is not None
        with self._lock, closing(sqlite3.connect(self._path, timeout=LOCK_SECONDS)) as connection, connection:
            yield connection

    def get(self, key: str) -> bool | None:
        """The verdict, or None if there is none yet."""
        if key in self._memory or self._path is None:
            return self._memory.get(key)
        try:
            with self._open() as connection:
                row = connection.execute("select correct from verdicts where key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            log.warning("%s cannot be read: %s; the judge is asked again", self._path, error)
            return None
        return None if row is None else bool(row[0])

    def put(self, key: str, model: str, correct: bool, reply: str) -> None:
        """Keep a verdict, with the judge's own words for those who want to check it."""
        self._memory[key] = correct
        if self._path is None:
            return
        try:
            with self._open() as connection:
                text = reply.replace("\0", " ").encode("utf-8", "replace").decode()
                row = (key, model, int(correct), text)
                connection.execute("insert or replace into verdicts values (?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            log.warning("%s cannot be written: %s; this verdict is kept in memory only", self._path, error)
