"""Answers of live search kept in one SQLite file, so that a run can be repeated to the letter (`replay` does so).

The key of an answer is what was asked: tool, provider, query (or the hash of the picture's pixels), number of hits and
the options that go with every request. Keys of providers, addresses and limits are not part of it and are never kept.
Hits are kept as they were normalised, thumbnails with all their pixels. A refusal that the model gets to read (a
page that is not there, a query that is too long) is an answer, too; failures of the provider are not kept.

Any number of threads and processes may use one file. Whoever is about to ask for an answer leaves a claim, so that
others can wait for it instead of asking too; the claim of a process that died ends after `CLAIM_SECONDS`.
"""

import fcntl
import hashlib
import json
import logging
import os
import sqlite3
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from foveal.errors import InputError, SearchError
from foveal.tools.search.database import storable
from foveal.trajectory import SearchHit

VERSION = 1
"""Of the keys and the file. Another one is refused."""
MARK = 0x666F7672
"""SQLite `application_id` of the file: 'fovr'."""
LOCK_SECONDS = 30.0
CLAIM_SECONDS = 180.0
"""How long one search may take until others stop waiting for its answer."""

_SCHEMA = f"""
begin immediate;
create table if not exists answers(key text primary key, request text, hits text, fetched_at text);
create table if not exists pictures(sha256 text primary key, png blob);
create table if not exists claims(key text primary key, owner text, until real);
pragma application_id = {MARK}; pragma user_version = {VERSION};
commit
"""

log = logging.getLogger(__name__)


class _Refusal(BaseModel):
    refused: str


_KEPT = TypeAdapter[tuple[SearchHit, ...] | _Refusal](tuple[SearchHit, ...] | _Refusal)
"""What the column `hits` holds, as JSON."""


