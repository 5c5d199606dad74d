"""Which documents hold which words, in an SQLite file, and the best of them by BM25.

SQLite's own full-text search walks the whole list of every word of a query to count it, and ranks about half a million
documents a second; here lists are arrays, and of the long ones only those documents are looked at that can be among
the best. Scores are those of SQLite's `bm25` (Robertson and Zaragoza 2009, k1 = 1.2, b = 0.75).
"""

import sqlite3
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from foveal.tools.search.words import is_prefix, terms

TITLE_WEIGHT = 4
"""How much a word in the title counts beside one in the text."""

K1, B = 1.2, 0.75
ROUNDING = 1e-3
"""By how much a score may differ where it is summed up in single precision, to choose what is looked at."""

SCHEMA = """
create table postings(id integer primary key, term text not null unique, rows blob not null);
create table totals(documents integer not null, words integer not null);
insert into totals values (0, 0)
"""

POSTING = np.dtype([("row", "<u4"), ("count", "<u2"), ("length", "<u2")])
"""A document that holds a term: its row, how often (weighted), and how many words it has; what is more than fits is
kept as the most that does."""
LONG = 100_000
"""Documents of a list that is read in any case."""
HELD = 4_000_000
"""Postings that are gathered in memory before they are written."""

Postings = npt.NDArray[Any]
Rows = npt.NDArray[np.uint32]
Scores = npt.NDArray[np.float64]


class Text(NamedTuple):
    """A document's row and its words."""

    row: int
    title: str
    body: str


def write_postings(connection: sqlite3.Connection, texts: Iterable[Text], held_at_once: int = HELD) -> None:
    """Enter documents that are not there yet, in the order of their rows."""
    gathered, documents, words = _Gathered(), 0, 0
    for row, title, body in texts:
        counts, length = _counts(title, body)
        documents, words = documents + 1, words + length
        gathered.take(row, counts, length)
        if len(gathered.rows) >= held_at_once:
            gathered.write(connection)
            gathered = _Gathered()
    gathered.write(connection)
    _count_in(connection, documents, words)


def delete_postings(connection: sqlite3.Connection, texts: Iterable[Text]) -> None:
    """Take documents out again that were entered with the same words."""
    holding: dict[str, list[int]] = {}
    documents, words = 0, 0
    for row, title, body in texts:
        counts, length = _counts(title, body)
        documents, words = documents + 1, words + length
        for term in counts:
            holding.setdefault(term, []).append(row)
    _count_in(connection, -documents, -words)
    for term, rows in holding.items():
        there = _read(connection, term)
        left = there[~np.isin(there["row"], rows)]
        if len(left):
            connection.execute("update postings set rows = ? where term = ?", (left.tobytes(), term))
        else:
            connection.execute("delete from postings where term = ?", (term,))


def ranked(connection: sqlite3.Connection, wanted: Sequence[str], k: int) -> dict[int, float]:
    """The rows of the best `k` documents for some terms, best first, with their scores.

    Documents that hold all terms come first, then those with some; ties in the order of the rows. In a large index
    (`LONG`), terms that more than half of the documents hold, which BM25 gives no weight, are left out if others stay.

    Args:
        connection: To the index.
        wanted: Of `words.query_terms`.
        k: How many at most.
    """
    documents, words = connection.execute("select documents, words from totals").fetchone()
    telling = _telling(connection, wanted, documents)
    lists = [TermList(_postings(connection, term), documents, words) for term in telling]
    lists = sorted((one for one in lists if len(one.rows)), key=lambda one: len(one.rows))
    if not lists or k < 1:
        return {}
    whole: dict[int, float] = {}
    if len(lists) == len(telling):
        rows = lists[0].rows
        for one in lists[1:]:
            rows = rows[one.find(rows)[1]]
        whole = _best(rows, _scores(rows, lists), k)
    if len(whole) == k:
        return whole
    some = best_with_some(lists, 2 * k)  # documents with all terms score alike in both: this adds others behind them
    whole |= {row: score for row, score in some.items() if row not in whole}
    return dict(list(whole.items())[:k])


class TermList:
    """The postings of a term, by row, and what they are worth."""

    def __init__(self, postings: Postings, documents: int, words: int):
        self.postings, self.rows = postings, np.ascontiguousarray(postings["row"])
        odds = (documents - len(postings) + 0.5) / (len(postings) + 0.5)
        self._idf, self._mean_length = max(float(np.log(odds)), 1e-6), words / max(documents, 1)

    def most(self) -> float:
        """No document gains more from the term: none holds it more often than one does, or is shorter than one is."""
        best = np.zeros(1, POSTING)
        best["count"], best["length"] = self.postings["count"].max(), self.postings["length"].min()
        return float(self.worth(best)[0])

    def find(self, rows: Rows) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """For each row where it would stand, and whether it is there."""
        places = np.searchsorted(self.rows, rows)
        places[places == len(self.rows)] = 0
        return places, self.rows[places] == rows

    def worth(self, postings: Postings) -> Scores:
        """What the term adds to the documents of some of its postings."""
        count, length = postings["count"].astype(np.float64), postings["length"] / self._mean_length
        worth: Scores = self._idf * (K1 + 1) * count / (count + K1 * (1 - B + B * length))
        return worth

    def scores(self, rows: Rows) -> Scores:
        """What the term adds to each row."""
        places, there = self.find(rows)
        return self.worth(self.postings[places]) * there


