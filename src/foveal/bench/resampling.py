"""Means with 95 % intervals by resampling: questions with repeats, several questions about one picture.

Two repeats of a question, or two questions about one picture, are no independent observations: whole clusters are
drawn.
"""

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from foveal.bench.statistics import Z_95, Share, wilson

_NORMAL = NormalDist()
RESAMPLES = 9999
_CELLS = 2_000_000
"""Numbers of one batch of resamples; keeps memory at a few dozen megabytes."""


def mean(scores: Sequence[Sequence[float]], clusters: Sequence[Hashable] | None = None, seed: int = 0) -> Share:
    """Mean over questions of the mean over repeats, with a 95 % interval that respects what belongs together.

    BCa bootstrap (Efron 1987): clusters are drawn with replacement, each with all its
    questions and all their repeats, and every draw gives the mean over its questions. The same seed gives the same
    interval. Where all clusters have one and the same mean, resampling shows no spread at all; the interval is then
    Wilson's, with every cluster one observation. Without questions it is all of [0, 1].

    Args:
        scores: For every question its scores, one a repeat, each between 0 and 1. Questions may have different
            numbers of repeats.
        clusters: For every question what it shares with others, say its picture; each its own by default.
        seed: Of the resampling.

    Raises:
        ValueError: A question has no score, a score is outside [0, 1], or there are not as many clusters as questions.
    """
    means = question_means(scores)
    totals, sizes = by_cluster(means, clusters)
    if not len(totals):
        return Share(0, math.nan, 0.0, 1.0)
    value = float(means.mean())
    if np.ptp(totals / sizes) < 1e-12:
        low, high = wilson(min(value, 1.0) * len(totals), len(totals))[2:]
    else:
        low, high = bootstrap_ratio(totals, sizes, seed)
    return Share(len(means), value, min(low, value), max(high, value))


def question_means(scores: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """The mean over repeats of every question.

    Raises:
        ValueError: A question has no score, or a score is outside [0, 1].
    """
    for number, repeats in enumerate(scores):
        if not repeats or not all(0 <= score <= 1 for score in repeats):
            raise ValueError(f"question {number} has the scores {list(repeats)}; needed is one or more between 0 and 1")
    return np.array([math.fsum(repeats) / len(repeats) for repeats in scores], dtype=np.float64)


def by_cluster(
    values: NDArray[np.float64], clusters: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of values and number of values of every cluster, in order of first appearance.

    Raises:
        ValueError: There are not as many clusters as values.
    """
    if clusters is None:
        return values, np.ones(len(values))
    numbers: dict[Hashable, int] = {}
    which = [numbers.setdefault(cluster, len(numbers)) for cluster in clusters]
    if len(which) != len(values):
        raise ValueError(f"{len(which)} clusters of {len(values)} questions")
    index = np.array(which, dtype=np.intp)
    totals = np.bincount(index, values, len(numbers)).astype(np.float64)
    return totals, np.bincount(index, minlength=len(numbers)).astype(np.float64)


def bootstrap_ratio(totals: NDArray[np.float64], sizes: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """95 % BCa interval of sum(totals) / sum(sizes) when clusters are drawn with replacement (Efron 1987, section 4).

    With z0 = Phi^-1(share of draws below the value, ties half) and the acceleration a = sum(d^3) / (6 sum(d^2)^1.5),
    d = mean of the jackknife values minus each: the bounds are the quantiles of the draws at
    Phi(z0 + (z0 + z) / (1 - a (z0 + z))) for z = -1.96 and 1.96.

    Equal clusters are drawn as one kind, by how often: a hundred thousand right or wrong answers are two kinds. That
    is the same distribution as that of `scipy.stats.bootstrap`, whose jackknife takes a minute for 20,000 questions.
    """
    kinds, counts = np.unique(np.column_stack((totals, sizes)), axis=0, return_counts=True)
    rng, width = np.random.default_rng(seed), batch(len(kinds))
    draws = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, width):
        often = rng.multinomial(len(totals), counts / len(totals), min(width, RESAMPLES - start)).astype(np.float64)
        draws[start : start + width] = (often @ kinds[:, 0]) / (often @ kinds[:, 1])
    total, size = totals.sum(), sizes.sum()
    value = total / size
    close = 1e-12 * (1 + abs(value))  # draws that are equal may differ by rounding
    below = (np.mean(draws < value - close) + np.mean(draws <= value + close)) / 2
    z0 = _NORMAL.inv_cdf(min(max(float(below), 0.5 / RESAMPLES), 1 - 0.5 / RESAMPLES))
    left_out = (total - kinds[:, 0]) / (size - kinds[:, 1])
    apart = np.average(left_out, weights=counts) - left_out
    a = float(counts @ apart**3 / (6 * (counts @ apart**2) ** 1.5))
    low, high = (_NORMAL.cdf(z0 + (z0 + z) / (1 - a * (z0 + z))) for z in (-Z_95, Z_95))
    return float(np.quantile(draws, low)), float(np.quantile(draws, high))


def batch(width: int) -> int:
    """Resamples of so many numbers that are drawn at once."""
    return max(1, min(RESAMPLES, _CELLS // max(width, 1)))
