"""Means with 95 % intervals by resampling: questions with repeats, several questions about one picture.

Two repeats of a question, or two questions about one picture, are no independent observations: whole clusters are
drawn.
"""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from foveal.bench.statistics import Share, wilson
from foveal.errors import MissingDependency

RESAMPLES = 9999
_CELLS = 2_000_000
"""Numbers of one batch of resamples; keeps memory at a few dozen megabytes."""


def mean(scores: Sequence[Sequence[float]], clusters: Sequence[Hashable] | None = None, seed: int = 0) -> Share:
    """Mean over questions of the mean over repeats, with a 95 % interval that respects what belongs together.

    BCa bootstrap (Efron 1987) by `scipy.stats.bootstrap`: clusters are drawn with replacement, each with all its
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
        MissingDependency: scipy is not installed.
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
    """95 % BCa interval of sum(totals) / sum(sizes) when clusters are drawn with replacement.

    Raises:
        MissingDependency: scipy is not installed.
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingDependency(
            "intervals by resampling need the package scipy, which is not installed", 'pip install "foveal[bench]"'
        ) from error

    def ratio(some: NDArray[np.float64], of: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.asarray(some.sum(axis=axis) / of.sum(axis=axis))

    found = stats.bootstrap(
        (totals, sizes), ratio, paired=True, vectorized=True, n_resamples=RESAMPLES, batch=batch(len(totals)),
        method="BCa", rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def batch(width: int) -> int:
    """Resamples of so many numbers that are drawn at once."""
    return max(1, min(RESAMPLES, _CELLS // max(width, 1)))
