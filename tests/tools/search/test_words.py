import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.tools.search.words import MAX_QUERY, MAX_TERMS, MAX_WORD, is_prefix, query_terms, spans, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Rivers, carrying water", ["the", "river", "carri", "water"]),
        ("U.S. don't a_b", ["u", "s", "don", "t", "a", "b"]),
        ("Brasília ŁÓDŹ Straße ﬁsh", ["brasilia", "łodz", "straße", "fish"]),
        ("नदी की राजधानी", ["नदी", "की", "राजधानी"]),
        ("中文字", ["中文", "文字", "字"]),
        ("款iPhone手\n机，好", ["款", "iphon", "手机", "机", "好"]),
        ("서울은 수도", ["서울", "울은", "은수", "수도", "도"]),
        ("🙂 … \u0301", []),
    ],
)
def test_terms_of_a_text(text, expected):
    assert terms(text) == expected


@given(st.text(max_size=60))
def test_ascii_is_split_as_all_text_is(text):
    plain = text.encode("ascii", "replace").decode()
    assert terms(plain) == [word.term for word in spans(plain)]


@given(st.text(max_size=60))
def test_places_are_those_of_the_words_and_in_order(text):
    found = list(spans(text))
    assert all(0 <= word.start < word.end <= len(text) for word in found)
    assert [word.start for word in found] == sorted(word.start for word in found)
    assert all(word.term and not word.term.isspace() for word in found)


def test_a_term_of_a_query_is_one_of_the_text_that_holds_it():
    for text in ("The Rivers of Brasília", "新款iPhone手机", "हिन्दी भाषा", "naïve_café x2"):
        assert {term for term in query_terms(text) if not is_prefix(term)} <= set(terms(text))


def test_stop_words_count_only_where_there_is_nothing_else():
    assert query_terms("What is the size of Chad?") == ["size", "chad"]
    assert query_terms("it is the") == ["it", "is", "the"]


def test_neighbouring_signs_are_a_term_and_a_lone_one_is_the_beginning_of_many():
    assert query_terms("人口") == ["人口"]
    assert query_terms("机") == ["机"] and is_prefix("机")
    assert not is_prefix("人口") and not is_prefix("x") and not is_prefix("é")


def test_long_words_and_long_queries_are_cut():
    words = [f"word{i}" for i in range(10 * MAX_TERMS)]
    assert query_terms(" ".join(words)) == words[:MAX_TERMS]
    assert query_terms(" " * MAX_QUERY + "late") == []
    assert query_terms("Nile nile NILE niles") == ["nile"]
    assert terms("x" * 1000) == terms("x" * MAX_WORD) == ["x" * MAX_WORD]
