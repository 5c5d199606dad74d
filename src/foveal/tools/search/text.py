"""Offline text search: an index over documents in one SQLite FTS5 file."""

import asyncio
import re
import sqlite3
import unicodedata
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from foveal.errors import MissingDependency
from foveal.tools.search.database import check_database, create_database, reading, storable, writing
from foveal.trajectory import SearchHit

FILE = "text.db"
"""Name of the text index in an index folder."""

WHOLE = 300
"""A document of at most this many characters is its own snippet."""

SNIPPET_TOKENS = 48
"""Length of the passage taken from a longer document, about 300 characters of English."""

TITLE_WEIGHT = 4.0
"""How much a word in the title counts beside one in the text."""

MAX_QUERY, MAX_TERMS = 10_000, 32
"""Characters and terms of a query that are looked at; the rest cannot slow a search down."""

MAX_RANKED = 10_000
"""Documents with some words of a query that are ranked. FTS5 ranks about a million a second, and counts twenty times as
many, so a word that most documents have would cost a second in a large index, and tell next to nothing."""

SCHEMA = """
create virtual table words using fts5(title, body, tokenize = 'porter unicode61 remove_diacritics 2');
create table documents(id integer primary key, link text, date text, source text, origin text);
create index origins on documents(origin)
"""

# FTS5 splits words at spaces. Chinese and Japanese have none, and Korean glues particles to its words, so each of their
# characters is indexed together with the next one, and a query asks for such pairs: one look-up each. SQLite's trigrams
# would find no word of two characters, and most are of two; phrases of single characters take a hundred times as long.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_BREAK = "\u200b"


# Words that say nothing about the subject: Lucene's English list and those that make a question. Left in, "the" and
# "of" in a title outweigh the name that was asked for.
_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with can did do does from had has have how its were what when where which who whom whose why"
)
_STOP = frozenset(_STOP_WORDS.split())


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
    """A text index in a folder. Searches run in threads, any number at a time."""

    name = "offline text index"

    def __init__(self, path: Path):
        self._path = path

    @classmethod
    def create(cls, folder: Path) -> "TextIndex":
        """Make an empty index in a folder, which is made too if need be.

        Raises:
            InputError: The folder holds a text index already, or cannot be written.
            MissingDependency: This Python's SQLite has no FTS5.
        """
        with closing(sqlite3.connect(":memory:")) as probe:
            require_fts5(probe)
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
            return int(connection.execute("select count(*) from documents").fetchone()[0])

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
        with writing(self._path) as connection:
            for document in documents:
                row = connection.execute(
                    "insert into documents(link, date, source, origin) values (?, ?, ?, ?)",
                    [value and storable(value) for value in document[2:]],
                ).lastrowid
                words = (_separated(document.title), _separated(document.text))
                connection.execute("insert into words(rowid, title, body) values (?, ?, ?)", (row, *words))
                added += 1
        return added

    def remove(self, origins: Iterable[str]) -> None:
        """Remove all documents of some origins; an origin that has none is no error.

        Raises:
            SearchError: The index cannot be written.
        """
        with writing(self._path) as connection:
            for origin in origins:
                key = (storable(origin),)
                connection.execute("delete from words where rowid in (select id from documents where origin = ?)", key)
                connection.execute("delete from documents where origin = ?", key)

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """The best `k` documents: first those with all words of the query, then those with some.

        Words that very many documents have (`MAX_RANKED`) do not count as some.

        Any text is a query: quotes and operators have no meaning, and a query without words finds nothing.
        A hit's score is its BM25, higher is better.

        Raises:
            SearchError: The index is damaged or gone.
        """
        return await asyncio.to_thread(self._search, query, k)

    def _search(self, query: str, k: int) -> list[SearchHit]:
        found = terms(query)
        if not found or k < 1:
            return []
        with reading(self._path) as connection:
            ranked = self.ranked(connection, found, k)
            return [shown_hit(connection, found, row, score) for row, score in ranked.items()]

    @staticmethod
    def ranked(connection: sqlite3.Connection, found: list[str], k: int) -> dict[int, float]:
        """The rows of the best `k` documents for some `terms`, best first, with their scores."""
        if not found:
            return {}
        ranked = _ranked(connection, " AND ".join(found), k)
        if len(ranked) < k and len(found) > 1:
            # Rows with all the words score alike in both, so this only adds rows behind them.
            some = _ranked(connection, " OR ".join(_rarest(connection, found)), 2 * k)
            ranked |= {row: score for row, score in some.items() if row not in ranked}
        return dict(list(ranked.items())[:k])


