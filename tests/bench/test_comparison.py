import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from foveal.bench.comparison import compare, detectable, mcnemar, newcombe, permutation
from foveal.errors import InputError


def runs(both: int, lost: int, gained: int, neither: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    pairs = [(1.0, 1.0)] * both + [(1.0, 0.0)] * lost + [(0.0, 1.0)] * gained + [(0.0, 0.0)] * neither
    first = {f"q{number}": [pair[0]] for number, pair in enumerate(pairs)}
    return first, {f"q{number}": [pair[1]] for number, pair in enumerate(pairs)}


def test_worked_mcnemar():
    """Fagerland, Lydersen and Laake (2013), airway hyper-responsiveness before and after transplantation: 1 and 7
    discordant pairs of 21, exact conditional p = 0.0703."""
    assert round(mcnemar(1, 7), 4) == round(mcnemar(7, 1), 4) == 0.0703


def test_mcnemar_by_hand():
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1.0
    assert mcnemar(0, 1) == 1.0
    assert mcnemar(0, 5) == 2 / 32
    assert mcnemar(1, 5) == 2 * (1 + 6) / 64
    assert mcnemar(0, 3000) < 1e-300
    with pytest.raises(ValueError, match="-1 lost"):
        mcnemar(-1, 2)


def test_worked_newcombe():
    """Fagerland, Lydersen and Laake (2014), the same 21 pairs: -0.507 to -0.026 around -0.286."""
    assert newcombe(1, 7, 1, 12) == pytest.approx((-0.507, -0.026), abs=0.0005)
    assert newcombe(1, 1, 7, 12) == pytest.approx((0.026, 0.507), abs=0.0005)


def test_newcombe_at_the_ends():
    low, high = newcombe(0, 0, 0, 10)
    assert -1 < low < 0 < high < 1 and low == -high  # ten questions without a flip do not prove that there are none
    assert newcombe(0, 0, 10, 0) == (pytest.approx(0.6075, abs=1e-4), 1.0)
    with pytest.raises(ValueError):
        newcombe(0, 0, 0, 0)


@given(st.lists(st.integers(0, 30), min_size=4, max_size=4).filter(any))
def test_newcombe_holds_the_difference(counts: list[int]):
    low, high = newcombe(*counts)
    assert -1 <= low <= (counts[2] - counts[1]) / sum(counts) <= high <= 1


def test_coverage_of_newcombe():
    rng = np.random.default_rng(2)
    tables = rng.multinomial(60, [0.5, 0.1, 0.2, 0.2], size=1000)
    held = sum(low <= 0.1 <= high for low, high in (newcombe(*map(int, table)) for table in tables))
    assert 0.93 <= held / 1000 <= 0.98


def test_permutation_by_hand():
    assert permutation(np.array([1.0, 1.0, 1.0])) == 2 / 8
    assert permutation(np.array([3.0, -1.0])) == 1.0
    assert permutation(np.array([0.0, 0.0])) == permutation(np.array([])) == 1.0
    assert permutation(np.array([0.1 + 0.2, 0.3, -0.6])) == 1.0


def test_permutation_is_mcnemar_where_both_fit():
    assert permutation(np.array([1.0] * 9 + [-1.0] * 2)) == pytest.approx(mcnemar(2, 9))
    assert permutation(np.array([1.0] * 30 + [-1.0] * 15), seed=1) == pytest.approx(mcnemar(15, 30), abs=0.006)


def test_permutation_is_that_of_scipy():
    changes = np.random.default_rng(4).normal(0.3, 1, 12)
    theirs = stats.permutation_test(
        (changes, np.zeros(12)), lambda a, b, axis: (a - b).sum(axis=axis),
        permutation_type="samples", vectorized=True, n_resamples=9999,
    )  # fmt: skip
    assert permutation(changes) == pytest.approx(theirs.pvalue)


def test_permutation_is_repeatable_and_never_zero():
    changes = np.ones(200)
    assert permutation(changes, 3) == permutation(changes, 3) == 1 / 10_000


def test_worked_detectable():
    """Connor's formula as powersamplesize.com works it: p01 = 0.45, p10 = 0.05, power 0.8 needs 22.01 pairs, so 23."""
    found, fewer = detectable(23, 0.5), detectable(22, 0.5)
    assert found is not None and fewer is not None and found <= 0.4 < fewer
    assert fewer == pytest.approx(0.4, abs=1e-3)


def test_detectable_at_the_ends():
    assert detectable(5, 0.1) is None
    assert detectable(10_000, 0.2) == pytest.approx(0.0125, abs=1e-4)
    assert detectable(100, 0.3, power=0.5) == pytest.approx(1.95996 * math.sqrt(0.3 / 100), abs=1e-4)
    more, less = detectable(200, 0.3, power=0.9), detectable(200, 0.3, power=0.3)
    assert more is not None and less is not None and more > less
    for wrong in ((0, 0.2), (10, 0.0), (10, 1.1)):
        with pytest.raises(ValueError):
            detectable(*wrong)


def test_power_at_the_detectable_difference():
    """The exact test is a little weaker than that of the formula, which has no continuity correction."""
    n, discordance = 400, 0.25
    difference = detectable(n, discordance)
    assert difference is not None
    rng = np.random.default_rng(6)
    tables = rng.multinomial(
        n, [1 - discordance, (discordance - difference) / 2, (discordance + difference) / 2], size=2000
    )
    assert 0.74 <= np.mean([mcnemar(int(lost), int(gained)) < 0.05 for _, lost, gained in tables]) <= 0.84


def test_size_of_mcnemar():
    rng = np.random.default_rng(7)
    tables = rng.multinomial(100, [0.6, 0.2, 0.2], size=2000)
    assert np.mean([mcnemar(int(lost), int(gained)) < 0.05 for _, lost, gained in tables]) <= 0.05


def test_size_of_the_permutation_test_with_clusters():
    """Ten pictures with ten questions each that move together: swapping questions would reject far too often."""
    rng = np.random.default_rng(8)
    together = rng.normal(0, 1, (400, 10)).repeat(10, axis=1)
    apart = np.mean([permutation(changes[::10], seed) < 0.05 for seed, changes in enumerate(together)])
    wrong = np.mean([permutation(changes, seed) < 0.05 for seed, changes in enumerate(together[:60])])
    assert 0.02 <= apart <= 0.08 and wrong > 0.3


def test_single_repeats():
    found = compare(*runs(40, 4, 14, 42))
    assert (found.n, found.first, found.second) == (100, 0.44, 0.54)
    assert found.difference == pytest.approx(0.1) and found.low < 0.1 < found.high
    assert (found.test, found.interval) == ("mcnemar", "newcombe")
    assert found.p == mcnemar(4, 14) and (found.low, found.high) == newcombe(40, 4, 14, 42)
    assert [flip.id for flip in found.lost] == ["q40", "q41", "q42", "q43"]
    assert len(found.gained) == 14 and found.gained[0] == ("q44", 0.0, 1.0)
    assert found.discordance == 0.18


def test_the_order_of_questions_does_not_matter():
    first, second = runs(5, 2, 9, 5)
    assert compare(first, dict(reversed(second.items()))) == compare(first, second)


def test_fractions_and_repeats_take_the_permutation_test():
    first, second = runs(20, 2, 14, 20)
    once = compare(first, second)
    often = compare({name: scores * 4 for name, scores in first.items()}, second)
    assert (often.test, often.interval) == ("permutation", "bootstrap")
    assert often.difference == once.difference and often.gained == once.gained
    assert often.p == pytest.approx(once.p, abs=0.004)
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=0.03)
    halves = compare({"a": [0.5], "b": [0.2]}, {"a": [0.75], "b": [0.3]})
    assert halves.test == "permutation" and [flip.id for flip in halves.gained] == ["a"]


def test_clusters_widen_the_interval_and_raise_p():
    first, second = runs(30, 10, 30, 30)
    cluster = {name: number // 10 for number, name in enumerate(first)}
    alone, together = compare(first, second), compare(first, second, cluster)
    assert together.difference == alone.difference
    assert together.p > 5 * alone.p and together.high - together.low > alone.high - alone.low


def test_equal_runs():
    first, _ = runs(5, 0, 0, 5)
    found = compare(first, first, {name: name for name in first})
    assert (found.difference, found.p, found.gained, found.lost) == (0.0, 1.0, (), ())
    assert found.low < 0 < found.high


def test_runs_on_other_questions():
    first, second = runs(1, 1, 1, 1)
    with pytest.raises(InputError, match="1 questions are in one run only, the first is 'q9'"):
        compare(first, {**second, "q9": [1.0]})
    with pytest.raises(InputError, match="no questions"):
        compare({}, {})
    with pytest.raises(InputError, match="'q1' has no cluster"):
        compare(first, second, {"q0": 1})
