import sqlite3
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.tools.search.postings import (
    LONG,
    POSTING,
    SCHEMA,
    TITLE_WEIGHT,
    TermList,
    Text,
    best_with_some,
    delete_postings,
    ranked,
    write_postings,
)

WORDS = ["map", "fog", "owl", "kit", "jam", "rug"]
"""Words that no stemmer changes."""
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), min_size=1, max_size=25)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    made = empty()
    yield made
    made.close()


def empty() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:")
    made.executescript(SCHEMA)
    return made


def numbered(bodies: list[str], first: int = 1) -> list[Text]:
    return [Text(row, WORDS[row % len(WORDS)], body) for row, body in enumerate(bodies, first)]


def by_sqlite(texts: list[Text], wanted: list[str]) -> list[dict[int, float]]:
    """What SQLite's full-text search finds: the scores of documents with all words, and of those with some."""
    connection = sqlite3.connect(":memory:")
    connection.execute("create virtual table words using fts5(title, body)")
    connection.executemany("insert into words(rowid, title, body) values (?, ?, ?)", texts)
    sql = f"select rowid, -bm25(words, {TITLE_WEIGHT}, 1.0) from words where words match ?"
    found = [dict(connection.execute(sql, (operator.join(wanted),)).fetchall()) for operator in (" AND ", " OR ")]
    connection.close()
    return found


@settings(deadline=None)
@given(TEXTS, st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True), st.integers(1, 9))
def test_ranks_and_scores_are_those_of_sqlite(bodies, wanted, k):
    texts = numbered(bodies)
    connection = empty()
    write_postings(connection, texts)
    found = ranked(connection, wanted, k)
    whole, some = by_sqlite(texts, wanted)
    best = [*sorted(whole.values(), reverse=True), *sorted((some[r] for r in some if r not in whole), reverse=True)]
    # Equal scores differ in their last digits here and there, so places are compared by what stands in them.
    assert [pytest.approx(score, rel=1e-9) for score in best[:k]] == list(found.values())
    assert {row: pytest.approx(some[row], rel=1e-9) for row in found} == found
    assert sum(row in whole for row in found) == min(k, len(whole))
    connection.close()


@settings(deadline=None)
@given(TEXTS, TEXTS, st.sets(st.integers(1, 25)), st.integers(1, 3))
def test_whatever_came_and_went_it_is_as_if_only_the_rest_had_come(bodies, more, gone, held):
    before, after = numbered(bodies), numbered(more, len(bodies) + 1)
    changed, fresh = empty(), empty()
    write_postings(changed, before, held)
    delete_postings(changed, [text for text in before if text.row in gone])
    write_postings(changed, after, held)
    write_postings(fresh, [text for text in (*before, *after) if text.row not in gone or text in after])
    for sql in ("select term, rows from postings order by term", "select * from totals"):
        assert changed.execute(sql).fetchall() == fresh.execute(sql).fetchall()
    changed.close()
    fresh.close()


class Recorded(TermList):
    """The list of a term that the given documents hold once each; notes how many documents it is asked about."""

    def __init__(self, rows: range, asked: list[int]):
        held = np.zeros(len(rows), POSTING)
        held["row"], held["count"], held["length"] = rows, 1, 1
        super().__init__(held, 4000, 4000)
        self._asked = asked

    def scores(self, rows):
        self._asked.append(len(rows))
        return super().scores(rows)


def test_of_a_long_list_only_those_documents_are_looked_at_that_can_be_among_the_best():
    asked: list[int] = []
    lists = [Recorded(range(1, 11), asked), Recorded(range(11, 3001), asked)]
    assert list(best_with_some(lists, 3)) == [1, 2, 3]
    assert max(asked) == 10
    assert list(best_with_some(lists, 12))[-2:] == [11, 12], "the short list is too short for so many"
    assert max(asked) == 3000


def test_a_lone_sign_stands_for_all_terms_that_begin_with_it(connection):
    write_postings(connection, [Text(1, "", "手机"), Text(2, "", "机器，机场"), Text(3, "", "天地")])
    assert list(ranked(connection, ["机"], 5)) == [2, 1]
    delete_postings(connection, [Text(2, "", "机器，机场")])
    assert list(ranked(connection, ["机"], 5)) == [1]


def test_counts_and_lengths_that_no_longer_fit_are_capped(connection):
    write_postings(connection, [Text(1, "", "owl " * 70_000), Text(2, "", "owl " * 66_000), Text(3, "", "fog")])
    assert list(ranked(connection, ["owl"], 5)) == [1, 2]


def test_in_a_large_index_words_of_most_documents_are_not_even_read(connection):
    write_postings(connection, [Text(1, "", "owl known"), Text(2, "", "fog known"), Text(3, "", "owl fog known")])
    assert list(ranked(connection, ["owl", "known"], 1)) == [1]
    connection.execute("update postings set rows = ? where term = 'known'", (b"\0" * (8 * LONG + 1),))
    connection.execute("update totals set documents = ?", (2 * LONG - 1,))
    assert list(ranked(connection, ["owl", "known"], 5)) == [1, 3]
    with pytest.raises(ValueError, match="buffer size"):
        ranked(connection, ["known"], 5)  # by itself it is all that there is to go by
    connection.execute("update totals set documents = ?", (3 * LONG,))
    with pytest.raises(ValueError, match="buffer size"):
        ranked(connection, ["owl", "known"], 5)  # not most any more


def test_an_empty_index_and_no_terms_find_nothing(connection):
    assert ranked(connection, ["owl"], 5) == {}
    write_postings(connection, [Text(1, "", "")])
    assert ranked(connection, [], 5) == ranked(connection, ["owl"], 5) == {}
    assert connection.execute("select * from totals").fetchall() == [(1, 0)]


def test_postings_are_eight_bytes(connection):
    write_postings(connection, [Text(row, "", "owl fog") for row in range(1, 101)])
    sizes = connection.execute("select length(rows) from postings").fetchall()
    assert sizes == [(800,), (800,)]
