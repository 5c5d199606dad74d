from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal.curate.texts import FLOOR, KnownText, TextIndex, grams, words_of


def test_overlap_is_a_share_of_the_known_question():
    known = KnownText("How many people are wearing hats in the second row of the photo?")
    assert known.overlap(words_of("Look: how many people are wearing HATS, in the second row of the photo?!")) == 1
    assert 0.5 < known.overlap(words_of("How many men are wearing hats in the second row of the photo?")) < 1
    assert known.overlap(words_of("How many people are there?")) < 0.3
    assert known.overlap([]) == 0


def test_other_numbers_are_another_question():
    known = KnownText("What share of the population lived in cities in 2012 according to the chart?")
    assert known.overlap(words_of("What share of the population lived in cities in 2013 according to the chart?")) == 0


def test_words_of_several_scripts():
    assert words_of("Größe: 3,5 ＡＢ foo_bar") == ["grösse", "3", "5", "ab", "foo", "bar"]
    assert words_of("图中有几个人？") == list("图中有几个人")


words = st.lists(st.sampled_from(list("abcdef1")), max_size=14)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(words, max_size=6), words)
def test_the_text_index_misses_nothing(known, asked):
    texts = [KnownText(" ".join(text)) for text in known]
    found = TextIndex(texts).near(asked)
    expected = [(n, text.overlap(asked)) for n, text in enumerate(texts) if text.words >= 5]
    assert found == [(n, overlap) for n, overlap in expected if overlap >= FLOOR]


def test_grams():
    assert grams("abcd", 3) == {"a b c", "b c d"} and grams("ab", 3) == set()
