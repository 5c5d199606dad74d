import itertools
from collections import Counter

import pytest

from foveal.curate.lengths import histogram, lengths_of, quantile


@pytest.mark.parametrize("lengths", [{0: 1}, {7: 3}, {n: 1 for n in range(1000)}, {100: 500, 101: 499, 90_000: 1}])
def test_every_length_is_in_its_bin(lengths):
    bins = histogram(Counter(lengths))
    assert len(bins) <= 20 and sum(one.count for one in bins) == sum(lengths.values())
    for one in bins:
        assert one.count == sum(n for t, n in lengths.items() if t >= one.start and (one.end is None or t < one.end))
    assert all(before.end == after.start for before, after in itertools.pairwise(bins))
    assert bins[0].start == 0 and (bins[-1].end is None) == (90_000 in lengths)


def test_quantiles_are_lengths_that_there_are():
    lengths = Counter(range(1, 101))
    assert [quantile(lengths, percent) for percent in (5, 50, 95, 99)] == [5, 50, 95, 99]
    said = lengths_of("tools", Counter({10: 3, 20: 1}), 0)
    assert said.mean == 12.5 and said.quantiles == {
        **{"min": 10, "5 %": 10, "25 %": 10, "50 %": 10, "75 %": 10, "95 %": 20, "max": 20},
    }
