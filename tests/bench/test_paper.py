from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.paper import CALL_RATES, QUOTED
from foveal.bench.scoring.realx import AXES


def test_every_benchmark_of_a_paper_is_quoted_with_its_table():
    assert set(QUOTED) == set(BENCHMARKS) - {"realx-mini"}
    assert set(CALL_RATES) <= set(QUOTED)
    assert set(QUOTED["realx"]) == {"", *(f"axis.{axis}" for axis in (*AXES, "integration"))}
    for name, figures in QUOTED.items():
        own = figures[""][0]
        assert own.source.rpartition(", ")[2] in BENCHMARKS[name].paper, name
        assert all(0 < one.value <= BENCHMARKS[name].scale for found in figures.values() for one in found)


def test_some_figures_as_they_are_printed():
    assert [one.value for one in QUOTED["vstar"][""]] == [81.8, 78.5]
    assert [one.value for one in QUOTED["ocrbench"][""]] == [882, 864]
    assert [one.value for one in QUOTED["realx"]["axis.integration"]] == [18.1, 9.7]
    assert (CALL_RATES["infoseek"].cold_start, CALL_RATES["infoseek"].after_rl) == (99.0, 58.9)
