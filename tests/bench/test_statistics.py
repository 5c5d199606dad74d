import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.bench.statistics import pass_at_k, wilson


def test_worked_numbers():
    """Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611."""
    share = wilson(81, 263)
    assert (round(share.low, 4), round(share.high, 4)) == (0.2553, 0.3662)
    none = wilson(0, 20)
    assert (none.low, round(none.high, 4)) == (0.0, 0.1611)


def test_no_observations():
    share = wilson(0, 0)
    assert math.isnan(share.value) and (share.low, share.high) == (0.0, 1.0)


@given(st.integers(1, 1000), st.data())
def test_interval_holds_the_share(n: int, data: st.DataObject):
    successes = data.draw(st.integers(0, n))
    share = wilson(successes, n)
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_impossible_counts():
    with pytest.raises(ValueError, match="5 successes of 4"):
        wilson(5, 4)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.97])
def test_coverage_of_wilson(share: float):
    """Exact: the chance of every count times whether its interval holds the truth."""
    n = 100
    held = [wilson(k, n).low <= share <= wilson(k, n).high for k in range(n + 1)]
    chances = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    assert 0.92 <= sum(c for c, h in zip(chances, held, strict=True) if h) <= 0.98


def test_pass_at_k_is_the_share_of_draws_with_a_right_answer():
    for n, k in itertools.product(range(1, 7), range(1, 7)):
        for right in range(n + 1) if k <= n else ():
            draws = list(itertools.combinations([True] * right + [False] * (n - right), k))
            assert pass_at_k(right, n, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_is_unbiased():
    """Over all outcomes of n answers, each right with chance p, its mean is 1 - (1 - p)^k."""
    n, k, p = 10, 3, 0.2
    expected = sum(math.comb(n, c) * p**c * (1 - p) ** (n - c) * pass_at_k(c, n, k) for c in range(n + 1))
    assert expected == pytest.approx(1 - 0.8**3)


@pytest.mark.parametrize(("right", "n", "k"), [(1, 2, 3), (3, 2, 1), (-1, 2, 1), (1, 2, 0)])
def test_impossible_pass_at_k(right: int, n: int, k: int):
    with pytest.raises(ValueError, match=f"pass@{k} of {right} right answers among {n}"):
        pass_at_k(right, n, k)
