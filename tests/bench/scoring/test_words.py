import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.bench.scoring.words import alternatives, short


@pytest.mark.parametrize(
    ("answer", "golds", "score"),
    [("the Eiffel Tower", ("Eiffel Tower",), 1), ("An apple!", ("apple",), 1), ("U.S.A.", ("USA",), 1),
     ("1,234", ("1234",), 1), ("1985", ("1984",), 0), ("10⁵", ("105",), 0), ("Rome", ("Lima",), None),
     ("Lima, Peru", ("Lima",), None), ("足阳明胃经", ("足阳明胃经",), 1), ("🇪🇸", ("Spain", "🇪🇸"), 1),
     ("🇪🇸", ("🇵🇹",), None), ("?", ("!",), None), ("7", ("seven", "7"), 1), ("7", ("6", "seven"), None)],
)  # fmt: skip
def test_short(ask, answer: str, golds: tuple[str, ...], score: float | None):
    assert short(answer, ask(*golds)) == score


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("3.14", "314"),
        ("-5", "5"),
        ("10⁵", "105"),
        ("1/2", "12"),
        ("5%", "5"),
        ("...", "!"),
        ("a", "the"),
        ("1.5 m", "15 m"),
    ],
)
def test_what_punctuation_says_is_kept(ask, answer: str, gold: str):
    """The published normalisation takes all of these pairs for equal, or for nothing."""
    assert short(answer, ask(gold, "nothing else")) is None


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("May 3, 1999", "may 3 1999"), ("St. Paul's", "St Pauls"), ("(the) Louvre", "Louvre"), ("A", "a")],
)
def test_what_punctuation_does_not_say(ask, answer: str, gold: str):
    assert short(answer, ask(gold)) == 1


@pytest.mark.parametrize(
    ("text", "golds"),
    [("Lima", ("Lima",)), ("8 or eight", ("8 or eight", "8", "eight")),
     ("a OR b  or c", ("a OR b  or c", "a", "b", "c")), ("red\nor\nblue", ("red\nor\nblue", "red", "blue")),
     ("Oregon or Orlando", ("Oregon or Orlando", "Oregon", "Orlando")),
     ("trick or treat", ("trick or treat", "trick", "treat")), (" a or ", ("a or",))],
)  # fmt: skip
def test_alternatives_of_realx(text: str, golds: tuple[str, ...]):
    """The README of glowol/RealXBench: several answers are separated by "or"."""
    assert alternatives(text) == golds


@given(st.text(min_size=1))
def test_the_whole_text_is_always_an_alternative(text: str):
    assert alternatives(text)[0] == text.strip()
