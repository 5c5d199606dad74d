"""Vectors of a model beside the documents or pictures of an index, in the same SQLite file.

They go with what they are of. What is added later has none until it is embedded, and a search refuses to go without:
half an index would be searched in silence. All vectors are held in memory and compared with the query one by one, which
is exact and quick to a million.
"""

import bisect
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.tools.search.database import reading, writing

Array = npt.NDArray[np.float32]

Table = Literal["documents", "pictures"]
"""What the vectors are of: a table with the column `id`."""


class Model(Protocol):
    """What made the vectors."""

    @property
    def name(self) -> str:
        """Vectors of models of different names do not go together."""

    @property
    def size(self) -> int:
        """Length of a vector."""


class Vectors(NamedTuple):
    """All vectors of an index."""

    ids: list[int]
    """In order."""
    matrix: Array
    """(ids, size)."""

    def holds(self, connection: sqlite3.Connection, row: int) -> bool:
        """Whether a row still has the vector that was read; it may have gone since, and another have its number."""
        found = connection.execute("select vector from vectors where id = ?", (row,)).fetchone()
        place = bisect.bisect_left(self.ids, row)
        known = place < len(self.ids) and self.ids[place] == row
        return known and found is not None and found[0] == self.matrix[place].astype("<f2").tobytes()

    def nearest(self, query: Array, k: int) -> list[tuple[int, float]]:
        """The ids of the `k` vectors with the greatest product with the query, best first, and the products."""
        near = self.matrix @ query
        return [(self.ids[place], float(near[place])) for place in np.argsort(-near, kind="stable")[:k]]


def store_vectors(
    path: Path,
    table: Table,
    model: Model,
    embed: Callable[[sqlite3.Connection, Sequence[int]], Array],
    together: int,
    progress: Callable[[int], None],
) -> int:
    """Give every row that has none a vector. Vectors of another model are replaced.

    Args:
        path: The index file.
        table: What the vectors are of.
        model: What makes them.
        embed: The vectors of the rows of some ids: (ids, size).
        together: Rows between two commits: a run that is killed loses no more.
        progress: Told how many are done.

    Returns:
        How many rows were given one.

    Raises:
        InputError: The model makes no vectors of its size.
        SearchError: The index cannot be written.
    """
    with writing(path) as connection:
        connection.execute("create table if not exists vectors(id integer primary key, vector blob)")
        connection.execute("create table if not exists embedder(name text)")
        connection.execute(
            "create trigger if not exists forgotten after delete on "
            f"{table} begin delete from vectors where id = old.id; end"
        )
        if _of_another(connection, model) is not None:
            connection.execute("delete from vectors")
            connection.execute("delete from embedder")
            connection.execute("insert into embedder values (?)", (model.name,))
    lacking = f"select id from {table} where id not in (select id from vectors) order by id limit ?"
    done = 0
    while True:
        with writing(path) as connection:
            ids = [int(row) for (row,) in connection.execute(lacking, (together,))]
            if not ids:
                return done
            vectors = np.asarray(embed(connection, ids), dtype=np.float32)
            if vectors.shape != (len(ids), model.size) or not np.isfinite(vectors).all():
                raise InputError(
                    f"{model.name} made vectors of shape {vectors.shape} for {len(ids)} {table}, or not all are finite",
                    f"return finite numbers of shape ({len(ids)}, {model.size})",
                )
            kept = ((row, vector.astype("<f2").tobytes()) for row, vector in zip(ids, vectors, strict=True))
            connection.executemany("insert or replace into vectors values (?, ?)", kept)
        done += len(ids)
        progress(done)


def read_vectors(path: Path, table: Table, model: Model, fix: str) -> Vectors:
    """All vectors of an index.

    Args:
        path: The index file.
        table: What the vectors are of.
        model: What they must have been made by.
        fix: The command that makes them.

    Raises:
        InputError: There are none, they are of another model, or some rows have none.
        SearchError: The index is damaged.
    """
    with reading(path) as connection:
        if not connection.execute("select 1 from sqlite_master where name = 'embedder'").fetchone():
            raise InputError(f"the {table} of {path.parent} have no vectors", fix)
        other = _of_another(connection, model)
        rows = connection.execute("select id, vector from vectors order by id").fetchall()
        lacking = connection.execute(
            f"select count(*) from {table} where id not in (select id from vectors)"
        ).fetchone()[0]
    if other is not None:
        raise InputError(f"the vectors of {path.parent} are of another model: {other}, not {model.name}", fix)
    if lacking:
        raise InputError(f"{lacking} {table} of {path.parent} have no vectors", fix)
    flat = np.frombuffer(b"".join(vector for _, vector in rows), dtype="<f2")
    return Vectors([int(row) for row, _ in rows], flat.reshape(-1, model.size).astype(np.float32))


def _of_another(connection: sqlite3.Connection, model: Model) -> str | None:
    """What made the vectors if it was not this model, by name and by size."""
    names = [name for (name,) in connection.execute("select name from embedder")]
    if names != [model.name]:
        return ", ".join(map(str, names)) or "none"
    size = connection.execute(
        "select length(vector) / 2 from vectors where length(vector) is not ? limit 1", (2 * model.size,)
    ).fetchone()
    return None if size is None else f"one of that name with {size[0]} numbers"
