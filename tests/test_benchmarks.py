"""The scripts of `benchmarks/` run, each at its smallest, and write the figures that they document."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALLEST = {
    "bench_rescore": (("-n", "40"), {"rescore_vs_parse", "draw_vs_parse"}),
    "curate_intake": (("--rows", "400", "--slice", "200"), {"kept", "add_peak_gb"}),
    "decode": (("-n", "4", "--slots", "2", "--rounds", "1"), {"decode_vs_generate"}),
    "gradient_noise": (("--questions", "4"), {"cosine.all", "energy.malformed"}),
    "large_step": (("--shape", "micro", "--tokens", "256", "-n", "2"), {"sft_tokens_per_second", "rl_mfu"}),
    "rl_step": (("--quick", "--rounds", "1"), {"vs_trl", "vs_lockstep", "decode_vs_generate"}),
    "sandbox": (("-n", "2"), {"start_ratio", "roundtrip_ratio", "memory_ratio"}),
    "search": (("--docs", "1000", "--images", "40"), {"docs", "build_s", "p95_ms_or", "vs_bm25s", "vs_tantivy"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_runs(name: str, tmp_path: Path):
    words, keys = SMALLEST[name]
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *words, "--json", str(tmp_path / "figures.json")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures and keys <= set(figures)


def test_every_benchmark_is_tried():
    scripts = {path.stem for path in BENCHMARKS.glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    assert scripts - {"curate_hashes"} == set(SMALLEST), "curate_hashes needs folders of real pictures"