class Request(NamedTuple):
    """What was asked, as it is kept."""

    tool: str
    provider: str
    sought: str
    """The query, or the SHA-256 of the picture's pixels."""
    k: int
    options: Mapping[str, JsonValue]

    @property
    def fields(self) -> dict[str, JsonValue]:
        """As JSON; queries that look the same are the same, addresses are not."""
        sought = storable(self.sought)
        if self.tool != "visit":
            sought = " ".join(unicodedata.normalize("NFKC", sought).split())
        return {**self._asdict(), "sought": sought, "options": dict(self.options), "version": VERSION}

    @property
    def key(self) -> str:
        """SHA-256 of the fields."""
        text = json.dumps(self.fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class Answer(NamedTuple):
    """What came back, with the pictures that the hits name, as PNG files by the hash of their pixels."""

    hits: tuple[SearchHit, ...]
    pictures: Mapping[str, bytes]
    refused: str | None = None
    """Why what was asked for cannot be had; there are no hits then."""


class Answers:
    """A file of answers.

    Args:
        path: The file, made if it is not there, unless it is only read.
        read_only: Never write to it.

    Raises:
        InputError: It is missing and only read, something else, of another version, or cannot be used.
    """

    def __init__(self, path: Path, read_only: bool = False):
        self._path = path
        self._read_only = read_only
        try:
            if read_only and not path.is_file():
                raise InputError(f"there are no recorded answers in {path}", "record some first: mode replay_or_record")
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._make()
            with self._open() as connection:
                found = tuple(
                    connection.execute(f"pragma {name}").fetchone()[0] for name in ("application_id", "user_version")
                )
            if found != (MARK, VERSION):
                raise InputError(f"{path} holds no recorded answers of this foveal", "name another file as cache")
        except (OSError, sqlite3.Error) as error:
            raise InputError(f"{path} cannot keep answers: {error}", "name another file as cache") from error

    def __len__(self) -> int:
        """Number of answers."""
        with self._open() as connection:
            return int(connection.execute("select count(*) from answers").fetchone()[0])

    def get(self, key: str) -> Answer | None:
        """An answer, or None if there is none.

        Raises:
            SearchError: The file is damaged.
        """
        try:
            with self._open() as connection:
                row = connection.execute("select hits from answers where key = ?", (key,)).fetchone()
                if row is None:
                    return None
                hits = _KEPT.validate_json(row[0])
                if isinstance(hits, _Refusal):
                    return Answer((), {}, hits.refused)
                names = sorted({hit.thumbnail.sha256 for hit in hits if hit.thumbnail is not None})
                marks = ",".join("?" * len(names))
                stored = dict(connection.execute(f"select sha256, png from pictures where sha256 in ({marks})", names))
        except (sqlite3.Error, ValidationError) as error:
            raise self._damaged(type(error).__name__) from error
        if missing := set(names) - set(stored):
            raise self._damaged(f"picture {min(missing)[:12]}… is missing")
        return Answer(hits, stored)

    def put(self, request: Request, answer: Answer, fetched_at: str | None = None) -> None:
        """Keep an answer, in place of an earlier one to the same request.

        Args:
            request: What was asked.
            answer: What came back.
            fetched_at: UTC time, ISO 8601; now by default.

        Raises:
            SearchError: The file cannot be written.
        """
        self.put_all([(request, answer, fetched_at or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")])

    def put_all(self, rows: Iterable[tuple[Request, Answer, str]]) -> None:
        """Keep many answers with their times: all or, if the iterable or SQLite raises, none.

        Raises:
            SearchError: The file cannot be written.
        """
        try:
            with self._open() as connection:
                for request, answer, fetched_at in rows:
                    connection.executemany("insert or ignore into pictures values (?, ?)", answer.pictures.items())
                    fields = json.dumps(request.fields, sort_keys=True, ensure_ascii=False)
                    kept = answer.hits if answer.refused is None else _Refusal(refused=answer.refused)
                    row = (request.key, fields, _KEPT.dump_json(kept).decode(), fetched_at)
                    connection.execute("insert or replace into answers values (?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise SearchError(f"{self._path} cannot keep an answer: {error}", "free some space") from error

    def rows(self) -> Iterator[tuple[dict[str, JsonValue], Answer, str]]:
        """Every answer with the fields of its request and its time, in the order of their keys.

        Raises:
            SearchError: The file is damaged.
        """
        with self._open() as connection:
            kept = connection.execute("select key, request, fetched_at from answers order by key").fetchall()
        for key, request, fetched_at in kept:
            answer = self.get(key)
            if answer is not None:
                yield json.loads(request), answer, fetched_at

    def claim(self, key: str, owner: str) -> bool:
        """Whether `owner` may ask for this answer. Others may not for `CLAIM_SECONDS`; nobody may if it is there.

        Raises:
            SearchError: The file cannot be written.
        """
        now = time.time()
        try:
            with self._open() as connection:
                taken = connection.execute(
                    "insert into claims select ?, ?, ? where not exists (select 1 from answers where key = ?)"
                    " on conflict(key) do update set owner = excluded.owner, until = excluded.until where until < ?",
                    (key, owner, now + CLAIM_SECONDS, key, now),
                )
                return taken.rowcount == 1
        except sqlite3.Error as error:
            raise SearchError(f"{self._path} cannot be written: {error}", "free some space") from error

    def release(self, key: str, owner: str) -> None:
        """Give a claim back."""
        try:
            with self._open() as connection:
                connection.execute("delete from claims where key = ? and owner = ?", (key, owner))
        except sqlite3.Error as error:
            log.warning("%s cannot be written: %s; a claim stays for %.0f s", self._path, error, CLAIM_SECONDS)

    def _make(self) -> None:
        """Make the file if it is not there or empty.

        One at a time: a change to WAL does not wait for others as SQLite's transactions do. The lock is on the folder,
        because to close a handle of the file itself would end the locks that SQLite holds on it.
        """
        folder = os.open(self._path.absolute().parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            with self._open() as connection:
                if not connection.execute("select count(*) from sqlite_master").fetchone()[0]:
                    connection.execute("pragma journal_mode = wal")
                    connection.executescript(_SCHEMA)
        finally:
            os.close(folder)  # ends the lock

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        mode = "ro" if self._read_only else "rwc"
        address = f"{self._path.absolute().as_uri()}?mode={mode}"
        if self._read_only and not os.access(self._path.absolute().parent, os.W_OK):
            address += "&immutable=1"  # else SQLite would want to put a file beside it
        with closing(sqlite3.connect(address, uri=True, timeout=LOCK_SECONDS)) as connection, connection:
            yield connection

    def _damaged(self, why: str) -> SearchError:
        return SearchError(f"the recorded answers in {self._path} are damaged: {why}", "restore the file")
