import itertools

import pytest
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


CALCULATIONS = [
    "What is 12 + 5?", "What is 12 - 5?", "What is 12 * 5?", "What is 12 / 5?", "What is 12 ^ 5?", "What is 125?",
    "What is 12 5?", "What is 12 < 5?", "What is 12 > 5?", "What is 12 = 5?", "What is 12.5?", "What is -12 + 5?",
    "What is 12 + .5?", "What is x + y?", "What is x - y?", "What is x * y?", "What is x / y?",
    "What is x y?", "What is -x + y?", r"What is \alpha - \beta?", r"What is \alpha / \beta?",
    r"What is \frac{1}{2} - \sqrt{2}?", r"What is \frac{1}{2} * \sqrt{2}?",
    r"What is \frac{1}{2} \sqrt{2}?", "Solve x^2 + 4 = 0.", "Solve x^2 - 4 = 0.", "Solve x^2 - 4.", "What is 10²?",
    "What is 102?", "What is 3/4?", "What is 3.4?", "What is 3 4?", "What is -3 + 4?", "What is 3 ≤ 4?",
    "What is 3 ≥ 4?", "2 apples - 5 pears?", "2 apples + 5 pears?", "2 apples / 5 pears?", "2 apples, 5 pears?",
]  # fmt: skip


def test_calculations_differ_in_their_operators_and_decimal_points():
    assert [(one, two) for one, two in itertools.combinations(CALCULATIONS, 2) if words_of(one) == words_of(two)] == []


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("What is 12 - 5?", "what is 12−5"),
        ("What is 12 – 5?", "WHAT is: 12-5 ..."),
        ("What is 3 × 4 ÷ 2?", "What is 3*4/2?"),
        ("Solve x² + ½ = 0!", "Solve: x^2 + 1/2 = 0."),
        ("A well-known x-ray of covid-19, and/or 2-digit.", "a well known X ray of COVID 19 and or 2 digit"),
        ("Look - a state-of-the-art car (page 3) - is it?", "look — a state of the art car, page 3; is it"),
        ("- Which? * This **word**, **12** or 3.", "Which? This word: 12 or 3"),
        ("See fig.5: km/h?", "See Fig. 5, km h"),
        ("（１２＋５）", "12 + 5"),
    ],
)  # fmt: skip
def test_punctuation_is_no_operator(one, two):
    assert words_of(one) == words_of(two)


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