def require_fts5(connection: sqlite3.Connection) -> None:
    """Check that SQLite was built with full-text search.

    Raises:
        MissingDependency: It was not.
    """
    try:
        connection.execute("create virtual table temp.probe using fts5(word)")
    except sqlite3.OperationalError as error:
        raise MissingDependency(
            f"this Python's SQLite {sqlite3.sqlite_version} has no full-text search (FTS5): {error}",
            "use a Python from python.org, conda, uv or your distribution, whose SQLite has it",
        ) from error


def terms(query: str) -> list[str]:
    """The words of a query as FTS5 expressions, quoted, so that nothing is taken for an operator; each once, in order.

    Stop words are left out unless there is nothing else.
    """
    # A lone combining mark is no word; within one it must stay, or the words of many Indian scripts fall apart.
    plain = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in query[:MAX_QUERY])
    found: dict[str, bool] = {}
    for run in re.findall(f"[{_CJK}]+|[^{_CJK}\\s]+", plain):
        if re.match(f"[{_CJK}]", run):
            found |= dict.fromkeys((_pair(run[i : i + 2]) for i in range(max(1, len(run) - 1))), False)
        elif any(c.isalnum() for c in run):
            found[f'"{storable(run.lower())}"'] = run.lower() in _STOP
    telling = [term for term, stop in found.items() if not stop]
    return (telling or list(found))[:MAX_TERMS]


def _rarest(connection: sqlite3.Connection, found: list[str]) -> list[str]:
    """The terms without the most frequent ones, so that no more than `MAX_RANKED` rows hold one; at least one term."""
    sql = f"select count(*) from (select 1 from words where words match ? limit {MAX_RANKED + 1})"
    counts = {term: connection.execute(sql, (term,)).fetchone()[0] for term in found}
    rows, kept = 0, set[str]()
    for term in sorted(found, key=counts.__getitem__):
        rows += counts[term]
        if kept and rows > MAX_RANKED:
            break
        kept.add(term)
    return [term for term in found if term in kept]


def _ranked(connection: sqlite3.Connection, match: str, limit: int) -> dict[int, float]:
    """Rows that match, best first, ties in the order in which they were added, with their scores."""
    rows = connection.execute(
        f"select rowid, bm25(words, {TITLE_WEIGHT}, 1.0) as worse from words where words match ?"
        " order by worse, rowid limit ?",
        (match, limit),
    )
    return {row: -worse for row, worse in rows}


def shown_hit(connection: sqlite3.Connection, found: list[str], row: int, score: float) -> SearchHit:
    """A document as a hit: whole if it is short, else the passage with most of the `terms`, or its beginning."""
    title, body, length, link, date, source = connection.execute(
        "select title, substr(body, 1, ?), length(body), link, date, source"
        " from words join documents on id = words.rowid where words.rowid = ?",
        (3 * WHOLE, row),  # a character takes up to three where it is kept with the next one
    ).fetchone()
    snippet = shown_text(body)
    if length > 3 * WHOLE or len(snippet) > WHOLE:
        sql = f"select snippet(words, 1, '', '', ' … ', {SNIPPET_TOKENS}) from words where words match ? and rowid = ?"
        passage = connection.execute(sql, (" OR ".join(found), row)).fetchone() if found else None
        snippet = shown_text(passage[0]) if passage else f"{snippet[:WHOLE]} …"
    return SearchHit(
        title=shown_text(title), link=link, snippet=snippet or None, date=date, source=source, score=round(score, 6)
    )


def _pair(piece: str) -> str:
    """What finds a pair of characters, or one character wherever it stands."""
    if len(piece) == 1:
        return f'"{piece}" *'
    # The second form finds it in indexes of the first days, where each character is a word of its own.
    return f'("{piece}" OR "{piece[0]}{_BREAK}{piece[1]}")'


def _separated(text: str) -> str:
    """Text as it is indexed: each Chinese, Japanese or Korean character together with the next one, set apart."""

    def paired(run: re.Match[str]) -> str:
        parts = re.findall(f"([{_CJK}])([^{_CJK}]*)", run[0])
        followers = [*(character for character, _ in parts[1:]), ""]
        pairs = zip(parts, followers, strict=True)
        return _BREAK + "".join(f"{first}{second}{_BREAK}{gap}" for (first, gap), second in pairs)

    # White space does not part them: lines end anywhere.
    return re.sub(f"[{_CJK}](?:[\\s{_BREAK}]*[{_CJK}])*", paired, storable(text))


def shown_text(text: str) -> str:
    """Indexed text as a reader sees it, on one line."""
    return " ".join(re.sub(f"([{_CJK}])[{_CJK}]?{_BREAK}", r"\1", text).replace(_BREAK, "").split())
