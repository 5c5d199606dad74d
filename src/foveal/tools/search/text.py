"""Offline text search: an index over documents in one SQLite file."""

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from foveal.tools.search import postings
from foveal.tools.search.database import check_database, create_database, reading, storable, writing
from foveal.tools.search.words import is_prefix, query_terms, spans
from foveal.trajectory import SearchHit

FILE = "text.db"
"""Name of the text index in an index folder."""

WHOLE = 300
"""A document of at most this many characters is its own snippet."""

SNIPPET_WORDS, LEAD_WORDS = 48, 8
"""Length of the passage taken from a longer document, about 300 characters of English, and how much of it stands before
the first word that was looked for."""

LOOKED_THROUGH = 200_000
"""Characters of a document in which its best passage is looked for."""

TOGETHER = 20_000
"""Documents that are removed at a time: one file may hold a million."""

SCHEMA = f"""
create table documents(id integer primary key, title text, body text, link text, date text, source text, origin text);
create index origins on documents(origin);
{postings.SCHEMA}
"""


class Document(NamedTuple):
    """One document to find."""

    title: str
    text: str
    link: str | None = None
    date: str | None = None
    source: str | None = None
    """Where it comes from, as shown with the hit."""
    origin: str | None = None
    """The file that it was read from; all documents of one origin can be removed together."""


class TextIndex:
    """A text index in a folder. Any number of searches may be under way; they take turns off the event loop."""

    name = "offline text index"

    def __init__(self, path: Path):
        self._path = path
        # At the same time they would only wait for one another's hold of the interpreter, each at every step.
        self._turn = threading.Lock()

    @classmethod
    def create(cls, folder: Path) -> "TextIndex":
        """Make an empty index in a folder, which is made too if need be.

        Raises:
            InputError: The folder holds a text index already, or cannot be written.
        """
        create_database(folder / FILE, "text", SCHEMA)
        return cls(folder / FILE)

    @classmethod
    def open(cls, folder: Path) -> "TextIndex":
        """Open the index of a folder.

        Raises:
            InputError: The folder holds none, or one of another version.
            SearchError: The file is damaged.
        """
        check_database(folder / FILE, "text")
        return cls(folder / FILE)

    def __len__(self) -> int:
        """Number of documents."""
        with reading(self._path) as connection:
            return int(connection.execute("select documents from totals").fetchone()[0])

    def origins(self) -> set[str]:
        """The files that documents were read from."""
        with reading(self._path) as connection:
            return {origin for (origin,) in connection.execute("select distinct origin from documents")}

    def add(self, documents: Iterable[Document]) -> int:
        """Add documents to those that are there: all of them, or none if the iterable or SQLite raises.

        Returns:
            How many were added.

        Raises:
            SearchError: The index cannot be written.
        """
        added = 0

        def inserted(connection: sqlite3.Connection) -> Iterator[postings.Text]:
            nonlocal added
            for document in documents:
                values = [value and storable(value) for value in document]
                row = connection.execute(
                    "insert into documents(title, body, link, date, source, origin) values (?, ?, ?, ?, ?, ?)", values
                ).lastrowid
                added += 1
                yield postings.Text(int(row or 0), str(values[0]), str(values[1]))

        with writing(self._path) as connection:
            postings.write_postings(connection, inserted(connection))
        return added

    def remove(self, origins: Iterable[str]) -> None:
        """Remove all documents of some origins; an origin that has none is no error.

        Raises:
            SearchError: The index cannot be written.
        """
        with writing(self._path) as connection:
            for origin in origins:
                some = (storable(origin), TOGETHER)
                while held := connection.execute(
                    "select id, title, body from documents where origin = ? limit ?", some
                ).fetchall():
                    postings.delete_postings(connection, (postings.Text(*row) for row in held))
                    connection.executemany("delete from documents where id = ?", ((row,) for row, _, _ in held))

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """The best `k` documents: first those with all words of the query, then those with some.

        Any text is a query: quotes and operators have no meaning, and a query without words finds nothing.
        A hit's score is its BM25, higher is better.

        Raises:
            SearchError: The index is damaged or gone.
        """
        return await asyncio.to_thread(self._search, query, k)

    def _search(self, query: str, k: int) -> list[SearchHit]:
        wanted = query_terms(query)
        with self._turn, reading(self._path) as connection:
            best = postings.ranked(connection, wanted, k)
            return [shown_hit(connection, wanted, row, score) for row, score in best.items()]


def shown_hit(connection: sqlite3.Connection, wanted: Sequence[str], row: int, score: float) -> SearchHit:
    """A document as a hit: whole if it is short, else the passage with most of the wanted terms, or its beginning."""
    title, body, link, date, source = connection.execute(
        "select title, body, link, date, source from documents where id = ?", (row,)
    ).fetchone()
    snippet = " ".join(body.split())
    if len(snippet) > WHOLE:
        snippet = passage(snippet, wanted)
    return SearchHit(
        title=" ".join(title.split()),
        link=link,
        snippet=snippet or None,
        date=date,
        source=source,
        score=round(score, 6),
    )


def passage(text: str, wanted: Sequence[str]) -> str:
    """The passage of a long text that holds the most of the wanted terms, each counted once; the first of several.

    Without any, its beginning; and no more than `LOOKED_THROUGH` characters of it are looked through.
    """
    lone = {term for term in wanted if is_prefix(term)}
    words = list(spans(text[:LOOKED_THROUGH]))
    found = [(n, word.term) for n, word in enumerate(words) if word.term in wanted or word.term[0] in lone]
    if not found:
        return f"{text[:WHOLE]} …"
    first, most, end = 0, 0, 0
    held: Counter[str] = Counter()
    for begin, (number, term) in enumerate(found):
        while end < len(found) and found[end][0] < number + SNIPPET_WORDS - LEAD_WORDS:
            held[found[end][1]] += 1
            end += 1
        if len(held) > most:
            first, most = found[begin][0], len(held)
        held[term] -= 1
        held += Counter()  # without those that are not held any more
    first = max(0, min(first - LEAD_WORDS, len(words) - SNIPPET_WORDS))
    last = min(first + SNIPPET_WORDS, len(words)) - 1
    shown = text[words[first].start : words[last].end][: 2 * WHOLE]
    return f"{'… ' if first else ''}{shown}{' …' if last + 1 < len(words) else ''}"
