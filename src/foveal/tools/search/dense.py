"""Search by meaning beside search by words: vectors of the documents of a text index, fused by reciprocal rank.

Vectors are kept in the file of the text index (`search.vectors`).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from foveal.tools.search.database import reading
from foveal.tools.search.embedding import Embedder
from foveal.tools.search.postings import ranked
from foveal.tools.search.text import FILE, TextIndex, shown_hit
from foveal.tools.search.vectors import Array, read_vectors, store_vectors
from foveal.tools.search.words import query_terms
from foveal.trajectory import SearchHit

DEPTH = 50
"""Documents of each list that are fused."""
RANK = 60
"""Reciprocal rank fusion: a document counts 1 / (RANK + place) in each list, places from 1."""
TOGETHER = 512
"""Documents that are embedded between two commits: a run that is killed loses no more."""


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

    def embed(connection: sqlite3.Connection, ids: Sequence[int]) -> Array:
        words = "select title, body from documents where id = ?"
        rows = (connection.execute(words, (row,)).fetchone() for row in ids)
        return embedder.embed([" ".join(f"{title}. {body}".split()) for title, body in rows])

    return store_vectors(folder / FILE, "documents", embedder, embed, TOGETHER, progress)


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
        self._vectors = read_vectors(self._path, "documents", embedder, fix)

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """The best `k` documents; a hit's score is the sum of its reciprocal ranks.

        Raises:
            SearchError: The index is damaged or gone.
        """
        return await asyncio.to_thread(self._search, query, k)

    def _search(self, query: str, k: int) -> list[SearchHit]:
        if not query.strip() or k < 1:
            return []
        wanted = query_terms(query)
        with reading(self._path) as connection:
            near = self._vectors.nearest(self._embedder.embed([query])[0], DEPTH)
            lists: list[Iterable[int]] = [[row for row, _ in near if self._vectors.holds(connection, row)]]
            if self._words:
                lists.append(ranked(connection, wanted, DEPTH))
            best = sorted(fused(lists).items(), key=lambda item: (-item[1], item[0]))[:k]
            return [shown_hit(connection, wanted, row, score) for row, score in best]


def fused(lists: Iterable[Iterable[int]]) -> dict[int, float]:
    """The sum of the reciprocal ranks of each number over all lists."""
    scores: dict[int, float] = {}
    for rows in lists:
        for place, row in enumerate(rows, 1):
            scores[row] = scores.get(row, 0.0) + 1 / (RANK + place)
    return scores
