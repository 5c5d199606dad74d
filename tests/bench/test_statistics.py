import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.bench.statistics import wilson


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
