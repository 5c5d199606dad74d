"""Two runs on the same questions: difference, interval, test, and the questions that flipped.

Runs are compared question by question, because most of the spread between questions is the same for both.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foveal.bench.resampling import RESAMPLES, batch, bootstrap_ratio, by_cluster, question_means
from foveal.bench.statistics import wilson
from foveal.errors import InputError

_NORMAL = NormalDist()


class Flip(NamedTuple):
    """A question whose verdict changed: right in most repeats of one run, and not in the other."""

    id: str
    first: float
    """Mean score in the first run."""
    second: float


class Comparison(NamedTuple):
    """The second run against the first."""

    n: int
    """Questions."""
    first: float
    second: float
    difference: float
    """`second - first`; `low` and `high` are its 95 % interval."""
    low: float
    high: float
    p: float
    """Two-sided."""
    test: Literal["mcnemar", "permutation"]
    interval: Literal["newcombe", "bootstrap"]
    gained: tuple[Flip, ...]
    lost: tuple[Flip, ...]

    @property
    def discordance(self) -> float:
        """Share of questions that flipped, either way; `detectable` wants it for planning."""
        return (len(self.gained) + len(self.lost)) / self.n


def compare(
    first: Mapping[str, Sequence[float]],
    second: Mapping[str, Sequence[float]],
    clusters: Mapping[str, Hashable] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two runs on the same questions.

    One repeat each, right or wrong, no clusters: exact McNemar test, and Newcombe's interval for the difference of
    paired shares. Else: permutation test and BCa bootstrap over clusters.

    Args:
        first: For every question its scores, one a repeat, each between 0 and 1.
        second: The same questions; their number of repeats may differ.
        clusters: For every question what it shares with others, say its picture.
        seed: Of permutations and resampling.

    Raises:
        InputError: The runs do not have the same questions, there are none, or a question has no cluster.
        ValueError: A question has no score, or one outside [0, 1].
    """
    ids = list(first)
    _same_questions(ids, second)
    if clusters is not None and (homeless := [name for name in ids if name not in clusters]):
        raise InputError(f"question {homeless[0]!r} has no cluster", "name a cluster for every question, or none")
    ours, theirs = (question_means([run[name] for name in ids]) for run in (first, second))
    changes = theirs - ours
    flips = [Flip(name, float(a), float(b)) for name, a, b in zip(ids, ours, theirs, strict=True)]
    gained = tuple(flip for flip in flips if flip.first <= 0.5 < flip.second)
    lost = tuple(flip for flip in flips if flip.second <= 0.5 < flip.first)
    test: Literal["mcnemar", "permutation"] = "permutation"
    interval: Literal["newcombe", "bootstrap"] = "bootstrap"
    if clusters is None and all(
        len(run[name]) == 1 and run[name][0] in (0, 1) for run in (first, second) for name in ids
    ):
        both = sum(flip.first == flip.second == 1 for flip in flips)
        low, high = newcombe(both, len(lost), len(gained), len(ids) - both - len(lost) - len(gained))
        p, test, interval = mcnemar(len(lost), len(gained)), "mcnemar", "newcombe"
    else:
        totals, sizes = by_cluster(changes, None if clusters is None else [clusters[name] for name in ids])
        p = permutation(totals, seed)
        if np.ptp(totals / sizes) < 1e-12:  # resampling shows no spread: at most what one cluster more could change
            low, high = _without_spread(float(changes.mean()), len(totals))
        else:
            low, high = bootstrap_ratio(totals, sizes, seed)
    difference = float(changes.mean())
    return Comparison(
        len(ids), float(ours.mean()), float(theirs.mean()), difference, min(low, difference), max(high, difference),
        p, test, interval, gained, lost,
    )  # fmt: skip


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided p of the exact test of McNemar (1947): under no difference each flip is a fair coin.

    p = min(1, 2 P(X <= min(lost, gained))) with X binomial(lost + gained, 1/2). Without flips it is 1.

    Raises:
        ValueError: A count is negative.
    """
    if min(lost, gained) < 0:
        raise ValueError(f"{lost} lost and {gained} gained")
    flips = lost + gained
    tail = sum(math.comb(flips, count) for count in range(min(lost, gained) + 1))
    return min(1.0, tail / 2 ** (flips - 1)) if flips else 1.0


def newcombe(both: int, lost: int, gained: int, neither: int) -> tuple[float, float]:
    """95 % interval of the difference of two paired shares, (gained - lost) / n: method 10 of Newcombe (1998).

    The Wilson intervals of the two shares, squared and added, with the correlation phi of the four-fold table; phi
    has a continuity correction where it is positive (Statistics in Medicine 17:2635-2650, "Improved confidence
    intervals for the difference between binomial proportions based on paired data").

    Raises:
        ValueError: A count is negative, or there are no questions.
    """
    n = both + lost + gained + neither
    if min(both, lost, gained, neither) < 0 or n == 0:
        raise ValueError(f"counts {both}, {lost}, {gained}, {neither}")
    first, second = wilson(both + lost, n), wilson(both + gained, n)
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    cross = float(both * neither - lost * gained)
    if cross > 0:
        cross = max(cross - n / 2, 0)
    phi = cross / math.sqrt(margins) if margins else 0.0
    below = (second.value - second.low, first.high - first.value)
    above = (second.high - second.value, first.value - first.low)
    difference = (gained - lost) / n
    low, high = (
        math.sqrt(max(0.0, side[0] ** 2 - 2 * phi * side[0] * side[1] + side[1] ** 2)) for side in (below, above)
    )
    return max(-1.0, difference - low), min(1.0, difference + high)


def permutation(changes: NDArray[np.float64], seed: int = 0) -> float:
    """Two-sided p of the test that swaps the two runs within clusters (Fisher 1935): is the sum of changes unusual?

    If there is no difference, a change is as likely as its negative. Up to 13 changes all signs are tried; more get
    9999 random signs, and p = (1 + as extreme) / (1 + tried), which is never 0 (Phipson and Smyth 2010).

    Args:
        changes: For every cluster the sum of what the second run has more.
        seed: Of the random signs.
    """
    moved = changes[changes != 0]
    if not len(moved):
        return 1.0
    seen = abs(moved.sum()) - 1e-9 * np.abs(moved).sum()  # sums of fractions that are equal may differ by rounding
    if 2 ** len(moved) <= RESAMPLES:
        every = 1.0 - 2.0 * ((np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved))) & 1)
        return float(np.mean(np.abs(every @ moved) >= seen))
    sizes, counts = np.unique(np.abs(moved), return_counts=True)  # changes of one size differ in their number of signs
    rng, width = np.random.default_rng(seed), batch(len(sizes))
    extreme = 1
    for start in range(0, RESAMPLES, width):
        ups = rng.binomial(counts, 0.5, (min(width, RESAMPLES - start), len(sizes)))
        extreme += int(np.sum(np.abs((2.0 * ups - counts) @ sizes) >= seen))
    return extreme / (RESAMPLES + 1)


def detectable(n: int, discordance: float, power: float = 0.8, alpha: float = 0.05) -> float | None:
    """The smallest difference that a two-sided McNemar test of `n` questions finds with the given power.

    The sample size of Connor (1987, Biometrics 43:207-211) solved for the difference d:
    sqrt(n) d = z(1 - alpha/2) sqrt(psi) + z(power) sqrt(psi - d^2), with psi the discordance. It is for single
    repeats of independent questions. None: even if all flips went one way, the power would be less.

    Args:
        n: Questions.
        discordance: Share of questions that flip, either way.
        power: Wanted chance to find the difference.
        alpha: Level of the test.

    Raises:
        ValueError: `n` is less than 1, `discordance` not in (0, 1], or `power` or `alpha` not in (0, 1).
    """
    if n < 1 or not 0 < discordance <= 1 or not 0 < power < 1 or not 0 < alpha < 1:
        raise ValueError(f"n {n}, discordance {discordance}, power {power}, alpha {alpha}")
    a, z = _NORMAL.inv_cdf(1 - alpha / 2) * math.sqrt(discordance), _NORMAL.inv_cdf(power)
    # (n + z^2) d^2 - 2 a sqrt(n) d + a^2 - z^2 psi = 0; the larger root is that of a positive z
    p, q = a * math.sqrt(n) / (n + z * z), (a * a - z * z * discordance) / (n + z * z)
    root = p + math.copysign(math.sqrt(max(0.0, p * p - q)), z)
    return root if 0 < root <= discordance else None


def _same_questions(ids: Sequence[str], second: Mapping[str, Sequence[float]]) -> None:
    if not ids:
        raise InputError("there are no questions to compare", "name two runs that answered the same questions")
    apart = sorted(set(ids) ^ set(second))
    if apart:
        raise InputError(
            f"{len(apart)} questions are in one run only, the first is {apart[0]!r}",
            "compare runs on the same questions, or leave the others out of both",
        )


def _without_spread(difference: float, clusters: int) -> tuple[float, float]:
    slack = 1 - wilson(clusters, clusters).low
    return max(-1.0, difference - slack), min(1.0, difference + slack)