def best_with_some(lists: Sequence[TermList], k: int) -> dict[int, float]:
    """The best `k` rows that hold any of the terms, best first, ties in their order, with their scores.

    Lists, which are given by length, are taken up from the shortest on, until a row that is in none of those taken
    cannot be among the best any more (MaxScore: Turtle and Flood 1995).
    """
    left = np.cumsum([0.0, *(one.most() for one in reversed(lists))])[::-1]
    """What a row can gain at most from the lists from each one on."""
    scores = np.zeros(max(int(one.rows[-1]) for one in lists) + 1, np.float32)
    rows, least = np.zeros(0, np.uint32), 0.0
    for taken, one in enumerate(lists, 1):
        scores[one.rows] += one.worth(one.postings).astype(np.float32)
        rows = np.concatenate([rows, one.rows])
        if left[0] - left[taken] <= left[taken]:
            continue  # no row has gained more yet than others still can
        if (enough := k * taken) <= len(rows):  # a row stands in each list once, so these are k different ones at least
            least = np.partition(scores[rows], -enough)[-enough]
            if least > left[taken] + ROUNDING:
                break
    rows = np.sort(rows[scores[rows] >= least - left[taken] - ROUNDING])
    rows = rows[np.diff(rows, prepend=np.uint32(0)) > 0]  # each once: no row has the number 0
    return _best(rows, _scores(rows, lists), k)


def _scores(rows: Rows, lists: Sequence[TermList]) -> Scores:
    return sum((one.scores(rows) for one in lists), np.zeros(len(rows)))


def _best(rows: Rows, scores: Scores, k: int) -> dict[int, float]:
    """The best `k` rows, which are given in their order, with their scores."""
    if len(rows) > k:  # among equal scores the first rows stay, so none that equals the last of the best is dropped
        kept = scores >= np.partition(scores, -k)[-k]
        rows, scores = rows[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")[:k]
    return dict(zip(rows[order].tolist(), scores[order].tolist(), strict=True))


def _counts(title: str, body: str) -> tuple[Counter[str], int]:
    """How often each term occurs, those of the title weighted, and how many words there are."""
    in_title, in_body = terms(title), terms(body)
    counts = Counter(in_body)
    for term in in_title:
        counts[term] += TITLE_WEIGHT
    return counts, len(in_title) + len(in_body)


def _count_in(connection: sqlite3.Connection, documents: int, words: int) -> None:
    connection.execute("update totals set documents = documents + ?, words = words + ?", (documents, words))


def _telling(connection: sqlite3.Connection, wanted: Sequence[str], documents: int) -> Sequence[str]:
    """The terms without those of very many documents, whose lists would be read for nothing."""
    marks = ", ".join("?" * len(wanted))
    sql = f"select term from postings where term in ({marks}) and length(rows) > ?"
    most = max(LONG, documents // 2) * POSTING.itemsize
    common = {term for (term,) in connection.execute(sql, (*wanted, most))}
    return [term for term in wanted if term not in common] or wanted


def _postings(connection: sqlite3.Connection, term: str) -> Postings:
    """Of a term, or of all terms that begin with a character that stands alone."""
    if not is_prefix(term):
        return _read(connection, term)
    many = connection.execute(
        "select rows from postings where term >= ? and term < ?", (term, chr(ord(term) + 1))
    ).fetchall()
    joined = np.concatenate([np.frombuffer(rows, POSTING) for (rows,) in many] or [np.zeros(0, POSTING)])
    _, first, which = np.unique(joined["row"], return_index=True, return_inverse=True)
    merged = joined[first]
    merged["count"] = np.minimum(np.bincount(which, joined["count"], len(merged)), np.iinfo(POSTING["count"]).max)
    return merged


def _read(connection: sqlite3.Connection, term: str) -> Postings:
    found = connection.execute("select rows from postings where term = ?", (term,)).fetchone()
    return np.frombuffer(found[0] if found else b"", POSTING)


class _Gathered:
    """Postings that are not written yet, in the order of the documents."""

    def __init__(self) -> None:
        self.numbers: defaultdict[str, int] = defaultdict()
        self.numbers.default_factory = self.numbers.__len__  # terms are numbered as they come
        self.terms, self.rows, self.counts, self.lengths = (array("I") for _ in range(4))

    def take(self, row: int, counts: Counter[str], length: int) -> None:
        """Of one document."""
        self.terms.extend([self.numbers[term] for term in counts])
        self.rows.extend([row] * len(counts))
        self.counts.extend(counts.values())
        self.lengths.extend([length] * len(counts))

    def write(self, connection: sqlite3.Connection) -> None:
        """Behind the postings that are there."""
        number = np.frombuffer(self.terms, np.uint32)
        order = np.argsort(number, kind="stable")
        postings = np.zeros(len(order), POSTING)
        for name, values in (("row", self.rows), ("count", self.counts), ("length", self.lengths)):
            most = np.iinfo(POSTING[name]).max
            postings[name] = np.minimum(np.frombuffer(values, np.uint32), most)[order]
        ends = [0, *np.cumsum(np.bincount(number, minlength=len(self.numbers))).tolist()]
        connection.executemany(
            "insert into postings(term, rows) values (?, ?)"
            " on conflict(term) do update set rows = cast(rows || excluded.rows as blob)",
            ((term, postings[ends[n] : ends[n + 1]].tobytes()) for term, n in sorted(self.numbers.items())),
        )
