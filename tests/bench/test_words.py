import pytest

from foveal.bench.settings import Mode
from foveal.bench.words import ASKED, formatted, percent, points


@pytest.mark.parametrize(
    ("value", "said"), [(0.8181, ("81.8 %", "+81.8")), (-0.5, ("-50.0 %", "-50.0")), (0, ("0.0 %", "+0.0"))]
)
def test_shares(value, said):
    assert (percent(value), points(value)) == said


def test_what_is_not_known_is_a_dash():
    assert percent(None) == points(None) == formatted(None, ".2f") == formatted("x", ".2f") == "-"
    assert formatted(1234.5, ",.0f") == "1,234"


def test_every_mode_has_words():
    assert ASKED.keys() == set(Mode.__args__)
