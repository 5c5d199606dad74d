"""Figures of one run in closed form: shares with their 95 % interval, pass@k.

Means over repeats and pictures are in `foveal.bench.resampling`, the comparison of two runs in
`foveal.bench.comparison`.
"""

import math
from typing import NamedTuple

Z_95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


class Share(NamedTuple):
    """A share of successes with its 95 % interval."""

    n: int
    value: float
    low: float
    high: float


def wilson(successes: float, n: int) -> Share:
    """Share of successes with the 95 % score interval of Wilson (1927).

    With p = successes / n: centre (p + z^2/2n) / (1 + z^2/n), half width z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n).
    Without observations the interval is all of [0, 1].

    Raises:
        ValueError: `successes` is not between 0 and `n`.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if n == 0:
        return Share(0, math.nan, 0.0, 1.0)
    share, z2 = successes / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends of the range the bounds are exact; rounding must not push one past the share.
    return Share(n, share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def pass_at_k(successes: int, n: int, k: int) -> float:
    """Chance that at least one of `k` answers is right, estimated from `n` answers of which `successes` are.

    1 - C(n - c, k) / C(n, k), which is unbiased (Chen et al. 2021, arXiv 2107.03374, equation 1). The estimate of a
    benchmark is the mean over its questions.

    Raises:
        ValueError: Not 1 <= k <= n, or not 0 <= successes <= n.
    """
    if not 1 <= k <= n or not 0 <= successes <= n:
        raise ValueError(f"pass@{k} of {successes} right answers among {n}")
    return 1 - math.comb(n - successes, k) / math.comb(n, k)
