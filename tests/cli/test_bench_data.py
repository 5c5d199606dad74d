import json

import pytest

from foveal.bench.benchmarks.realx_mini import BENCHMARK
from foveal.bench.loading import load
from foveal.cli import main


@pytest.mark.slow
def test_it_builds_a_folder_that_the_benchmark_reads_and_says_how_to_run_it(tmp_path, capsys):
    out, figures = tmp_path / "mini", tmp_path / "figures.json"
    with pytest.raises(SystemExit) as end:
        main(["bench-data", "realx-mini", str(out), "--n", "3", "--json", str(figures)])
    assert end.value.code == 0
    found = json.loads(figures.read_text())
    assert found["questions"] == 3 and found["documents"] >= 100_000
    assert len(list(load(BENCHMARK, out, lambda problem: pytest.fail(str(problem))))) == 3
    assert f"--data {out}" in capsys.readouterr().out.replace("\n", "")
    with pytest.raises(SystemExit) as end:
        main(["bench-data", "realx-mini", str(out)])
    assert end.value.code == 2 and "already holds" in capsys.readouterr().err
