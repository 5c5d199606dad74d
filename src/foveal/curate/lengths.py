"""How long trajectories are, in few numbers."""

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Literal

from foveal.curate.cardrecords import CardBin, CardLengths

MOST_BINS = 20
QUANTILES = (5, 25, 50, 75, 95)


def lengths_of(holds: Literal["tools", "reasoning"], lengths: Counter[int], estimated: int) -> CardLengths:
    """Mean, quantiles and histogram.

    Args:
        holds: What the trajectories are.
        lengths: How many there are of each length; not empty.
        estimated: How many lengths nobody counted.
    """
    count = lengths.total()
    quantiles = {"min": min(lengths), **{f"{q} %": quantile(lengths, q) for q in QUANTILES}, "max": max(lengths)}
    mean = sum(tokens * n for tokens, n in lengths.items()) / count
    return CardLengths(
        holds=holds,
        count=count,
        estimated=estimated,
        mean=round(mean, 2),
        quantiles=quantiles,
        histogram=histogram(lengths),
    )


def quantile(lengths: Counter[int], percent: int) -> int:
    """The smallest length that so many per cent do not exceed."""
    known = sorted(lengths)
    below = accumulate(lengths[tokens] for tokens in known)
    return next(tokens for tokens, n in zip(known, below, strict=True) if 100 * n >= percent * lengths.total())


def histogram(lengths: Counter[int]) -> tuple[CardBin, ...]:
    """Bins of equal and round width, at most 20; the last takes in the longest hundredth, if that is far off."""
    longest = max(lengths)
    width = next(width for width in _round_numbers() if width * MOST_BINS > quantile(lengths, 99))
    bins = min(MOST_BINS, longest // width + 1)
    counts: Counter[int] = Counter()
    for tokens, n in lengths.items():
        counts[min(tokens // width, bins - 1)] += n
    ends: list[int | None] = [width * (place + 1) for place in range(bins)]
    if longest >= bins * width:
        ends[-1] = None
    return tuple(CardBin(start=width * place, end=end, count=counts[place]) for place, end in enumerate(ends))


def _round_numbers() -> Iterator[int]:
    """1, 2, 5, 10, 20, 50, ..."""
    power = 1
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10
