from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.reward.number import number, read_quantity

NONE = Fraction(0)


def verdict(answer: str, *golds: str, relative: str = "0", absolute: str = "0") -> bool | None:
    return number(answer, golds, Fraction(relative), Fraction(absolute))


@pytest.mark.parametrize(
    ("text", "value"),
    [("42", 42), ("1,234,567", 1234567), ("1\u2009234", 1234), ("-3.5", Fraction(-7, 2)), ("−3", -3), ("+7", 7),
     (".5", Fraction(1, 2)), ("5.", 5), ("3e8", 3 * 10**8), ("1.5E-3", Fraction(3, 2000)), ("3 × 10^8", 3 * 10**8),
     ("2x10⁵", 2 * 10**5), (r"2 \times 10^{-3}", Fraction(1, 500)), ("10⁵", 10**5), ("3/4", Fraction(3, 4)),
     (r"\frac{3}{4}", Fraction(3, 4)), ("2.5 million", 2500000), ("$42$", 42), (r"\boxed{42}", 42), ("**42**.", 42),
     ("The answer is 42.", 42), ("0", 0), ("0.50", Fraction(1, 2))],
)  # fmt: skip
def test_bare_numbers(text: str, value: int | Fraction):
    assert read_quantity(text) == (value, None)


@pytest.mark.parametrize(
    "text",
    ["", "about 5", "5 or 6", "5-6", "5–6", "12:30", "2024-05-01", "007", "555-0137", "1,23", "12,34,567", "3,14", "½",
     "1/0", "1e999999999", "5'", "seven", "--5", "-$-5", "1.2.3", "9" * 5000, "inf", "nan"],
)  # fmt: skip
def test_no_numbers(text: str):
    assert read_quantity(text) is None


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("12 cm", "0.12 m"), ("0.12m", "12 cm"), ("1 in", "2.54 cm"), ("90 km/h", "25 m/s"), ("25 °C", "77 °F"),
     ("1.5 hours", "90 min"), ("5 km²", "5000000 m^2"), ("2 L", "2000 mL"), ("1 kg", "1,000 grams"), ("5 %", "0.05"),
     ("5%", "5 percent"), ("0.05", "5%"), ("$5 million", "5,000,000 USD"), ("€3", "3 euros"), ("5 apples", "5"),
     ("5", "5 Apples"), ("5 apple", "5 apples"), (r"12\text{ cm}", "12 cm"), (r"12\,\mathrm{cm}", "12 cm"),
     (r"\$5", "$5")],
)  # fmt: skip
def test_right(answer: str, gold: str):
    assert verdict(answer, gold) is True


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("12 cm", "12 m"), ("12 kg", "12 m"), ("$5", "€5"), ("5 apples", "5 pears"), ("5 apples", "6"), ("5 %", "6 %"),
     ("1985", "1984"), ("1,234", "1.234"), ("12 km", "12 apples"), ("5 %", "5 m"), ("25 °C", "25 °F")],
)  # fmt: skip
def test_wrong(answer: str, gold: str):
    assert verdict(answer, gold) is False


@pytest.mark.parametrize(
    ("answer", "gold"), [("12 cm", "12"), ("12", "12 cm"), ("5%", "5"), ("$5", "5"), ("5", "five")]
)
def test_cannot_be_told(answer: str, gold: str):
    assert verdict(answer, gold) is None


def test_any_of_several_golds():
    assert verdict("7", "6", "7") is True
    assert verdict("7", "six", "7") is True
    assert verdict("7", "6", "8") is False
    assert verdict("7", "six", "8") is None
    assert verdict("7") is None


def test_tolerance_is_in_the_unit_of_the_gold_answer():
    assert verdict("105", "100", relative="0.05") is True
    assert verdict("105.01", "100", relative="0.05") is False
    assert verdict("-95", "-100", relative="0.05") is True
    assert verdict("78 °F", "25 °C", absolute="0.5") is False  # 25.56 °C
    assert verdict("78 °F", "25 °C", absolute="0.6") is True
    assert verdict("0.1", "0", relative="0.5") is False  # nothing is relative to 0
    assert verdict("0.1", "0", absolute="0.1") is True


def test_a_year_off_by_one_is_wrong_and_no_digit_is_lost():
    assert verdict("12345678901234567891", "12345678901234567890") is False


@given(st.integers(-(10**12), 10**12))
def test_thousands_separators_change_nothing(value: int):
    assert verdict(f"{value:,}", str(value)) is True
    assert verdict(f"{value:,}", str(value + 1)) is False


@given(st.text(max_size=60) | st.text("0123456789.,eE+-×x*^/%$ {}\\cmk", max_size=40))
def test_reading_never_fails(text: str):
    read_quantity(text)
