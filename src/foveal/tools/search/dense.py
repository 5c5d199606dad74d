"""Search by meaning beside search by words: vectors of the documents of a text index, fused by reciprocal rank.

Vectors are kept in the file of the text index. They go with their documents; documents that are added later have none
until `embed_index` is called again. All vectors are held in memory and compared with the query one by one, which is
exact and quick to a million documents.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from foveal.errors import InputError
from foveal.tools.search.database import reading, writing
from foveal.tools.search.embedding import Array, Embedder
from foveal.tools.search.text import FILE, TextIndex, shown_hit, shown_text, terms
from foveal.trajectory import SearchHit

DEPTH = 50
"""Documents of each list that are fused."""
RANK = 60
"""Reciprocal rank fusion: a document counts 1 / (RANK + place) in each list, places from 1."""
TOGETHER = 512
"""Documents that are embedded between two commits: a run that is killed loses no more."""

SCHEMA = """
create table if not exists vectors(id integer primary key, vector blob);
create table if not exists embedder(name text);
create trigger if not exists forgotten after delete on documents begin delete from vectors where id = old.id; end
"""


def embed_index(folder: Path, embedder: Embedder, progress: Callable[[int], None] = lambda done: None) -> int:
    """Give every document of an index folder that has none a vector. Vectors of another model are replaced.

    Args:
        folder: An index folder.
        embedder: The model.
        progress: Told how many are done.

    Returns:
        How many were embedded.

    Raises:
        InputError: The folder holds no text index.
        SearchError: The index cannot be written.
    """
    TextIndex.open(folder)
    path = folder / FILE
    with writing(path) as connection:
        for statement in SCHEMA.strip().split(";\n"):
            connection.execute(statement)
        if connection.execute("select name from embedder").fetchall() != [(embedder.name,)]:
            connection.execute("delete from vectors")
            connection.execute("delete from embedder")
            connection.execute("insert into embedder values (?)", (embedder.name,))
    done = 0
    while True:
        with writing(path) as connection:
            rows = connection.execute(
                "select rowid, title, body from words where rowid in"
                " (select id from documents where id not in (select id from vectors) order by id limit ?)",
                (TOGETHER,),
            ).fetchall()
            if not rows:
                return done
            vectors = embedder.embed([f"{shown_text(title)}. {shown_text(body)}" for _, title, body in rows])
            kept = ((row[0], vector.astype("<f2").tobytes()) for row, vector in zip(rows, vectors, strict=True))
            connection.executemany("insert or replace into vectors values (?, ?)", kept)
        done += len(rows)
        progress(done)


class DenseText:
    """Text search by words and by meaning.

    Args:
        folder: An index folder whose documents have vectors.
        embedder: The model that made them.
        words: False to search by meaning alone.

    Raises:
        InputError: There are no vectors, they are of another model, or some documents have none.
        SearchError: The index is damaged.
    """

    def __init__(self, folder: Path, embedder: Embedder, words: bool = True):
        self.name = f"offline text index with {embedder.name}"
        self._path, self._embedder, self._words = folder / FILE, embedder, words
        TextIndex.open(folder)
        fix = f"embed them with: foveal index embed {folder} MODEL"
        with reading(self._path) as connection:
            if not connection.execute("select 1 from sqlite_master where name = 'embedder'").fetchone():
                raise InputError(f"the documents of {folder} have no vectors", fix)
            of = connection.execute("select name from embedder").fetchall()
            rows = connection.execute("select id, vector from vectors order by id").fetchall()
            lacking = connection.execute(
                "select count(*) from documents where id not in (select id from vectors)"
            ).fetchone()[0]
        if of != [(embedder.name,)]:
            raise InputError(f"the vectors of {folder} are of another model: {of[0][0]}, not {embedder.name}", fix)
        if lacking:
            raise InputError(f"{lacking} documents of {folder} have no vectors", fix)
        self._ids = [int(row) for row, _ in rows]
        flat = np.frombuffer(b"".join(vector for _, vector in rows), dtype="<f2")
        self._vectors: Array = flat.reshape(-1, embedder.size).astype(np.float32)

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """The best `k` documents; a hit's score is the sum of its reciprocal ranks.

        Raises:
            SearchError: The index is damaged or gone.
        """
        return await asyncio.to_thread(self._search, query, k)

    def _search(self, query: str, k: int) -> list[SearchHit]:
        if not query.strip() or k < 1:
            return []
        with reading(self._path) as connection:
            lists: list[Iterable[int]] = [self._by_meaning(query)]
            if self._words:
                lists.append(TextIndex.ranked(connection, terms(query), DEPTH))
            best = sorted(fused(lists).items(), key=lambda item: (-item[1], item[0]))[:k]
            return [
                shown_hit(connection, terms(query), row, score)
                for row, score in best
                if self._is_there(connection, row)
            ]

    def _by_meaning(self, query: str) -> list[int]:
        near = self._vectors @ self._embedder.embed([query])[0]
        best = np.argsort(-near, kind="stable")[:DEPTH]
        return [self._ids[place] for place in best]

    def _is_there(self, connection: sqlite3.Connection, row: int) -> bool:
        """A document may have gone since the vectors were read."""
        return connection.execute("select 1 from documents where id = ?", (row,)).fetchone() is not None


def fused(lists: Iterable[Iterable[int]]) -> dict[int, float]:
    """The sum of the reciprocal ranks of each number over all lists."""
    scores: dict[int, float] = {}
    for ranked in lists:
        for place, row in enumerate(ranked, 1):
            scores[row] = scores.get(row, 0.0) + 1 / (RANK + place)
    return scores
