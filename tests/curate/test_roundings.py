from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.curate.roundings import numbers, rounded

NUMBERS = st.decimals("0.0001", "1e9", places=6)
PLACES = st.integers(-8, 5)


def to_places(number: Decimal, places: int, how: str) -> Decimal:
    """Rounded to so many decimals, or to tens, hundreds, ... below zero."""
    return number.quantize(Decimal(1).scaleb(-places), how).quantize(Decimal(1).scaleb(-max(places, 0)))


@given(NUMBERS, PLACES, st.sampled_from([ROUND_HALF_EVEN, ROUND_HALF_UP]))
def test_every_correct_rounding_is_known_in_the_answer(number, places, how):
    said = f"{to_places(number, places, how):f}"
    if Decimal(said):
        assert rounded(f"x = {number:f}", "", "", said)
        if len(said.replace(".", "").rstrip("0")) > 1:
            assert rounded(f"x = {number:f}", "", f"that is {said}, i think", "b")


@given(NUMBERS, st.integers(1, 5), st.integers(1, 50).flatmap(lambda off: st.sampled_from([off, -off])))
def test_what_is_off_by_a_unit_of_its_last_digit_or_more_is_no_rounding(number, places, off):
    wrong = to_places(number, places, ROUND_HALF_EVEN) + Decimal(off).scaleb(-places)
    if wrong > 0:
        assert not rounded(f"{number:f}", "", f"{wrong:f}", f"{wrong:f}") or abs(wrong - number) * 2 <= Decimal(
            1
        ).scaleb(-places)


@given(NUMBERS, st.integers(0, 4))
def test_shares_may_be_told_in_per_cent(number, places):
    share = number.scaleb(-10)
    said = to_places(share * 100, places, ROUND_HALF_EVEN)
    if said:
        assert rounded(f"{share:f}", "", "", f"{said:f} %") and rounded(f"{share:f}", "", "", f"{said:f}percent")


@given(st.text(alphabet="0123456789.e+-% x\u0661million", max_size=40), st.text(max_size=40))
def test_nothing_that_is_written_is_an_error(found, said):
    rounded(found, "", said, said)
    assert all(one.half > 0 and one.value >= 0 for one in numbers(found))


@pytest.mark.parametrize(
    ("found", "known", "said", "answer", "used"),
    [
        ("3.98", "", "step 4: done", "b", False),
        ("3.98", "", "", "4", True),
        ("3.98", "3.98", "", "4", False),
        ("0.3000000000004", "", "the share is 0.3", "b", True),
        ("71.834", "", "of 100 pixels", "b", False),
        ("2145906", "", "about 2150000", "b", True),
        ("2145906", "", "about 2 million", "2 million", True),
        ("1.5e-3", "", "0.0015", "b", True),
        ("version 1.2.34", "", "1.2", "b", False),
        ("image_12", "", "12.0", "b", False),
        ("0", "", "", "0", True),
        ("3", "", "", "0", False),
        ("12.04s", "", "12.0 cm", "b", True),
        ("1" * 31, "", "1" * 31, "", False),
    ],
)
def test_which_numbers_count(found, known, said, answer, used):
    assert rounded(found, known, said, answer) is used
