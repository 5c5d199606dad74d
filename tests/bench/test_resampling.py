import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from foveal.bench.resampling import bootstrap_ratio, by_cluster, mean
from foveal.bench.statistics import wilson


def test_mean_is_over_questions_whatever_their_number_of_repeats():
    assert mean([[1, 1, 1, 1], [0]]).value == 0.5
    assert mean([[1, 0], [0.5], [0.25, 0.75]]).value == 0.5


def test_mean_is_repeatable_and_its_seed_counts():
    rng = np.random.default_rng(5)
    scores = [[float(score)] for score in rng.random(40)]
    assert mean(scores, seed=1) == mean(scores, seed=1)
    assert mean(scores, seed=1) != mean(scores, seed=2)


def test_without_clusters_the_bootstrap_is_close_to_wilson():
    scores = [[1.0]] * 120 + [[0.0]] * 80
    found, score = mean(scores), wilson(120, 200)
    assert (found.n, found.value) == (200, 0.6)
    assert (found.low, found.high) == pytest.approx((score.low, score.high), abs=0.01)


def test_repeats_are_no_further_questions():
    """Ten repeats that always agree say no more than one."""
    once, often = [[1.0]] * 30 + [[0.0]] * 20, [[1.0] * 10] * 30 + [[0.0] * 10] * 20
    assert mean(often) == mean(once)


def test_questions_about_one_picture_widen_the_interval():
    alone = mean([[float(number % 2)] for number in range(200)])
    pictures = [number // 20 for number in range(200)]
    together = mean([[float(picture % 2)] for picture in pictures], pictures)
    assert together.value == alone.value == 0.5
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_without_spread_the_interval_is_that_of_the_clusters():
    assert mean([[1.0]] * 20)[1:] == wilson(20, 20)[1:]
    assert mean([[1.0, 1.0]] * 20, [number % 5 for number in range(20)])[2:] == wilson(5, 5)[2:]
    assert mean([[0.5]])[2:] == wilson(0.5, 1)[2:]
    assert math.isnan(mean([]).value)


def test_coverage_of_the_clustered_bootstrap():
    """80 pictures with 3 questions each, whose chances differ by picture: 200 runs, and the truth is 0.6."""
    rng = np.random.default_rng(11)
    pictures = [number // 3 for number in range(240)]
    held = 0
    for run in range(200):
        chances = rng.beta(1.5, 1.0, 80)[pictures]
        found = mean([[float(score)] for score in rng.random(240) < chances], pictures, seed=run)
        held += found.low <= 0.6 <= found.high
    assert 0.90 <= held / 200 <= 0.99


@pytest.mark.parametrize("scores", [[[]], [[1.2]], [[0.5], [math.nan]], [[-0.1, 1.0]]])
def test_what_is_no_score(scores: list[list[float]]):
    with pytest.raises(ValueError, match="needed is one or more between 0 and 1"):
        mean(scores)


def test_every_question_needs_its_cluster():
    with pytest.raises(ValueError, match="1 clusters of 2 questions"):
        mean([[1.0], [0.0]], ["a"])


def test_clusters_are_summed_in_order():
    totals, sizes = by_cluster(np.array([1.0, 2.0, 4.0]), ["b", "a", "b"])
    assert totals.tolist() == [5.0, 2.0] and sizes.tolist() == [2.0, 1.0]


@pytest.mark.parametrize("kind", ["shares", "fractions", "clusters", "rare"])
def test_the_interval_is_that_of_scipy(kind: str):
    rng = np.random.default_rng(12)
    sizes = rng.integers(1, 6, 60).astype(float) if kind == "clusters" else np.ones(60)
    share = 0.1 if kind == "rare" else 0.7
    totals = rng.beta(2, 1, 60) if kind == "fractions" else rng.binomial(sizes.astype(int), share).astype(float)
    theirs = stats.bootstrap(
        (totals, sizes), lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis), paired=True, vectorized=True,
        n_resamples=9999, method="BCa", rng=rng,
    ).confidence_interval  # fmt: skip
    assert bootstrap_ratio(totals, sizes, 3) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_many_questions_are_no_trouble():
    found = mean([[1.0]] * 70_000 + [[0.0]] * 30_000)
    score = wilson(70_000, 100_000)
    assert (found.low, found.high) == pytest.approx((score.low, score.high), abs=2e-4)


def test_no_statistics_package_is_needed():
    program = (
        "import sys\nfrom foveal.bench.resampling import mean\nmean([[1.0], [0.0]])\nassert 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
